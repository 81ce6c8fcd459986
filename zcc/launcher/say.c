#define _GNU_SOURCE
#include "say.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void say(const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    size_t end = (size_t)length < sizeof text - 1 ? (size_t)length : sizeof text - 2;
    text[end++] = '\n';
    const char *number = getenv("UNCACHED_ERR_FD");
    int fd = number && *number ? atoi(number) : STDERR_FILENO;
    if (write(fd, text, end) < 0 && fd != STDERR_FILENO)
        (void)!write(STDERR_FILENO, text, end);
}
