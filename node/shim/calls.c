/* Shadowed: the function that makes any system call. Only those of a list of harmless ones say nothing about files. */
#include "log.h"
#include "symbols.h"

static const u16 harmless[] = {HARMLESS_CALLS};

static int is_harmless(long number)
{
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (harmless[i] == number)
            return 1;
    return 0;
}

/* A record with the number, which is what somebody looks up who wonders. */
static void note_call(long number)
{
    char name[32] = "/system call ", digits[20];
    size_t end = 13, count = 0;
    u64 rest = (u64)number;
    do
        digits[count++] = (char)('0' + rest % 10);
    while ((rest /= 10) && count < 18);
    while (count)
        name[end++] = digits[--count];
    name[end] = 0;
    note_unseen(name);
}

EXPORT long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (!is_harmless(number))
        note_call(number);
    return REAL(syscall)(number, a, b, c, d, e, f);
}
