/* Shadowed: what opens files. */
#include "shadow.h"

/* A directory that is only opened is not listed (directories.c): gcc asks for modules by a descriptor of one. */
char kind_of_open(int flags)
{
    return (flags & O_ACCMODE_) || (flags & (O_CREAT_ | O_TRUNC_)) ? 'W' : 'R';
}

#define SHADOW_OPEN(name, at, parameters, arguments) \
    EXPORT int name parameters \
    { \
        u32 mode = 0; \
        if ((flags & O_CREAT_) || (flags & O_TMPFILE_)) { \
            __builtin_va_list rest; \
            __builtin_va_start(rest, flags); \
            mode = __builtin_va_arg(rest, u32); \
            __builtin_va_end(rest); \
        } \
        int fd = REAL(name) arguments; \
        note_int(kind_of_open(flags), at, path, fd); \
        return fd; \
    }
SHADOW_OPEN(open, FD_CWD, (const char *path, int flags, ...), (path, flags, mode))
SHADOW_OPEN(open64, FD_CWD, (const char *path, int flags, ...), (path, flags, mode))
SHADOW_OPEN(__open, FD_CWD, (const char *path, int flags, ...), (path, flags, mode))
SHADOW_OPEN(__open64, FD_CWD, (const char *path, int flags, ...), (path, flags, mode))
SHADOW_OPEN(openat, at, (int at, const char *path, int flags, ...), (at, path, flags, mode))
SHADOW_OPEN(openat64, at, (int at, const char *path, int flags, ...), (at, path, flags, mode))

/* What -D_FORTIFY_SOURCE calls. */
LOOK_UP(kind_of_open(flags), FD_CWD, int, __open_2, (const char *path, int flags), (path, flags))
LOOK_UP(kind_of_open(flags), FD_CWD, int, __open64_2, (const char *path, int flags), (path, flags))
LOOK_UP(kind_of_open(flags), at, int, __openat_2, (int at, const char *path, int flags), (at, path, flags))
LOOK_UP(kind_of_open(flags), at, int, __openat64_2, (int at, const char *path, int flags), (at, path, flags))

LOOK_UP('W', FD_CWD, int, creat, (const char *path, u32 mode), (path, mode))
LOOK_UP('W', FD_CWD, int, creat64, (const char *path, u32 mode), (path, mode))

static char kind_of_mode(const char *mode)
{
    if (*mode != 'r')
        return 'W';
    for (; *mode && *mode != ','; mode++)
        if (*mode == '+')
            return 'W';
    return 'R';
}

#define SHADOW_FOPEN(name, parameters, arguments) LOOK_UP_POINTER(kind_of_mode(mode), name, parameters, arguments)
SHADOW_FOPEN(fopen, (const char *path, const char *mode), (path, mode))
SHADOW_FOPEN(fopen64, (const char *path, const char *mode), (path, mode))
SHADOW_FOPEN(_IO_fopen, (const char *path, const char *mode), (path, mode))
SHADOW_FOPEN(setmntent, (const char *path, const char *mode), (path, mode))
SHADOW_FOPEN(__setmntent, (const char *path, const char *mode), (path, mode))
SHADOW_FOPEN(freopen, (const char *path, const char *mode, void *old), (path, mode, old))
SHADOW_FOPEN(freopen64, (const char *path, const char *mode, void *old), (path, mode, old))

/* In the child, where nothing may be logged that is not known before. */
EXPORT int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, u32 mode)
{
    int saved = *__errno_location();
    if (kind_of_open(flags) == 'W')
        note('W', FD_CWD, path, 0);
    else
        access(path, 0); /* the shadow: logged */
    *__errno_location() = saved;
    return REAL(posix_spawn_file_actions_addopen)(actions, fd, path, flags, mode);
}
