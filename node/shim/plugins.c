/* Shadowed: what loads foreign code into a process, and what such code may do past the log. */
#include "log.h"
#include "symbols.h"
#include "text.h"

/* Set while a library is loaded by its path, which no compiler does unless the command line names a plugin.
 * From then on there is foreign code in the process: what it asks of the environment is logged, and what
 * cannot be logged is a flaw. */
static int has_plugin;

static int note_library(Library *library, size_t size, void *state)
{
    (void)size, (void)state;
    if (library->name && is_under(library->name, "/.zcc", 5))
        return 0; /* this one */
    /* The program's own name is empty, that of the vdso has no directory. */
    for (const char *c = library->name; c && *c; c++)
        if (*c == '/') {
            note('H', FD_CWD, library->name, 0);
            break;
        }
    return 0;
}

EXPORT void *dlopen(const char *path, int mode)
{
    int is_path = 0, had_plugin = has_plugin;
    for (const char *c = path; c && *c; c++)
        is_path |= *c == '/';
    if (!path || !is_logging() || !(is_path || had_plugin))
        return REAL(dlopen)(path, mode);
    has_plugin = 1;
    void *handle = REAL(dlopen)(path, mode);
    if (handle)
        dl_iterate_phdr(note_library, NULL);
    else if (!had_plugin && is_path)
        access(path, 0); /* the shadow above: logged */
    else
        mark_flawed();
    return handle;
}

static void note_variable(const char *name)
{
    char joined[PATH_BYTES];
    size_t length = length_of(name);
    if (!has_plugin || !is_logging() || !length)
        return;
    if (length + 2 > sizeof joined) {
        mark_flawed();
        return;
    }
    joined[0] = '/';
    copy(joined + 1, name, length + 1);
    put_once('V', 0, joined, length + 1);
}

#define SHADOW_GETENV(name) \
    EXPORT char *name(const char *variable) \
    { \
        note_variable(variable); \
        return REAL(name)(variable); \
    }
SHADOW_GETENV(getenv)
SHADOW_GETENV(secure_getenv)
SHADOW_GETENV(__secure_getenv)

/* How compilers expand __TIME__, whatever it was pasted from or which precompiled header held it. */
static void note_time(const char *function)
{
    size_t length = length_of(function);
    if (is_logging())
        put_once('T', 0, function, length);
}

EXPORT void *localtime(const long *seconds)
{
    note_time("/localtime");
    return REAL(localtime)(seconds);
}

EXPORT void *localtime_r(const long *seconds, void *result)
{
    note_time("/localtime_r");
    return REAL(localtime_r)(seconds, result);
}

EXPORT int socket(int domain, int type, int protocol)
{
    if (has_plugin)
        mark_flawed();
    return REAL(socket)(domain, type, protocol);
}

EXPORT long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (has_plugin)
        mark_flawed();
    return REAL(syscall)(number, a, b, c, d, e, f);
}

/* system, popen and the execl family run programs that this library cannot name. */
EXPORT int system(const char *command)
{
    mark_flawed();
    return REAL(system)(command);
}

EXPORT void *popen(const char *command, const char *mode)
{
    mark_flawed();
    return REAL(popen)(command, mode);
}
