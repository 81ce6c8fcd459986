#define _GNU_SOURCE
#include "start.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

#define START_MS 5000    /* on a swamped machine Python may need seconds */
#define RETRY_START_S 30 /* an agent that cannot start is not tried for every compile */
#define COUNT(array) (sizeof(array) / sizeof *(array))

extern char **environ;

static void on_lock_timeout(int number) { (void)number; }

/* flock with a deadline. A timer of its own, because alarm() and setitimer() outlive exec and may
 * be somebody's; it repeats, so that a signal just before flock is no signal lost. */
static int lock_within(int fd, long ms)
{
    struct sigaction action = {.sa_handler = on_lock_timeout}; /* no SA_RESTART; exec resets it */
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMAX};
    struct itimerspec when = {{0, 100000000}, {ms / 1000, ms % 1000 * 1000000}};
    timer_t timer;
    sigset_t set, old_set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return -1;
    sigaction(SIGRTMAX, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &set, &old_set);
    timer_settime(timer, 0, &when, NULL);
    int result = flock(fd, LOCK_EX);
    timer_delete(timer);
    sigprocmask(SIG_SETMASK, &old_set, NULL);
    return result;
}

static void close_from(unsigned first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0u, 0) == 0)
        return;
#endif
    DIR *open_files = opendir("/proc/self/fd"); /* Linux before 5.9 */
    for (struct dirent *entry; open_files && (entry = readdir(open_files)); )
        if (atoi(entry->d_name) >= (int)first && atoi(entry->d_name) != dirfd(open_files))
            close(atoi(entry->d_name));
}

/* The agent outlives this build: what belongs to the build (MAKEFLAGS, UNCACHED_ERR_FD, LD_PRELOAD,
 * the guard) must not go along. */
static void reduce_environment(const char *socket_path)
{
    static const char *const wanted[] = {
        "HOME=", "USER=", "LOGNAME=", "PATH=", "TMPDIR=", "XDG_", "ZCC_", "LANG=", "VIRTUAL_ENV=",
    };
    char **kept = environ;
    for (char **entry = environ; *entry; entry++) {
        size_t i = 0;
        while (i < COUNT(wanted) && strncmp(*entry, wanted[i], strlen(wanted[i])) != 0)
            i++;
        if (i < COUNT(wanted))
            *kept++ = *entry;
    }
    *kept = NULL;
    unsetenv("ZCC_GUARD");
    unsetenv("ZCC_FALLBACK");
    setenv("ZCC_SOCKET", socket_path, 1);
    setenv("ZCC_READY_FD", "3", 1);
}

/* In the second child: leaves the build's terminal, directory, streams and descriptors behind. */
static _Noreturn void become_agent(int ready, const char *socket_path)
{
    char *argv[] = {(char *)"zcc-agent", (char *)"serve", NULL};
    sigset_t none;
    int null = lift(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    if (ready == 3)
        fcntl(ready, F_SETFD, 0);
    else
        dup2(ready, 3);
    close_from(4);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(077);
    reduce_environment(socket_path);
    if (chdir("/") == 0)
        exec_own("zcc-agent", argv);
    _exit(127);
}

/* Under the lock. True when the agent says that it listens. */
static int spawn_agent(const char *socket_path, long patience_ms)
{
    int ready[2], is_ready = 0;
    char byte, *path = absolute(socket_path);
    if (!path || pipe2(ready, O_CLOEXEC) != 0)
        return 0;
    ready[0] = lift(ready[0]);
    ready[1] = lift(ready[1]);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0)
            become_agent(ready[1], path);
        _exit(0);
    }
    close(ready[1]);
    if (child > 0) {
        struct pollfd readable = {.fd = ready[0], .events = POLLIN};
        (void)waitpid(child, NULL, 0);
        is_ready = poll(&readable, 1, (int)patience_ms) == 1 && read(ready[0], &byte, 1) == 1;
    }
    close(ready[0]);
    free(path);
    return is_ready;
}

static int has_failed_lately(const struct place *place, const char *mark)
{
    struct stat status;
    return fstatat(place->directory, mark, &status, 0) == 0
        && labs((long)(time(NULL) - status.st_mtime)) < RETRY_START_S;
}

int start_agent(const struct place *place, long patience_ms)
{
    char lock_name[NAME_MAX + 8], mark[NAME_MAX + 8];
    int fd = -1;
    snprintf(lock_name, sizeof lock_name, "%s.lock", place->stem);
    snprintf(mark, sizeof mark, "%s.failed", place->stem);
    if (has_failed_lately(place, mark))
        return -1;
    int lock = lift(openat(place->directory, lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                           0600));
    long start_ms = patience_ms < START_MS ? patience_ms : START_MS;
    if (lock >= 0 && lock_within(lock, start_ms) == 0) {
        fd = connect_agent(place, patience_ms); /* who had the lock before us has started it */
        if (fd < 0 && !has_failed_lately(place, mark)) {
            if (spawn_agent(place->path, start_ms))
                fd = connect_agent(place, patience_ms);
            if (fd < 0) {
                int failed = openat(place->directory, mark,
                                    O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                (void)futimens(failed, NULL);
                close(failed);
            }
        }
    }
    if (lock >= 0)
        close(lock);
    return fd;
}
