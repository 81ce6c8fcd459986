/* Shadowed: what lists and changes directories. */
#include "shadow.h"

LOOK_UP_POINTER('D', opendir, (const char *path), (path))

#define SHADOW_SCANDIR(name) \
    LOOK_UP('D', FD_CWD, int, name, (const char *path, void *list, void *filter, void *compare), \
            (path, list, filter, compare))
SHADOW_SCANDIR(scandir)
SHADOW_SCANDIR(scandir64)

#define SHADOW_SCANDIRAT(name) \
    LOOK_UP('D', at, int, name, (int at, const char *path, void *list, void *filter, void *compare), \
            (at, path, list, filter, compare))
SHADOW_SCANDIRAT(scandirat)
SHADOW_SCANDIRAT(scandirat64)

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
