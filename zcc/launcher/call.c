#define _GNU_SOURCE
#include "call.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "program.h"
#include "say.h"
#include "slot.h"

#define MAX_DEPTH 5 /* launchers inside each other; real nesting is 2 or 3 */

/* ccache itself reads the files so long before it calls a compiler; and an agent is started as fast. */
#define MOMENT_S 1

struct call call = {.named = ""};
static struct timespec begun;

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

/* Where the compile that ccache asks for writes; NULL for any other command. Of -fsyntax-only ccache expects no
 * object: it would keep "no object, and 0" as a success. */
static const char *named_output(void)
{
    const char *output = NULL;
    int is_compile = 0;
    for (char **word = call.argv + 1; *word; word++) {
        if (strcmp(*word, "-E") == 0 || strcmp(*word, "-fsyntax-only") == 0)
            return NULL;
        is_compile |= strcmp(*word, "-c") == 0 || strcmp(*word, "-S") == 0;
        if (strcmp(*word, "-o") == 0 && word[1])
            output = *++word;
    }
    return is_compile ? output : NULL;
}

/* ccache waits for what it will keep, so it is the parent then; for what it does not keep it becomes this program. */
void learn_caller(void)
{
    char link[40], path[PATH_MAX];
    (void)clock_gettime(CLOCK_BOOTTIME, &begun);
    if (!getenv("UNCACHED_ERR_FD") || !call.argv[0] || !named_output())
        return;
    snprintf(link, sizeof link, "/proc/%ld/exe", (long)getppid());
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    if (strncmp(basename_of(path), "ccache", strlen("ccache")) == 0)
        call.flags |= IS_NAMED;
}

void withdraw(void)
{
    const char *output = call.flags & IS_NAMED ? named_output() : NULL;
    struct stat status;
    if (!output)
        return;
    /* An object of before would be taken for this one's. */
    if (lstat(output, &status) != 0 ? errno == ENOENT
                                    : (S_ISREG(status.st_mode) || S_ISLNK(status.st_mode)) && unlink(output) == 0)
        _exit(0);
}

static void withdraw_if_late(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_BOOTTIME, &now) == 0 && now.tv_sec - begun.tv_sec > MOMENT_S)
        withdraw();
}

static int is_policy(const char *wanted)
{
    const char *policy = getenv("ZCC_FALLBACK");
    return policy && strcmp(policy, wanted) == 0;
}

void check_policy(void)
{
    const char *policy = getenv("ZCC_FALLBACK"), *guard = getenv("ZCC_GUARD");
    if (policy && *policy && !is_policy("never") && !is_policy("forbid") && !is_policy("always") &&
        (!guard || atoi(guard) == 0)) /* the outermost launcher says it once */
        say("zcc: ZCC_FALLBACK=%s is not obeyed: expected never, forbid or always", policy);
}

_Noreturn void exec_compiler(const char *path, const char *name)
{
    const char *guard = getenv("ZCC_GUARD");
    int depth = guard ? atoi(guard) : 0;
    char text[16];
    if (depth > MAX_DEPTH) {
        say("zcc: %s calls itself through zcc, %d deep: name the real compiler by its full path", name, depth);
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
    withdraw_if_late();
    take_slot();
    withdraw_if_late();
    run_locally();
}
