/* Shadowed: what executes programs, whose names are logged as they are physically: a program that does not report
 * its own start then is one that this library could not enter. */
#include "log.h"
#include "symbols.h"
#include "text.h"

static void note_exec(const char *path)
{
    int saved = *__errno_location();
    char *physical = is_logging() ? REAL(realpath)(path, NULL) : NULL;
    if (physical)
        put('X', 0, physical, length_of(physical));
    free(physical);
    *__errno_location() = saved;
}

EXPORT int execve(const char *path, char *const *argv, char *const *variables)
{
    note_exec(path);
    int result = REAL(execve)(path, argv, variables);
    note_int('H', FD_CWD, path, result);
    return result;
}

/* "/proc/self/fd/N/path", which leads where the call does; NULL if it is too long. */
static char *spell_place(char *to, size_t room, int fd, const char *path)
{
    size_t length = length_of(path), before = fd < 0 ? room : spell_descriptor(to, fd);
    if (before + 1 + length + 1 > room)
        return NULL;
    if (length)
        to[before++] = '/';
    copy(to + before, path, length + 1);
    return to;
}

EXPORT int execveat(int fd, const char *path, char *const *argv, char *const *variables, int flags)
{
    char place[JOINED_BYTES];
    const char *named = *path == '/' || fd == FD_CWD ? path : spell_place(place, sizeof place, fd, path);
    if (named)
        note_exec(named);
    else
        mark_flawed();
    int result = REAL(execveat)(fd, path, argv, variables, flags);
    note_int('H', fd, path, result);
    return result;
}

EXPORT int fexecve(int fd, char *const *argv, char *const *variables)
{
    char place[DESCRIPTOR_BYTES];
    if (spell_place(place, sizeof place, fd, ""))
        note_exec(place);
    return REAL(fexecve)(fd, argv, variables);
}

EXPORT int execv(const char *path, char *const *argv)
{
    return execve(path, argv, environ);
}

/* Calls `attempt` with each place that a program of this name may lie at, as execvp does, until one
 * does not answer that there is none. */
static int search_path(const char *name, int (*attempt)(const char *, void *), void *state)
{
    char place[JOINED_BYTES];
    const char *path = "/bin:/usr/bin";
    size_t length = length_of(name);
    for (const char *c = name; *c; c++)
        if (*c == '/')
            return attempt(name, state);
    for (char **variable = environ; variable && *variable; variable++)
        if (starts_with(*variable, "PATH="))
            path = *variable + 5;
    for (;;) {
        size_t before = 0;
        while (path[before] && path[before] != ':')
            before++;
        if (*name && before + length + 2 < sizeof place) {
            copy(place, path, before);
            if (before)
                place[before++] = '/';
            copy(place + before, name, length + 1);
            before -= before != 0;
            int code = attempt(place, state);
            if (code != NOENT && code != NOTDIR && code != ACCES)
                return code;
        }
        while (*path && *path != ':')
            path++;
        if (!*path++)
            return NOENT;
    }
}

typedef struct {
    int (*call)(int *, const char *, const void *, const void *, char *const *, char *const *);
    int *pid;
    const void *actions, *attributes;
    char *const *argv, *const *variables;
} Spawn;

#define SHADOW_SPAWN(name) \
    EXPORT int name(int *pid, const char *path, const void *actions, const void *attributes, char *const *argv, \
                    char *const *variables) \
    { \
        note_exec(path); \
        int code = REAL(name)(pid, path, actions, attributes, argv, variables); \
        note('H', FD_CWD, path, code); \
        return code; \
    }
SHADOW_SPAWN(posix_spawn)
SHADOW_SPAWN(pidfd_spawn)

static int exec_at(const char *path, void *state)
{
    Spawn *spawn = state;
    execve(path, spawn->argv, spawn->variables);
    return *__errno_location();
}

static int spawn_at(const char *path, void *state)
{
    Spawn *spawn = state;
    return spawn->call(spawn->pid, path, spawn->actions, spawn->attributes, spawn->argv, spawn->variables);
}

EXPORT int execvpe(const char *name, char *const *argv, char *const *variables)
{
    Spawn spawn = {NULL, NULL, NULL, NULL, argv, variables};
    int code = search_path(name, exec_at, &spawn);
    if (code == NOEXEC) { /* libc hands it to a shell */
        note_unseen("/execvpe");
        return REAL(execvpe)(name, argv, variables);
    }
    *__errno_location() = code;
    return -1;
}

EXPORT int execvp(const char *name, char *const *argv)
{
    return execvpe(name, argv, environ);
}

/* The arguments of execl and its like as a vector, and behind them what execle takes. */
#define SPREAD(first) \
    size_t count = 1; \
    __builtin_va_list list; \
    __builtin_va_start(list, first); \
    while (first && __builtin_va_arg(list, char *)) \
        count++; \
    __builtin_va_end(list); \
    char *argv[count + 1]; \
    argv[0] = (char *)first; \
    __builtin_va_start(list, first); \
    for (size_t i = 1; first && i <= count; i++) \
        argv[i] = __builtin_va_arg(list, char *);

EXPORT int execl(const char *path, const char *first, ...)
{
    SPREAD(first)
    __builtin_va_end(list);
    return execve(path, argv, environ);
}

EXPORT int execlp(const char *name, const char *first, ...)
{
    SPREAD(first)
    __builtin_va_end(list);
    return execvpe(name, argv, environ);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    SPREAD(first)
    char *const *variables = __builtin_va_arg(list, char *const *);
    __builtin_va_end(list);
    return execve(path, argv, variables);
}

EXPORT int posix_spawnp(int *pid, const char *name, const void *actions, const void *attributes, char *const *argv,
                        char *const *variables)
{
    Spawn spawn = {posix_spawn, pid, actions, attributes, argv, variables};
    return search_path(name, spawn_at, &spawn);
}

EXPORT int pidfd_spawnp(int *pid, const char *name, const void *actions, const void *attributes, char *const *argv,
                        char *const *variables)
{
    Spawn spawn = {pidfd_spawn, pid, actions, attributes, argv, variables};
    return search_path(name, spawn_at, &spawn);
}
