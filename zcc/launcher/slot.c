/* One lock file a user, beside the agent's socket. Byte i is slot i; the byte at TURN is whose turn it is to look for
 * a free slot, so that the kernel keeps the queue and only one launcher looks. The locks are the process's: the
 * compiler that it becomes keeps them, nothing that this starts has them (a cache's server goes on for days), and the
 * kernel frees a slot however its compiler ends.
 *
 * Who is stopped (Ctrl-Z, a debugger) keeps his locks but makes way: another takes the byte that stands in for his.
 *
 * An agent makes the file as long as it has slots. A file of its own would be needed for each slot if these were
 * flock's locks. Slots that a dead agent granted are not seen here: until those compilers end, there are twice as many.
 */
#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "ticks.h"

#define TURN 65536        /* the byte behind all slots */
#define STAND_IN (TURN + 1) /* behind it: byte i for slot i, while who has that is stopped */
#define LOOK_NS 20000000L /* a compile takes longer */
#define LOOKS 50          /* so often for one look at who is stopped */
#define STOPPED_MS 1000   /* who waits for his turn looks as often */

static int set_lock(int fd, int command, short type, off_t byte)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, command, &lock);
}

/* Whether the process that has this lock is stopped; 0 where that cannot be told. */
static int is_holder_stopped(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    char path[40], text[256];
    if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK || lock.l_pid <= 0)
        return 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)lock.l_pid);
    int stat = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = stat < 0 ? 0 : read(stat, text, sizeof text - 1);
    close(stat);
    text[got > 0 ? got : 0] = '\0';
    const char *state = strrchr(text, ')'); /* "PID (name) S ...", and a name may hold brackets */
    return state && state[1] == ' ' && (state[2] == 'T' || state[2] == 't');
}

/* How many slots there are: what the last agent said, else one a processor. */
static int count_slots(int fd)
{
    struct stat status;
    cpu_set_t processors;
    if (fstat(fd, &status) == 0 && status.st_size > 0)
        return status.st_size < TURN ? (int)status.st_size : TURN;
    return sched_getaffinity(0, sizeof processors, &processors) == 0 ? CPU_COUNT(&processors) : 1;
}

/* 1: has a slot; 0: all are taken; -1: this file system keeps no locks. */
static int take_free(int fd, int slots, int sees_stopped)
{
    for (int i = 0; i < slots; i++) {
        if (set_lock(fd, F_SETLK, F_WRLCK, i) == 0)
            return 1;
        if (errno != EAGAIN && errno != EACCES)
            return -1;
        if (sees_stopped && is_holder_stopped(fd, i) && set_lock(fd, F_SETLK, F_WRLCK, STAND_IN + i) == 0)
            return 1;
    }
    return 0;
}

/* Whether one may look now: also past one who is stopped in his turn. */
static int wait_for_turn(int fd)
{
    int may_look;
    (void)start_ticks(STOPPED_MS, STOPPED_MS);
    for (;;) {
        may_look = set_lock(fd, F_SETLKW, F_WRLCK, TURN) == 0;
        if (may_look || errno != EINTR)
            break;
        may_look = is_holder_stopped(fd, TURN);
        if (may_look)
            break;
    }
    stop_ticks();
    return may_look;
}

static void take_one_of(int fd)
{
    struct timespec pause = {0, LOOK_NS};
    int slots = count_slots(fd);
    if (!wait_for_turn(fd))
        return;
    for (int look = 1; take_free(fd, slots, look % LOOKS == 0) == 0; look++)
        (void)nanosleep(&pause, NULL);
    (void)set_lock(fd, F_SETLK, F_UNLCK, TURN);
}

void take_slot(void)
{
    struct place place;
    char name[NAME_MAX + 8];
    const char *guard = getenv("ZCC_GUARD");
    if ((guard && atoi(guard) > 0) || find_place(&place) != NULL)
        return; /* who runs inside another launcher may wait for a slot that this one holds */
    snprintf(name, sizeof name, "%s.slots", place.stem);
    int fd = lift(openat(place.directory, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    close(place.directory);
    if (fd >= 0)
        take_one_of(keep_for_compiler(fd)); /* in this order: whoever closes a descriptor of the file loses the locks */
}
