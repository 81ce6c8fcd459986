/* Shadowed: what would end the watch for system calls (calls.c): new threads and processes, which start without it, and
 * other handlers of its signal, which LLVM sets to report a crash. A thread that blocked the signal would be killed by it. */
#include "calls.h"
#include "log.h"
#include "symbols.h"

typedef struct {
    void *(*run)(void *);
    void *argument;
} Thread;

static void *run_watched(void *state)
{
    Thread thread = *(Thread *)state;
    free(state);
    watch_thread();
    return thread.run(thread.argument);
}

static Thread *watched(void *(*run)(void *), void *argument)
{
    Thread *thread = is_watching() ? malloc(sizeof *thread) : NULL;
    if (thread)
        *thread = (Thread){run, argument};
    else if (is_watching())
        mark_flawed();
    return thread;
}

EXPORT int pthread_create(void *thread, const void *attributes, void *(*run)(void *), void *argument)
{
    Thread *start = watched(run, argument);
    if (!start)
        return REAL(pthread_create)(thread, attributes, run, argument);
    int code = REAL(pthread_create)(thread, attributes, run_watched, start);
    if (code)
        free(start);
    return code;
}

/* C11's, whose functions return a number. */
static int run_watched_number(void *state)
{
    return (int)(long)run_watched(state);
}

EXPORT int thrd_create(void *thread, int (*run)(void *), void *argument)
{
    Thread *start = watched((void *(*)(void *))(void *)run, argument);
    if (!start)
        return REAL(thrd_create)(thread, run, argument);
    int code = REAL(thrd_create)(thread, run_watched_number, start);
    if (code)
        free(start);
    return code;
}

#define SHADOW_FORK(name) \
    EXPORT int name(void) \
    { \
        int pid = REAL(name)(); \
        if (pid == 0) \
            watch_thread(); \
        return pid; \
    }
SHADOW_FORK(fork)
SHADOW_FORK(__fork)
SHADOW_FORK(_Fork)

#define SHADOW_SIGACTION(name) \
    EXPORT int name(int number, const SignalAction *action, SignalAction *before) \
    { \
        if (number != SIGNAL_SYSTEM_CALL || !is_watching()) \
            return REAL(name)(number, action, before); \
        if (before) \
            *before = (SignalAction){0}; /* as it is where nobody watches */ \
        return 0; \
    }
EXPORT int __sigaction(int, const SignalAction *, SignalAction *);
SHADOW_SIGACTION(sigaction)
SHADOW_SIGACTION(__sigaction)

#define SHADOW_SIGNAL(name) \
    EXPORT void *name(int number, void *handler) \
    { \
        if (number != SIGNAL_SYSTEM_CALL || !is_watching()) \
            return REAL_POINTER(name)(number, handler); \
        return NULL; \
    }
SHADOW_SIGNAL(signal)
SHADOW_SIGNAL(bsd_signal)
SHADOW_SIGNAL(ssignal)
SHADOW_SIGNAL(sysv_signal)
SHADOW_SIGNAL(__sysv_signal)
SHADOW_SIGNAL(sigset)

#define SHADOW_MASK(name) \
    EXPORT int name(int how, const u64 *set, u64 *before) \
    { \
        u64 mask[SIGNAL_MASK_WORDS]; \
        if (!set || how == SIGNALS_UNBLOCK || !is_watching()) \
            return REAL(name)(how, set, before); \
        for (size_t i = 0; i < SIGNAL_MASK_WORDS; i++) \
            mask[i] = set[i]; \
        mask[0] &= ~(1ul << (SIGNAL_SYSTEM_CALL - 1)); \
        return REAL(name)(how, mask, before); \
    }
SHADOW_MASK(sigprocmask)
SHADOW_MASK(pthread_sigmask)
