/* Starting the agent: once, however many launchers find it missing at one time. */
#pragma once

#include "agent.h"

/* The connection to an agent that has been started here or by another launcher; else -1.
 *
 * The agent gets ZCC_SOCKET, where to listen, and ZCC_READY_FD, a pipe: one byte means "listening",
 * end of file without one "failed". ZCC_START_LOCK_FD is the lock of the start, which the agent closes when it
 * listens. Its stderr is kept beside the socket, as the reason of a start that failed. */
int start_agent(const struct place *place, long patience_ms);
