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

/* A directory that is open already, under whatever flags. */
static void note_listed(int fd)
{
    char name[DESCRIPTOR_BYTES], place[PATH_BYTES];
    int saved = *__errno_location();
    if (fd < 0)
        return; /* nothing is open */
    spell_descriptor(name, fd);
    ssize_t got = REAL(readlink)(name, place, sizeof place - 1);
    *__errno_location() = saved;
    if (got <= 0) {
        mark_flawed();
        return;
    }
    place[got] = 0;
    note('D', FD_CWD, place, 0);
}

EXPORT void *fdopendir(int fd)
{
    void *result = REAL_POINTER(fdopendir)(fd);
    if (result)
        note_listed(fd);
    return result;
}

#define SHADOW_READING(name, parameters, arguments) \
    EXPORT long name parameters \
    { \
        note_listed(fd); \
        return REAL_OR(fail_absent, name) arguments; \
    }
SHADOW_READING(getdents64, (int fd, void *buffer, size_t size), (fd, buffer, size))
SHADOW_READING(getdents, (int fd, void *buffer, size_t size), (fd, buffer, size))
SHADOW_READING(getdirentries, (int fd, void *buffer, size_t size, void *base), (fd, buffer, size, base))
SHADOW_READING(getdirentries64, (int fd, void *buffer, size_t size, void *base), (fd, buffer, size, base))

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
