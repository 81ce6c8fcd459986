/* Shadowed: what loads foreign code into a process, and what such code may do past the log. */
#include "log.h"
#include "symbols.h"
#include "text.h"

/* Set while a library is loaded by its path, which no compiler does unless the command line names a plugin.
 * From then on there is foreign code in the process: what it asks of the environment is its own question, whatever
 * the name means to a compiler, and what cannot be logged is a flaw. */
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

static int is_path(const char *name)
{
    for (; name && *name; name++)
        if (*name == '/')
            return 1;
    return 0;
}

/* After a library was loaded, or was not. */
static void note_loaded(const char *name, const void *handle, int had_plugin)
{
    if (handle)
        dl_iterate_phdr(note_library, NULL);
    else if (!had_plugin && is_path(name))
        access(name, 0); /* the shadow: logged */
    else
        note_unseen("/dlopen");
}

EXPORT void *dlopen(const char *path, int mode)
{
    int had_plugin = has_plugin;
    if (!path || !is_logging() || !(is_path(path) || had_plugin))
        return REAL_POINTER(dlopen)(path, mode);
    has_plugin = 1;
    void *handle = REAL_POINTER(dlopen)(path, mode);
    note_loaded(path, handle, had_plugin);
    return handle;
}

static void note_variable(const char *name)
{
    char joined[PATH_BYTES];
    size_t length = length_of(name);
    if (!is_logging() || !length)
        return;
    if (length + 2 > sizeof joined) {
        mark_flawed();
        return;
    }
    joined[0] = '/';
    copy(joined + 1, name, length + 1);
    put_once(has_plugin ? 'V' : 'N', 0, joined, length + 1);
}

#define SHADOW_GETENV(name) \
    EXPORT char *name(const char *variable) \
    { \
        note_variable(variable); \
        return REAL_POINTER(name)(variable); \
    }
SHADOW_GETENV(getenv)
SHADOW_GETENV(secure_getenv)
SHADOW_GETENV(__secure_getenv)

EXPORT int socket(int domain, int type, int protocol)
{
    if (has_plugin)
        note_unseen("/socket");
    return REAL(socket)(domain, type, protocol);
}
