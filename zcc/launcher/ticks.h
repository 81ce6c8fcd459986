/* What blocks in the kernel is interrupted (EINTR), after a while and then every so often. */
#pragma once

/* A timer of its own, because alarm() and setitimer() outlive exec and may be somebody's; it repeats, so that a signal
 * just before the call that blocks is no signal lost. 0, or -1: there is no timer to be had. */
int start_ticks(long first_ms, long then_ms);
void stop_ticks(void);
