/* The shadowed functions' own addresses. */
#pragma once

#include "libc.h"

typedef struct {
    u32 type, flags;
    u64 offset, vaddr, paddr, filesz, memsz, align;
} Segment;

typedef struct {
    u64 base;
    const char *name;
    const Segment *segments;
    u16 count;
} Library;

extern int dl_iterate_phdr(int (*)(Library *, size_t, void *), void *);

/* The function of this name in the libraries loaded behind this one, or NULL. */
void *next_symbol(const char *name);

/* What stands for a function that is in none of them: each is a flaw, sets errno to ENOSYS, and fails. */
long fail_absent(void);
void *find_nothing(void);

/* REAL(stat)(path, buffer): the function that would be called were this library not there. */
#define REAL_OR(absent, name) \
    ({ \
        static __typeof__(&name) real_##name; \
        if (!real_##name) \
            real_##name = (__typeof__(&name))next_symbol(#name); \
        if (!real_##name) \
            real_##name = (__typeof__(&name))(void *)absent; \
        real_##name; \
    })
#define REAL(name) REAL_OR(fail_absent, name)
#define REAL_POINTER(name) REAL_OR(find_nothing, name)

EXPORT int open(const char *, int, ...);
EXPORT ssize_t readlink(const char *, char *, size_t);
EXPORT char *realpath(const char *, char *);
EXPORT int access(const char *, int);
EXPORT int faccessat(int, const char *, int, int);
EXPORT int execve(const char *, char *const *, char *const *);
EXPORT long syscall(long, long, long, long, long, long, long);
