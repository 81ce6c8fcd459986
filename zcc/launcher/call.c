#define _GNU_SOURCE
#include "call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"
#include "say.h"
#include "slot.h"

#define MAX_DEPTH 5 /* launchers inside each other; real nesting is 2 or 3 */

struct call call = {.named = ""};

const char *default_compiler(void)
{
    const char *chosen = getenv(call.flags & IS_CXX ? "ZCC_CXX" : "ZCC_CC");
    return chosen && *chosen ? chosen : call.flags & IS_CXX ? "c++" : "cc";
}

/* What a shell does with a file that is no program: scripts without #! run. Comes back if that fails. */
static void run_as_script(const char *path)
{
    size_t count = 0;
    while (call.argv[count])
        count++;
    char **argv = calloc(count + 2, sizeof *argv);
    if (!argv)
        return;
    argv[0] = (char *)"sh";
    argv[1] = (char *)path;
    for (size_t i = 1; i < count; i++)
        argv[i + 1] = call.argv[i];
    execv("/bin/sh", argv);
}

static int is_policy(const char *wanted)
{
    const char *policy = getenv("ZCC_FALLBACK");
    return policy && strcmp(policy, wanted) == 0;
}

void check_policy(void)
{
    const char *policy = getenv("ZCC_FALLBACK"), *guard = getenv("ZCC_GUARD");
    if (policy && *policy && !is_policy("never") && !is_policy("forbid") && !is_policy("always")
        && (!guard || atoi(guard) == 0)) /* the outermost launcher says it once */
        say("zcc: ZCC_FALLBACK=%s is not obeyed: expected never, forbid or always", policy);
}

_Noreturn void exec_compiler(const char *path, const char *name)
{
    const char *guard = getenv("ZCC_GUARD");
    int depth = guard ? atoi(guard) : 0;
    char text[16];
    if (depth > MAX_DEPTH) {
        say("zcc: %s calls itself through zcc, %d deep: name the real compiler by its full path",
            name, depth);
        _exit(1);
    }
    snprintf(text, sizeof text, "%d", depth + 1);
    if (!path || setenv("ZCC_GUARD", text, 1) != 0) {
        say("zcc: %s: command not found", name);
        _exit(127);
    }
    if (is_policy("forbid")) {
        say("zcc: %s would have run here (ZCC_FALLBACK=forbid)", name);
        _exit(1);
    }
    /* A gcc that searches PATH for its argv[0] and meets zcc or ccache there takes that one's directory
     * for its own and misses what is installed with it: the linker's plugin, even cc1. */
    call.argv[0] = (char *)(leads_to_self(name) || leads_elsewhere(name, path) ? path : name);
    execv(path, call.argv);
    if (errno == ENOEXEC)
        run_as_script(path);
    int error = errno;
    if (error == ENOENT || error == ENOTDIR)
        say("zcc: %s: command not found", name);
    else
        say("zcc: %s: %s", name, strerror(error));
    _exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

_Noreturn void run_locally(void)
{
    exec_compiler(call.executable, call.flags & IS_DEFAULT ? default_compiler() : call.named);
}

_Noreturn void fall_back(const char *reason)
{
    if (is_policy("never") || is_policy("forbid")) {
        say("zcc: %s (ZCC_FALLBACK=%s)", reason, getenv("ZCC_FALLBACK"));
        _exit(1);
    }
    take_slot();
    run_locally();
}
