#define _GNU_SOURCE
#include "start.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
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
#include "protocol.h"
#include "ticks.h"

#define START_MS 5000  /* that one waits for a start; on a swamped machine Python may need more */
#define RETRY_MS 30000 /* an agent that cannot start is not tried for every compile */
#define TICK_MS 100   /* between two interruptions of who has waited so long */
#define COUNT(array) (sizeof(array) / sizeof *(array))

extern char **environ;

enum { READY, SLOW, FAILED };

struct names { /* of the files beside the socket */
    char lock[NAME_MAX + 16];     /* held by the launcher that starts an agent, and by that until it listens */
    char starting[NAME_MAX + 16]; /* written when a start begins; what the agent says meanwhile */
    char failed[NAME_MAX + 16];   /* the same, of one that failed, at the time of that */
};

static int lock_within(int fd, long ms)
{
    if (start_ticks(ms, TICK_MS) != 0)
        return -1;
    int result = flock(fd, LOCK_EX);
    stop_ticks();
    return result;
}

static void close_from(unsigned first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0u, 0) == 0)
        return;
#endif
    DIR *open_files = opendir("/proc/self/fd"); /* Linux before 5.9 */
    for (struct dirent *entry; open_files && (entry = readdir(open_files));)
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
    char **kept = environ, build[16];
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
    setenv("ZCC_START_LOCK_FD", "4", 1);
    snprintf(build, sizeof build, "%u", (unsigned)ZCC_BUILD);
    setenv("ZCC_LAUNCHER_BUILD", build, 1);
}

/* In the second child: leaves the build's terminal, directory, streams and descriptors behind. */
static _Noreturn void become_agent(int ready, int lock, int log, const char *socket_path)
{
    char *argv[] = {(char *)"zcc-agent", (char *)"serve", NULL};
    sigset_t none;
    int null = lift(open("/dev/null", O_RDWR | O_CLOEXEC));
    int inherited[] = {null, null, log >= 0 ? log : null, ready, lock};
    for (size_t i = 3; i < COUNT(inherited); i++) /* out of the way of the places below */
        inherited[i] = fcntl(inherited[i], F_DUPFD_CLOEXEC, COUNT(inherited));
    for (size_t i = 0; i < COUNT(inherited); i++)
        dup2(inherited[i], (int)i);
    close_from(COUNT(inherited));
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

/* Under the lock, which goes along until the agent listens. READY, SLOW (it may yet come) or FAILED. */
static int spawn_agent(const struct place *place, const char *log_name, int lock, long patience_ms)
{
    int ready[2], answer = FAILED;
    char byte, *path = absolute(place->path);
    int log = lift(openat(place->directory, log_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!path || pipe2(ready, O_CLOEXEC) != 0) {
        free(path);
        return FAILED;
    }
    (void)futimens(log, NULL);
    ready[0] = lift(ready[0]);
    ready[1] = lift(ready[1]);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0)
            become_agent(ready[1], lock, log, path);
        _exit(0);
    }
    close(ready[1]);
    close(log);
    if (child > 0) {
        struct pollfd readable = {.fd = ready[0], .events = POLLIN};
        (void)waitpid(child, NULL, 0);
        if (poll(&readable, 1, (int)patience_ms) != 1)
            answer = SLOW;
        else if (read(ready[0], &byte, 1) == 1)
            answer = READY;
    }
    close(ready[0]);
    free(path);
    return answer;
}

/* Since the file was written; LONG_MAX: there is none. */
static long age_ms(const struct place *place, const char *name)
{
    struct stat status;
    struct timespec now;
    if (fstatat(place->directory, name, &status, 0) != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0)
        return LONG_MAX;
    return labs((long)(now.tv_sec - status.st_mtim.tv_sec) * 1000 + (now.tv_nsec - status.st_mtim.tv_nsec) / 1000000);
}

static int is_recent(const struct place *place, const char *name)
{
    return age_ms(place, name) < RETRY_MS;
}

/* A start that takes longer than one waits for goes on without us: we compile here meanwhile. */
static int take_start(const struct place *place, const struct names *names, int lock, long start_ms)
{
    if (flock(lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    long since_ms = age_ms(place, names->starting);
    return since_ms != LONG_MAX && since_ms >= start_ms ? -1 : lock_within(lock, start_ms);
}

/* What the agent has said on its way goes with the mark. */
static void mark_failed(const struct place *place, const struct names *names)
{
    int mark;
    (void)renameat(place->directory, names->starting, place->directory, names->failed);
    mark = openat(place->directory, names->failed, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    (void)futimens(mark, NULL);
    close(mark);
}

/* Under the lock: nobody else starts one, and no start is under way. */
static int start_alone(const struct place *place, const struct names *names, int lock, long patience_ms, long start_ms)
{
    int fd = connect_agent(place, patience_ms); /* who had the lock before us has started it */
    if (fd >= 0 || is_recent(place, names->failed))
        return fd;
    if (is_recent(place, names->starting)) {
        mark_failed(place, names); /* it was slow, and then it failed */
        return -1;
    }
    int answer = spawn_agent(place, names->starting, lock, start_ms);
    if (answer != SLOW)
        fd = connect_agent(place, patience_ms);
    if (fd >= 0)
        (void)unlinkat(place->directory, names->starting, 0);
    else if (answer == FAILED)
        mark_failed(place, names);
    return fd;
}

int start_agent(const struct place *place, long patience_ms)
{
    struct names names;
    int fd = -1;
    long start_ms = patience_ms < START_MS ? patience_ms : START_MS;
    snprintf(names.lock, sizeof names.lock, "%s.lock", place->stem);
    snprintf(names.failed, sizeof names.failed, "%s.failed", place->stem);
    snprintf(names.starting, sizeof names.starting, "%s.starting", place->stem);
    if (is_recent(place, names.failed))
        return -1;
    int lock = lift(openat(place->directory, names.lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (lock < 0)
        return -1;
    if (take_start(place, &names, lock, start_ms) == 0)
        fd = start_alone(place, &names, lock, patience_ms, start_ms);
    close(lock);
    return fd;
}
