/* One lock file a user, beside the agent's socket. Byte i is slot i; the byte at TURN is whose turn it is to look for
 * a free slot, so that the kernel keeps the queue and only one launcher looks. The locks belong to the open file, which
 * the compiler inherits: the kernel frees a slot however its compiler ends.
 *
 * An agent makes the file as long as it has slots. A file of its own would be needed for each slot if these were
 * flock's locks. Slots that a dead agent granted are not seen here: until those compilers end, there are twice as many.
 */
#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

#define TURN 65536        /* the byte behind all slots */
#define LOOK_NS 20000000L /* a compile takes longer */

static int set_lock(int fd, int command, short type, off_t byte)
{
    int result;
    do {
        struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
        result = fcntl(fd, command, &lock);
    } while (result != 0 && errno == EINTR);
    return result;
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
static int take_free(int fd, int slots)
{
    for (int i = 0; i < slots; i++) {
        if (set_lock(fd, F_OFD_SETLK, F_WRLCK, i) == 0)
            return 1;
        if (errno != EAGAIN && errno != EACCES)
            return -1;
    }
    return 0;
}

static void take_one_of(int fd)
{
    struct timespec pause = {0, LOOK_NS};
    int slots = count_slots(fd);
    if (set_lock(fd, F_OFD_SETLKW, F_WRLCK, TURN) != 0)
        return;
    while (take_free(fd, slots) == 0)
        (void)nanosleep(&pause, NULL);
    (void)set_lock(fd, F_OFD_SETLK, F_UNLCK, TURN);
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
    if (fd < 0)
        return;
    take_one_of(fd);
    keep_for_compiler(fd);
}
