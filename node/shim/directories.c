/* Shadowed: what lists and changes directories. */
#include "log.h"
#include "symbols.h"

EXPORT void *opendir(const char *path)
{
    void *result = REAL(opendir)(path);
    note('D', FD_CWD, path, outcome(!result));
    return result;
}

#define SHADOW_SCANDIR(name) \
    EXPORT int name(const char *path, void *list, void *filter, void *compare) \
    { \
        int result = REAL(name)(path, list, filter, compare); \
        note_int('D', FD_CWD, path, result); \
        return result; \
    }
SHADOW_SCANDIR(scandir)
SHADOW_SCANDIR(scandir64)

#define SHADOW_WALK(name) \
    EXPORT int name(const char *path, void *visit, int depth, int flags) \
    { \
        mark_flawed(); \
        return REAL(name)(path, visit, depth, flags); \
    }
SHADOW_WALK(nftw)
SHADOW_WALK(nftw64)

EXPORT void *fts_open(char *const *paths, int options, void *compare)
{
    mark_flawed();
    return REAL(fts_open)(paths, options, compare);
}

EXPORT int glob(const char *pattern, int flags, void *failed, void *found)
{
    mark_flawed();
    return REAL(glob)(pattern, flags, failed, found);
}

EXPORT int chdir(const char *path)
{
    if (*path != '/')
        remember_directory();
    int result = REAL(chdir)(path);
    note_int('H', FD_CWD, path, result);
    forget_directory();
    return result;
}

EXPORT int fchdir(int fd)
{
    int result = REAL(fchdir)(fd);
    forget_directory();
    return result;
}
