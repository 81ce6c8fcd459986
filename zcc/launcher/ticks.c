#define _GNU_SOURCE
#include "ticks.h"

#include <signal.h>
#include <time.h>

static timer_t timer;
static int is_ticking;
static sigset_t old_set;

static struct timespec span(long ms)
{
    return (struct timespec){ms / 1000, ms % 1000 * 1000000};
}

static void on_tick(int number)
{
    (void)number;
}

int start_ticks(long first_ms, long then_ms)
{
    struct sigaction action = {.sa_handler = on_tick}; /* no SA_RESTART; exec resets it */
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMAX};
    struct itimerspec when = {span(then_ms), span(first_ms)};
    sigset_t set;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return -1;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    sigaction(SIGRTMAX, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &set, &old_set);
    timer_settime(timer, 0, &when, NULL);
    is_ticking = 1;
    return 0;
}

void stop_ticks(void)
{
    if (!is_ticking)
        return;
    is_ticking = 0;
    timer_delete(timer);
    sigprocmask(SIG_SETMASK, &old_set, NULL);
}
