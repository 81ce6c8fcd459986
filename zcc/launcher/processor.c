/* The launcher under the name of zcc-processor: what `-march=native` depends on, as text.
 *
 * gcc and clang ask the CPUID instruction which processor this is, what it can do and how large its caches are,
 * and XGETBV what the system lets it do. Two machines that print the same here expand `native` to the same.
 * /proc/cpuinfo would not do: a kernel lists the features that it knows, and a newer compiler knows more.
 *
 * Printed: one line a leaf, for each that a compiler reads, less what numbers cores. Cores that differ (some
 * are fast, some are small) would make `native` a matter of luck: then nothing is printed, and the exit status is 1.
 */

#define _GNU_SOURCE
#include "processor.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

struct leaf {
    unsigned number, last_subleaf;
    unsigned keep[4]; /* eax, ebx, ecx, edx */
};

#define ALL 0xffffffffu

static const struct leaf leaves[] = {
    {0x00, 0, {ALL, ALL, ALL, ALL}},
    {0x01, 0, {ALL, 0x0000ffffu, ALL, ALL}}, /* ebx: not this core's number, nor how many there are */
    {0x02, 0, {ALL, ALL, ALL, ALL}},
    {0x04, 4, {0x00003fffu, ALL, ALL, ALL}}, /* eax: not how many cores share a cache */
    {0x07, 2, {ALL, ALL, ALL, ALL}},
    {0x0d, 1, {ALL, ALL, ALL, ALL}},
    {0x14, 0, {ALL, ALL, ALL, ALL}},
    {0x19, 0, {ALL, ALL, ALL, ALL}},
    {0x1d, 1, {ALL, ALL, ALL, ALL}},
    {0x1e, 1, {ALL, ALL, ALL, ALL}},
    {0x24, 0, {ALL, ALL, ALL, ALL}},
    {0x80000000u, 0, {ALL, ALL, ALL, ALL}},
    {0x80000001u, 0, {ALL, ALL, ALL, ALL}},
    {0x80000005u, 0, {ALL, ALL, ALL, ALL}},
    {0x80000006u, 0, {ALL, ALL, ALL, ALL}},
    {0x80000007u, 0, {ALL, ALL, ALL, ALL}},
    {0x80000008u, 0, {ALL, ALL, 0, ALL}}, /* ecx: how many cores there are */
    {0x8000001du, 4, {0x00003fffu, ALL, ALL, ALL}},
    {0x80000021u, 0, {ALL, ALL, ALL, ALL}},
};

/* Appends a line for each leaf; what does not fit is left out, on every machine alike. */
static void describe(char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t at = 0; at < sizeof leaves / sizeof *leaves; at++) {
        const struct leaf *leaf = &leaves[at];
        for (unsigned sub = 0; sub <= leaf->last_subleaf; sub++) {
            unsigned a, b, c, d;
            if (!__get_cpuid_count(leaf->number, sub, &a, &b, &c, &d) || used >= size)
                continue;
            used += (size_t)snprintf(text + used, size - used, "%08x.%u %08x %08x %08x %08x\n", leaf->number, sub,
                                     a & leaf->keep[0], b & leaf->keep[1], c & leaf->keep[2], d & leaf->keep[3]);
        }
    }
    unsigned a, b, c, d;
    if (used < size && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE)) {
        unsigned low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        snprintf(text + used, size - used, "xcr0 %08x %08x\n", high, low);
    }
}

int print_processor(void)
{
    static char first[8192], other[8192];
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed))
        return 1;
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, &allowed))
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        if (sched_setaffinity(0, sizeof one, &one))
            return 1;
        describe(first[0] ? other : first, sizeof first);
        if (other[0] && strcmp(first, other))
            return 1;
    }
    return !first[0] || fputs(first, stdout) < 0 || fflush(stdout);
}

#else

/* Elsewhere compilers read /proc/cpuinfo, which no job may: `native` stays local. */
int print_processor(void)
{
    return 1;
}

#endif
