/* Shadowed: what executes programs. */
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
    int *pid;
    const void *actions, *attributes;
    char *const *argv, *const *variables;
} Spawn;

EXPORT int posix_spawn(int *pid, const char *path, const void *actions, const void *attributes, char *const *argv,
                       char *const *variables)
{
    note_exec(path);
    int code = REAL(posix_spawn)(pid, path, actions, attributes, argv, variables);
    note('H', FD_CWD, path, code);
    return code;
}

static int exec_at(const char *path, void *state)
{
    Spawn *spawn = state;
    execve(path, spawn->argv, spawn->variables);
    return *__errno_location();
}

static int spawn_at(const char *path, void *state)
{
    Spawn *spawn = state;
    return posix_spawn(spawn->pid, path, spawn->actions, spawn->attributes, spawn->argv, spawn->variables);
}

EXPORT int execvpe(const char *name, char *const *argv, char *const *variables)
{
    Spawn spawn = {NULL, NULL, NULL, argv, variables};
    *__errno_location() = search_path(name, exec_at, &spawn);
    return -1;
}

EXPORT int execvp(const char *name, char *const *argv)
{
    return execvpe(name, argv, environ);
}

EXPORT int posix_spawnp(int *pid, const char *name, const void *actions, const void *attributes, char *const *argv,
                        char *const *variables)
{
    Spawn spawn = {pid, actions, attributes, argv, variables};
    return search_path(name, spawn_at, &spawn);
}
