#define _GNU_SOURCE
#include "request.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "call.h"
#include "protocol.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

extern char **environ;

static char *put(char *at, uint64_t value, int bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        *at++ = (char)value;
    return at;
}

void send_request(int agent)
{
    const char *cwd = getcwd(NULL, 0);
    const char *head[] = {cwd, call.named, call.executable ? call.executable : ""};
    char **lists[] = {call.argv + (call.argv[0] != NULL), environ};
    uint32_t counts[2] = {0, 0};
    struct winsize window = {0}, unused;
    mode_t mask = umask(0);
    umask(mask);
    if (!cwd)
        fall_back("the current directory has no path");
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0)
        call.flags |= STDERR_IS_TERMINAL;
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &unused) == 0)
        call.flags |= STDIN_IS_TERMINAL;
    size_t size = 28;
    for (size_t i = 0; i < COUNT(head); i++)
        size += strlen(head[i]) + 1;
    for (size_t i = 0; i < COUNT(lists); i++)
        for (; lists[i][counts[i]]; counts[i]++)
            size += strlen(lists[i][counts[i]]) + 1;
    char *request = size <= MAX_REQUEST ? malloc(size) : NULL, *at = request;
    if (!request)
        fall_back("the command line and environment are too large");
    at = put(stpcpy(at, "ZCC\1"), size - 8, 4);
    at = put(put(at, call.flags | (uint32_t)ZCC_BUILD << 8, 4), mask, 4);
    at = put(put(at, window.ws_row, 2), window.ws_col, 2);
    at = put(put(at, counts[0], 4), counts[1], 4);
    for (size_t i = 0; i < COUNT(head); i++)
        at = stpcpy(at, head[i]) + 1;
    for (size_t i = 0; i < COUNT(lists); i++)
        for (uint32_t j = 0; j < counts[i]; j++)
            at = stpcpy(at, lists[i][j]) + 1;
    for (at = request; size > 0;) {
        ssize_t sent = send(agent, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            fall_back("the agent does not take the request");
        at += sent;
        size -= (size_t)sent;
    }
    free(request);
}
