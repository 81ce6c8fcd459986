/* The start of a process.
 *
 * bubblewrap sets PWD to the physical cwd, and gcc writes PWD into DWARF. The variable ZCC_PWD holds the job's own PWD
 * (empty: none) and takes PWD's place before main.
 */
#include "calls.h"
#include "log.h"
#include "symbols.h"
#include "text.h"

static void restore_pwd(void)
{
    char **ours = environ, **to = environ;
    while (*ours && !starts_with(*ours, "ZCC_PWD="))
        ours++;
    if (!*ours)
        return;
    char *pwd = *ours + 4; /* "PWD=..." */
    for (char **from = environ; *from; from++) {
        if (from == ours && pwd[4])
            *to++ = pwd;
        else if (from != ours && !starts_with(*from, "PWD="))
            *to++ = *from;
    }
    *to = NULL;
}

__attribute__((constructor)) static void start(void)
{
    char program[PATH_BYTES];
    if (&environ && environ)
        restore_pwd();
    if (!open_log())
        return;
    ssize_t length = REAL(readlink)("/proc/self/exe", program, sizeof program);
    if (length > 0)
        put('S', 0, program, (size_t)length);
    else
        mark_flawed();
    watch_calls();
}
