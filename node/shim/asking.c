/* Shadowed: what asks about files. */
#include "log.h"
#include "symbols.h"

#define SHADOW_PATH_BUFFER(name) \
    EXPORT int name(const char *path, void *buffer) \
    { \
        int result = REAL(name)(path, buffer); \
        note_int('H', FD_CWD, path, result); \
        return result; \
    }
SHADOW_PATH_BUFFER(stat)
SHADOW_PATH_BUFFER(stat64)
SHADOW_PATH_BUFFER(lstat)
SHADOW_PATH_BUFFER(lstat64)
SHADOW_PATH_BUFFER(statfs)
SHADOW_PATH_BUFFER(statfs64)
SHADOW_PATH_BUFFER(statvfs)
SHADOW_PATH_BUFFER(statvfs64)

/* glibc before 2.33 has stat only under these names. */
#define SHADOW_XSTAT(name) \
    EXPORT int name(int version, const char *path, void *buffer) \
    { \
        int result = REAL(name)(version, path, buffer); \
        note_int('H', FD_CWD, path, result); \
        return result; \
    }
#define SHADOW_FXSTATAT(name) \
    EXPORT int name(int version, int at, const char *path, void *buffer, int flags) \
    { \
        int result = REAL(name)(version, at, path, buffer, flags); \
        note_int('H', at, path, result); \
        return result; \
    }
#define SHADOW_FSTATAT(name) \
    EXPORT int name(int at, const char *path, void *buffer, int flags) \
    { \
        int result = REAL(name)(at, path, buffer, flags); \
        note_int('H', at, path, result); \
        return result; \
    }
SHADOW_XSTAT(__xstat)
SHADOW_XSTAT(__xstat64)
SHADOW_XSTAT(__lxstat)
SHADOW_XSTAT(__lxstat64)
SHADOW_FXSTATAT(__fxstatat)
SHADOW_FXSTATAT(__fxstatat64)
SHADOW_FSTATAT(fstatat)
SHADOW_FSTATAT(fstatat64)

EXPORT int statx(int at, const char *path, int flags, u32 mask, void *buffer)
{
    __typeof__(&statx) real = REAL(statx);
    if (!real) {
        *__errno_location() = NOSYS;
        return -1;
    }
    int result = real(at, path, flags, mask, buffer);
    note_int('H', at, path, result);
    return result;
}

#define SHADOW_ACCESS(name) \
    EXPORT int name(const char *path, int mode) \
    { \
        int result = REAL(name)(path, mode); \
        note_int('H', FD_CWD, path, result); \
        return result; \
    }
SHADOW_ACCESS(access)
SHADOW_ACCESS(eaccess)
SHADOW_ACCESS(euidaccess)

EXPORT int faccessat(int at, const char *path, int mode, int flags)
{
    int result = REAL(faccessat)(at, path, mode, flags);
    note_int('H', at, path, result);
    return result;
}

EXPORT ssize_t readlink(const char *path, char *buffer, size_t size)
{
    ssize_t result = REAL(readlink)(path, buffer, size);
    note_int('H', FD_CWD, path, (int)result);
    return result;
}

EXPORT ssize_t readlinkat(int at, const char *path, char *buffer, size_t size)
{
    ssize_t result = REAL(readlinkat)(at, path, buffer, size);
    note_int('H', at, path, (int)result);
    return result;
}

EXPORT ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t room)
{
    ssize_t result = REAL(__readlink_chk)(path, buffer, size, room);
    note_int('H', FD_CWD, path, (int)result);
    return result;
}

EXPORT char *realpath(const char *path, char *buffer)
{
    char *result = REAL(realpath)(path, buffer);
    note('H', FD_CWD, path, outcome(!result));
    return result;
}

EXPORT char *__realpath_chk(const char *path, char *buffer, size_t room)
{
    char *result = REAL(__realpath_chk)(path, buffer, room);
    note('H', FD_CWD, path, outcome(!result));
    return result;
}

EXPORT char *canonicalize_file_name(const char *path)
{
    char *result = REAL(canonicalize_file_name)(path);
    note('H', FD_CWD, path, outcome(!result));
    return result;
}
