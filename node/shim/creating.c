/* Shadowed: what creates files. */
#include "log.h"
#include "symbols.h"

EXPORT int mkdir(const char *path, u32 mode)
{
    int result = REAL(mkdir)(path, mode);
    note_int('W', FD_CWD, path, result);
    return result;
}

EXPORT int rename(const char *from, const char *to)
{
    int result = REAL(rename)(from, to);
    if (!result)
        note('W', FD_CWD, to, 0);
    return result;
}

/* objcopy makes its output under such a name, beside the place where it will be. */
#define SHADOW_MKSTEMP(name, parameters, arguments) \
    EXPORT int name parameters \
    { \
        int fd = REAL(name) arguments; \
        if (fd >= 0) \
            note('W', FD_CWD, path, 0); \
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
    char *result = REAL(mkdtemp)(path);
    if (result)
        note('W', FD_CWD, path, 0);
    return result;
}
