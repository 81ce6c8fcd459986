/* Reading what the agent answers; whatever is wrong with it ends in abandon_result. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Up to `limit` bytes of the reply, at least one; *at points at them until the next call. */
size_t receive(int agent, const char **at, uint64_t limit);

/* `bytes` (at most 8) of the reply, little endian. */
uint64_t receive_number(int agent, int bytes);

/* `size` bytes of the reply and a NUL, malloc'ed. */
char *receive_text(int agent, size_t size);
