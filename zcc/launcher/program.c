#define _GNU_SOURCE
#include "program.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char own_directory[PATH_MAX];
static struct {
    dev_t device;
    ino_t inode;
} selves[4]; /* this program and those beside it */
static size_t self_count;

const char *basename_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void learn_self(void)
{
    static const char *const names[] = {"", "zcc", "zcc++", "zcc-masquerade"};
    ssize_t length = readlink("/proc/self/exe", own_directory, sizeof own_directory - 1);
    char *slash = length > 0 ? strrchr(own_directory, '/') : NULL;
    if (slash)
        slash[1] = '\0';
    else
        own_directory[0] = '\0';
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[PATH_MAX + 8];
        struct stat status;
        snprintf(path, sizeof path, "%s%s", i ? own_directory : "/proc/self/exe", names[i]);
        if ((i && !slash) || stat(path, &status) != 0)
            continue;
        selves[self_count].device = status.st_dev;
        selves[self_count++].inode = status.st_ino;
    }
}

static int is_self(const struct stat *status)
{
    for (size_t i = 0; i < self_count; i++)
        if (selves[i].device == status->st_dev && selves[i].inode == status->st_ino)
            return 1;
    return 0;
}

char *absolute(const char *path)
{
    char *joined = NULL, *cwd = *path == '/' ? strdup("") : getcwd(NULL, 0);
    if (cwd && asprintf(&joined, "%s%s%s", cwd, *path == '/' ? "" : "/", path) < 0)
        joined = NULL;
    free(cwd);
    return joined;
}

/* A ccache that CCACHE_DISABLE keeps from caching runs what follows it on PATH, and nothing else. It
 * says so to the compiler that it runs: where that is a link to zcc, the next on PATH may be ccache again,
 * and the two would look for the compiler in each other for ever. */
static int only_passes_on(const char *path)
{
    const char *disabled = getenv("CCACHE_DISABLE");
    char *real = disabled && *disabled ? realpath(path, NULL) : NULL;
    int is_ccache = real && strncmp(basename_of(real), "ccache", strlen("ccache")) == 0;
    free(real);
    return is_ccache;
}

/* A link to the launcher of another installation of zcc: the two would take turns. */
static int is_other_zcc(const char *path)
{
    static const char *const names[] = {"zcc", "zcc++", "zcc-masquerade"};
    char *real = realpath(path, NULL);
    int is_zcc = 0;
    for (size_t i = 0; real && i < COUNT(names); i++)
        is_zcc |= strcmp(basename_of(real), names[i]) == 0;
    free(real);
    return is_zcc;
}

/* The next file `name` on PATH, in `path`; *entry is where to go on, NULL behind the last. */
static int find_next(const char **entry, const char *name, char path[PATH_MAX], struct stat *status)
{
    while (*entry) {
        const char *end = strchrnul(*entry, ':');
        int length = (int)(end - *entry);
        int size = snprintf(path, PATH_MAX, "%.*s%s%s", length, *entry, length ? "/" : "", name);
        *entry = *end ? end + 1 : NULL;
        if (size > 0 && size < PATH_MAX && stat(path, status) == 0 && S_ISREG(status->st_mode))
            return 1;
    }
    return 0;
}

static const char *search_path(void)
{
    const char *path = getenv("PATH");
    return path ? path : "/usr/local/bin:/usr/bin:/bin";
}

/* The program `name` on PATH behind zcc: entries that lead back to zcc do not count. A file that may
 * not be executed is the answer only if there is no better one, so that exec says why. */
static char *find_on_path(const char *name)
{
    const char *entry = search_path();
    char *blocked = NULL, path[PATH_MAX];
    struct stat status;
    while (find_next(&entry, name, path, &status)) {
        if (is_self(&status) || is_other_zcc(path) || only_passes_on(path))
            continue;
        if (access(path, X_OK) == 0) {
            free(blocked);
            return absolute(path);
        }
        if (!blocked)
            blocked = absolute(path);
    }
    return blocked;
}

char *find_program(const char *name)
{
    struct stat status;
    if (!strchr(name, '/'))
        return *name ? find_on_path(name) : NULL;
    if (stat(name, &status) == 0 && is_self(&status))
        return find_on_path(basename_of(name)); /* /masquerade/gcc, by its path */
    return absolute(name);
}

int leads_to_self(const char *name)
{
    const char *entry = search_path();
    char path[PATH_MAX];
    struct stat status;
    if (strchr(name, '/'))
        return stat(name, &status) == 0 && is_self(&status);
    while (find_next(&entry, name, path, &status))
        if (access(path, X_OK) == 0)
            return is_self(&status);
    return 0;
}

int leads_elsewhere(const char *name, const char *path)
{
    const char *entry = search_path();
    char found[PATH_MAX];
    struct stat status, chosen;
    if (strchr(name, '/') || stat(path, &chosen) != 0)
        return 0;
    while (find_next(&entry, name, found, &status))
        if (access(found, X_OK) == 0)
            return status.st_dev != chosen.st_dev || status.st_ino != chosen.st_ino;
    return 0;
}

/* One of zcc's own programs: the one installed with this launcher, else the one on PATH. */
void exec_own(const char *name, char **argv)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s%s", own_directory, name);
    if (own_directory[0])
        execv(path, argv);
    execvp(name, argv);
}
