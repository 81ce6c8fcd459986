/* Shadowed: what asks about files, or sets what is asked. */
#include "shadow.h"

#define SHADOW_PATH_BUFFER(name) LOOK_UP('H', FD_CWD, int, name, (const char *path, void *buffer), (path, buffer))
SHADOW_PATH_BUFFER(stat)
SHADOW_PATH_BUFFER(stat64)
SHADOW_PATH_BUFFER(lstat)
SHADOW_PATH_BUFFER(lstat64)
SHADOW_PATH_BUFFER(statfs)
SHADOW_PATH_BUFFER(statfs64)
SHADOW_PATH_BUFFER(__statfs)
SHADOW_PATH_BUFFER(statvfs)
SHADOW_PATH_BUFFER(statvfs64)
SHADOW_PATH_BUFFER(utime)
SHADOW_PATH_BUFFER(utimes)
SHADOW_PATH_BUFFER(lutimes)

/* glibc before 2.33 has stat only under these names. */
#define SHADOW_XSTAT(name) \
    LOOK_UP('H', FD_CWD, int, name, (int version, const char *path, void *buffer), (version, path, buffer))
SHADOW_XSTAT(__xstat)
SHADOW_XSTAT(__xstat64)
SHADOW_XSTAT(__lxstat)
SHADOW_XSTAT(__lxstat64)

#define SHADOW_FXSTATAT(name) \
    LOOK_UP('H', at, int, name, (int version, int at, const char *path, void *buffer, int flags), \
            (version, at, path, buffer, flags))
SHADOW_FXSTATAT(__fxstatat)
SHADOW_FXSTATAT(__fxstatat64)

#define SHADOW_FSTATAT(name) \
    LOOK_UP('H', at, int, name, (int at, const char *path, void *buffer, int flags), (at, path, buffer, flags))
SHADOW_FSTATAT(fstatat)
SHADOW_FSTATAT(fstatat64)
SHADOW_FSTATAT(utimensat)
LOOK_UP('H', at, int, futimesat, (int at, const char *path, void *times), (at, path, times))

EXPORT int statx(int at, const char *path, int flags, u32 mask, void *buffer)
{
    __typeof__(&statx) real = REAL_OR(NULL, statx);
    if (!real) { /* an old libc; who finds that it is not there asks with another function */
        *__errno_location() = NOSYS;
        return -1;
    }
    int result = real(at, path, flags, mask, buffer);
    note_int('H', at, path, result);
    return result;
}

LOOK_UP('H', FD_CWD, int, access, (const char *path, int mode), (path, mode))
LOOK_UP('H', FD_CWD, int, eaccess, (const char *path, int mode), (path, mode))
LOOK_UP('H', FD_CWD, int, euidaccess, (const char *path, int mode), (path, mode))
LOOK_UP('H', at, int, faccessat, (int at, const char *path, int mode, int flags), (at, path, mode, flags))

LOOK_UP('H', FD_CWD, int, chmod, (const char *path, u32 mode), (path, mode))
LOOK_UP('H', FD_CWD, int, lchmod, (const char *path, u32 mode), (path, mode))
LOOK_UP('H', at, int, fchmodat, (int at, const char *path, u32 mode, int flags), (at, path, mode, flags))
LOOK_UP('H', FD_CWD, int, chown, (const char *path, u32 user, u32 group), (path, user, group))
LOOK_UP('H', FD_CWD, int, lchown, (const char *path, u32 user, u32 group), (path, user, group))
LOOK_UP('H', at, int, fchownat, (int at, const char *path, u32 user, u32 group, int flags),
        (at, path, user, group, flags))
LOOK_UP('H', FD_CWD, int, truncate, (const char *path, long size), (path, size))
LOOK_UP('H', FD_CWD, int, truncate64, (const char *path, long size), (path, size))

#define SHADOW_READLINK(name, at, parameters, arguments) LOOK_UP('H', at, ssize_t, name, parameters, arguments)
SHADOW_READLINK(readlink, FD_CWD, (const char *path, char *to, size_t size), (path, to, size))
SHADOW_READLINK(readlinkat, at, (int at, const char *path, char *to, size_t size), (at, path, to, size))
SHADOW_READLINK(__readlink_chk, FD_CWD, (const char *path, char *to, size_t size, size_t room), (path, to, size, room))
SHADOW_READLINK(__readlinkat_chk, at, (int at, const char *path, char *to, size_t size, size_t room),
                (at, path, to, size, room))

#define SHADOW_REALPATH(name, parameters, arguments) \
    EXPORT char *name parameters \
    { \
        char *result = REAL_POINTER(name) arguments; \
        note('H', FD_CWD, path, outcome(!result)); \
        return result; \
    }
SHADOW_REALPATH(realpath, (const char *path, char *buffer), (path, buffer))
SHADOW_REALPATH(__realpath_chk, (const char *path, char *buffer, size_t room), (path, buffer, room))
SHADOW_REALPATH(canonicalize_file_name, (const char *path), (path))

#define SHADOW_XATTR(type, name, parameters, arguments) LOOK_UP('H', FD_CWD, type, name, parameters, arguments)
SHADOW_XATTR(ssize_t, getxattr, (const char *path, const char *name, void *to, size_t size), (path, name, to, size))
SHADOW_XATTR(ssize_t, lgetxattr, (const char *path, const char *name, void *to, size_t size), (path, name, to, size))
SHADOW_XATTR(ssize_t, listxattr, (const char *path, char *list, size_t size), (path, list, size))
SHADOW_XATTR(ssize_t, llistxattr, (const char *path, char *list, size_t size), (path, list, size))
SHADOW_XATTR(int, removexattr, (const char *path, const char *name), (path, name))
SHADOW_XATTR(int, lremovexattr, (const char *path, const char *name), (path, name))
SHADOW_XATTR(int, setxattr, (const char *path, const char *name, const void *from, size_t size, int flags),
             (path, name, from, size, flags))
SHADOW_XATTR(int, lsetxattr, (const char *path, const char *name, const void *from, size_t size, int flags),
             (path, name, from, size, flags))

LOOK_UP('H', at, int, name_to_handle_at, (int at, const char *path, void *handle, int *mount, int flags),
        (at, path, handle, mount, flags))

/* Answers -1 and leaves errno alone where there is no limit. */
EXPORT long pathconf(const char *path, int name)
{
    int saved = *__errno_location();
    *__errno_location() = 0;
    long result = REAL(pathconf)(path, name);
    note('H', FD_CWD, path, outcome(result < 0));
    if (*__errno_location() == 0)
        *__errno_location() = saved;
    return result;
}
