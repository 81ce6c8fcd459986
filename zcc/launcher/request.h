/* Telling the agent what was asked for. */
#pragma once

void send_request(int agent);
