/* Strings, without a libc. */
#pragma once

#include "libc.h"

static inline int is_equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static inline size_t length_of(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

static inline int starts_with(const char *text, const char *start)
{
    while (*start && *text == *start)
        text++, start++;
    return !*start;
}

static inline int is_under(const char *path, const char *top, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (path[i] != top[i])
            return 0;
    return path[length] == 0 || path[length] == '/';
}

static inline void copy(char *to, const char *from, size_t size)
{
    while (size--)
        *to++ = *from++;
}

/* Writes a number and a NUL; its length, at most 20. */
static inline size_t spell_number(char *to, u64 number)
{
    char digits[20];
    size_t count = 0, end = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        to[end++] = digits[--count];
    to[end] = 0;
    return end;
}
