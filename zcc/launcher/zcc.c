/* zcc, zcc++: the launcher. One runs for every compile, so it is small, needs nothing but libc, and
 * judges nothing: it tells the user's agent what was asked for and does what the agent answers:
 * places the finished outputs or execs the real compiler. Whatever goes wrong, it execs that.
 *
 * Who is called:
 *   NAME ARGS...      through a symlink NAME -> zcc: the compiler NAME, the next one on PATH
 *   zcc [WORD] ...    as words.c has it: the command line (`zcc-agent cli`), the default compiler, or the
 *                     compiler WORD; another zcc in front of that is skipped
 *   zcc++             the same; the default is the C++ compiler
 *
 * Environment: ZCC_DISABLE (exec the compiler at once), ZCC_FALLBACK=never (fail instead of falling
 * back) or forbid (exec no compiler at all), ZCC_CC and ZCC_CXX (default compilers while no agent says otherwise), ZCC_SOCKET and
 * ZCC_STATE_DIR (where the agent listens), ZCC_DEADLINE_MS (patience with a silent agent, 30000),
 * UNCACHED_ERR_FD (ccache's: where our own words go), ZCC_GUARD (below; set by the launcher).
 *
 * ZCC_GUARD counts how many launchers stand between a compiler and the user's shell. A wrapper
 * script that calls `gcc` and finds zcc again would go round for ever. The count, and not the
 * compiler's name, is what is checked: `zcc make`, ccache with a prefix and gcc's own LTO run zcc
 * inside zcc rightly, two or three deep. The agent sees it too: an outer call may hold a slot.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "call.h"
#include "outputs.h"
#include "program.h"
#include "protocol.h"
#include "reply.h"
#include "request.h"
#include "processor.h"
#include "say.h"
#include "words.h"

static int is_set(const char *name)
{
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0") != 0;
}

static int is_launcher(const char *name)
{
    return strcmp(name, "zcc") == 0 || strcmp(name, "zcc++") == 0;
}

/* Becomes `zcc-agent cli WORDS...`: the Python program that is installed with every launcher in any case. */
static _Noreturn void exec_cli(char **words)
{
    size_t count = 0;
    while (words[count])
        count++;
    char **argv = calloc(count + 3, sizeof *argv);
    if (argv) {
        argv[0] = (char *)"zcc-agent";
        argv[1] = (char *)"cli";
        memcpy(argv + 2, words, count * sizeof *argv);
        /* In the C locale Python would set LC_CTYPE, for the commands that it runs and explains as well. */
        (void)setenv("PYTHONCOERCECLOCALE", "0", 0);
        exec_own(argv[0], argv);
    }
    say("zcc: zcc-agent, which is installed with zcc, cannot be run: reinstall zcc");
    _exit(127);
}

/* Sets call.argv, named, flags; or becomes the command line. */
static void read_call(int argc, char **argv)
{
    const char *own_name = argc > 0 ? basename_of(argv[0]) : "zcc";
    call.argv = argv;
    if (argc == 0)
        exec_cli(argv);
    if (!is_launcher(own_name)) {
        call.named = own_name;
        return;
    }
    /* CC="zcc gcc" and CMAKE_C_COMPILER_LAUNCHER=zcc make `zcc zcc gcc` of it. */
    for (; argc > 1 && is_launcher(basename_of(argv[1])); argv++, argc--)
        own_name = basename_of(argv[1]);
    if (strcmp(own_name, "zcc++") == 0)
        call.flags |= IS_CXX;
    call.argv = argv;
    switch (meaning_of(argv + 1)) {
    case FOR_ZCC:
        exec_cli(argv + 1);
    case FOR_DEFAULT:
        call.flags |= IS_DEFAULT;
        return;
    case COMPILER:
        call.argv = argv + 1;
        call.named = argv[1];
    }
}

static _Noreturn void run_as_told(int agent, uint32_t length)
{
    char *path = receive_text(agent, length);
    const char *name = path + strlen(path) + 1;
    if (length < 4 || path[length - 1] != '\0' || strlen(path) + strlen(name) + 2 != length)
        fall_back("the agent's answer makes no sense");
    keep_for_compiler(agent);
    exec_compiler(path, name);
}

/* Comes back if the agent makes way for another one. */
static void obey_agent(int agent)
{
    for (;;) {
        uint32_t kind = (uint32_t)receive_number(agent, 4), length = (uint32_t)receive_number(agent, 4);
        if (kind == RESULT && length >= 16)
            place_result(agent, length);
        if (length > MAX_TEXT || kind < RUN || kind > WITHDRAW || (kind == WAIT && length > 0))
            fall_back("the agent's answer makes no sense");
        if (kind == RUN)
            run_as_told(agent, length);
        if (kind == RESTART)
            return;
        if (kind == WITHDRAW) {
            withdraw();
            keep_for_compiler(agent);
            run_locally();
        }
        if (kind == FAIL) {
            say("zcc: %s", receive_text(agent, length));
            _exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 1 && strcmp(basename_of(argv[0]), "zcc-processor") == 0)
        return print_processor();
    learn_self();
    read_call(argc, argv);
    learn_caller();
    check_policy();
    call.executable = find_program(call.flags & IS_DEFAULT ? default_compiler() : call.named);
    if (strchr(call.named, '/') && leads_to_self(call.named))
        call.named = basename_of(call.named); /* /masquerade/gcc says no more than gcc */
    if (is_set("ZCC_DISABLE") || (!call.executable && !(call.flags & IS_DEFAULT)))
        run_locally();
    for (int turn = 0; turn < 2; turn++) {
        int agent = reach_agent();
        send_request(agent);
        obey_agent(agent);
        close(agent);
    }
    fall_back("two agents in turn make way for another one");
}
