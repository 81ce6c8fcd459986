/* Shadowed: what tells the local time, which lies in a file and in a variable. */
#include "log.h"
#include "symbols.h"
#include "text.h"

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

EXPORT long mktime(void *parts)
{
    note_time("/mktime");
    return REAL(mktime)(parts);
}

EXPORT long timelocal(void *parts)
{
    note_time("/timelocal");
    return REAL(timelocal)(parts);
}

EXPORT char *ctime(const long *seconds)
{
    note_time("/ctime");
    return REAL_POINTER(ctime)(seconds);
}

EXPORT char *ctime_r(const long *seconds, char *text)
{
    note_time("/ctime_r");
    return REAL_POINTER(ctime_r)(seconds, text);
}
