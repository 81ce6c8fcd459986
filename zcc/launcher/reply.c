#define _GNU_SOURCE
#include "reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "outputs.h"

#define BUFFER_BYTES (256u << 10)

static char buffer[BUFFER_BYTES];
static size_t buffer_start, buffer_end;

size_t receive(int agent, const char **at, uint64_t limit)
{
    while (buffer_start == buffer_end) {
        ssize_t got = recv(agent, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abandon_result(got == 0          ? "the agent went away before it answered"
                           : errno == EAGAIN ? "the agent is silent"
                                             : "the agent is lost");
        buffer_start = 0;
        buffer_end = (size_t)got;
    }
    size_t size = buffer_end - buffer_start;
    if (size > limit)
        size = (size_t)limit;
    *at = buffer + buffer_start;
    buffer_start += size;
    return size;
}

static void receive_all(int agent, char *to, size_t size)
{
    for (const char *at; size > 0;) {
        size_t got = receive(agent, &at, size);
        memcpy(to, at, got);
        to += got;
        size -= got;
    }
}

uint64_t receive_number(int agent, int bytes)
{
    char number[8];
    receive_all(agent, number, (size_t)bytes);
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | (unsigned char)number[bytes];
    return value;
}

char *receive_text(int agent, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        abandon_result("not enough memory for the agent's answer");
    receive_all(agent, text, size);
    text[size] = '\0';
    return text;
}
