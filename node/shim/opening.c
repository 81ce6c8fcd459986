/* Shadowed: what opens files. */
#include "log.h"
#include "symbols.h"

static char kind_of(int flags)
{
    if ((flags & O_ACCMODE_) || (flags & (O_CREAT_ | O_TRUNC_)))
        return 'W';
    return flags & O_DIRECTORY_ ? 'D' : 'R';
}

#define OPEN_MODE(flags) \
    u32 mode = 0; \
    if ((flags & O_CREAT_) || (flags & O_TMPFILE_)) { \
        __builtin_va_list rest; \
        __builtin_va_start(rest, flags); \
        mode = __builtin_va_arg(rest, u32); \
        __builtin_va_end(rest); \
    }

#define SHADOW_OPEN(name) \
    EXPORT int name(const char *path, int flags, ...) \
    { \
        OPEN_MODE(flags) \
        int fd = REAL(name)(path, flags, mode); \
        note_int(kind_of(flags), FD_CWD, path, fd); \
        return fd; \
    }
#define SHADOW_OPENAT(name) \
    EXPORT int name(int at, const char *path, int flags, ...) \
    { \
        OPEN_MODE(flags) \
        int fd = REAL(name)(at, path, flags, mode); \
        note_int(kind_of(flags), at, path, fd); \
        return fd; \
    }
#define SHADOW_OPEN_2(name) \
    EXPORT int name(const char *path, int flags) \
    { \
        int fd = REAL(name)(path, flags); \
        note_int(kind_of(flags), FD_CWD, path, fd); \
        return fd; \
    }
#define SHADOW_OPENAT_2(name) \
    EXPORT int name(int at, const char *path, int flags) \
    { \
        int fd = REAL(name)(at, path, flags); \
        note_int(kind_of(flags), at, path, fd); \
        return fd; \
    }
SHADOW_OPEN(open)
SHADOW_OPEN(open64)
SHADOW_OPENAT(openat)
SHADOW_OPENAT(openat64)
SHADOW_OPEN_2(__open_2)
SHADOW_OPEN_2(__open64_2)
SHADOW_OPENAT_2(__openat_2)
SHADOW_OPENAT_2(__openat64_2)

#define SHADOW_CREAT(name) \
    EXPORT int name(const char *path, u32 mode) \
    { \
        int fd = REAL(name)(path, mode); \
        note_int('W', FD_CWD, path, fd); \
        return fd; \
    }
SHADOW_CREAT(creat)
SHADOW_CREAT(creat64)

static char kind_of_mode(const char *mode)
{
    if (*mode != 'r')
        return 'W';
    for (; *mode && *mode != ','; mode++)
        if (*mode == '+')
            return 'W';
    return 'R';
}

#define SHADOW_FOPEN(name) \
    EXPORT void *name(const char *path, const char *mode) \
    { \
        void *file = REAL(name)(path, mode); \
        note(kind_of_mode(mode), FD_CWD, path, outcome(!file)); \
        return file; \
    }
#define SHADOW_FREOPEN(name) \
    EXPORT void *name(const char *path, const char *mode, void *old) \
    { \
        void *file = REAL(name)(path, mode, old); \
        note(kind_of_mode(mode), FD_CWD, path, outcome(!file)); \
        return file; \
    }
SHADOW_FOPEN(fopen)
SHADOW_FOPEN(fopen64)
SHADOW_FREOPEN(freopen)
SHADOW_FREOPEN(freopen64)
