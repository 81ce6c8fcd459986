/* Shadowed: what creates, names and removes files. */
#include "shadow.h"

LOOK_UP('W', FD_CWD, int, mkdir, (const char *path, u32 mode), (path, mode))
LOOK_UP('W', at, int, mkdirat, (int at, const char *path, u32 mode), (at, path, mode))
LOOK_UP('W', FD_CWD, int, mkfifo, (const char *path, u32 mode), (path, mode))
LOOK_UP('W', at, int, mkfifoat, (int at, const char *path, u32 mode), (at, path, mode))
LOOK_UP('W', FD_CWD, int, mknod, (const char *path, u32 mode, u64 device), (path, mode, device))
LOOK_UP('W', at, int, mknodat, (int at, const char *path, u32 mode, u64 device), (at, path, mode, device))
LOOK_UP('W', FD_CWD, int, __xmknod, (int version, const char *path, u32 mode, u64 *device),
        (version, path, mode, device))
LOOK_UP('W', at, int, __xmknodat, (int version, int at, const char *path, u32 mode, u64 *device),
        (version, at, path, mode, device))
LOOK_UP('W', FD_CWD, int, symlink, (const char *text, const char *path), (text, path))
LOOK_UP('W', at, int, symlinkat, (const char *text, int at, const char *path), (text, at, path))

/* What is removed was found: a file that the job does not declare shows. */
LOOK_UP('H', FD_CWD, int, unlink, (const char *path), (path))
LOOK_UP('H', at, int, unlinkat, (int at, const char *path, int flags), (at, path, flags))
LOOK_UP('H', FD_CWD, int, rmdir, (const char *path), (path))
LOOK_UP('H', FD_CWD, int, remove, (const char *path), (path))

#define SHADOW_PAIR(name, from_at, to_at, parameters, arguments) \
    EXPORT int name parameters \
    { \
        int result = REAL(name) arguments; \
        note_pair(from_at, from, to_at, to, result); \
        return result; \
    }
SHADOW_PAIR(rename, FD_CWD, FD_CWD, (const char *from, const char *to), (from, to))
SHADOW_PAIR(renameat, at, over, (int at, const char *from, int over, const char *to), (at, from, over, to))
SHADOW_PAIR(renameat2, at, over, (int at, const char *from, int over, const char *to, u32 flags),
            (at, from, over, to, flags))
SHADOW_PAIR(link, FD_CWD, FD_CWD, (const char *from, const char *to), (from, to))
SHADOW_PAIR(linkat, at, over, (int at, const char *from, int over, const char *to, int flags),
            (at, from, over, to, flags))

/* objcopy makes its output under such a name, beside the place where it will be. */
#define SHADOW_MKSTEMP(name, parameters, arguments) \
    EXPORT int name parameters \
    { \
        int fd = REAL(name) arguments; \
        if (fd >= 0) \
            note('W', FD_CWD, path, 0); \
        else \
            note_unseen("/" #name); \
        return fd; \
    }
SHADOW_MKSTEMP(mkstemp, (char *path), (path))
SHADOW_MKSTEMP(mkstemp64, (char *path), (path))
SHADOW_MKSTEMP(mkostemp, (char *path, int flags), (path, flags))
SHADOW_MKSTEMP(mkostemp64, (char *path, int flags), (path, flags))
SHADOW_MKSTEMP(mkstemps, (char *path, int suffix), (path, suffix))
SHADOW_MKSTEMP(mkstemps64, (char *path, int suffix), (path, suffix))
SHADOW_MKSTEMP(mkostemps, (char *path, int suffix, int flags), (path, suffix, flags))
SHADOW_MKSTEMP(mkostemps64, (char *path, int suffix, int flags), (path, suffix, flags))

EXPORT char *mkdtemp(char *path)
{
    char *result = REAL_POINTER(mkdtemp)(path);
    if (result)
        note('W', FD_CWD, path, 0);
    else
        note_unseen("/mkdtemp");
    return result;
}
