/*
 * What a job must not be able to do, tried from inside a sandbox when a node starts: prints one line for
 * each thing that it could do, and nothing where the sandbox holds. Each attempt is harmless where it
 * succeeds: modes are set to what they are, what is made belongs to this process alone.
 *
 *   attempts          tries all
 *   attempts devices  only what holds without a system call filter too
 *   attempts eat N    writes to N MiB of memory, and prints "ate" if it lived to
 *   attempts breed N  starts N processes that wait, and prints how many it could
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of a kernel that does not exist yet: what is not known is refused. */
#define LATER_CALL 4000
#define MOST_DESCRIPTORS 1024

static void check(int got_through, const char *what)
{
    if (got_through)
        puts(what);
}

static int can_change_modes(const char *path)
{
    struct stat status;
    return !stat(path, &status) && !chmod(path, status.st_mode & 07777);
}

static int can_write(const char *path)
{
    int handle = open(path, O_WRONLY | O_CLOEXEC);
    return handle >= 0 && !close(handle);
}

/* Any but the loopback, which every network has: "name: counts" (proc_net(5)) behind two lines of headings. */
static int can_see_a_network(void)
{
    char line[512];
    int count = 0;
    FILE *file = fopen("/proc/self/net/dev", "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file)) {
        const char *name = line + strspn(line, " ");
        count += strchr(name, ':') && strncmp(name, "lo:", 3);
    }
    fclose(file);
    return count;
}

/* What started the sandbox is its first process, and has, or is, something of the host. */
static int can_see_the_first_process(void)
{
    char target[16];
    return getpid() == 1 || readlink("/proc/1/exe", target, sizeof(target)) >= 0 ||
           open("/proc/1/fd", O_PATH | O_CLOEXEC) >= 0;
}

static int has_descriptors(void)
{
    int count = 0;
    for (int handle = 3; handle < MOST_DESCRIPTORS; handle++)
        count += fcntl(handle, F_GETFD) >= 0;
    return count;
}

static void try_host(void)
{
    check(has_descriptors(), "use what the node has open");
    check(can_see_the_first_process(), "reach the host by the sandbox's first process");
    int made = open("/proc/1/zcc", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    check(made >= 0, "write where nobody counts");
}

static void try_devices(void)
{
    char byte;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    check(null < 0 || write(null, "", 1) != 1, "find no /dev/null that works");
    check(random < 0 || read(random, &byte, 1) != 1, "find no /dev/urandom that works");
    check(can_change_modes("/dev/null"), "change the modes of /dev/null");
    check(can_change_modes("/dev/urandom"), "change the modes of /dev/urandom");
    check(can_write("/proc/sys/kernel/core_pattern"), "write to /proc/sys");
    check(can_see_a_network(), "see this machine's network");
}

static void try_calls(void)
{
    int sockets = 0;
    for (int family = 0; family < 64; family++)
        sockets += socket(family, SOCK_STREAM, 0) >= 0 || socket(family, SOCK_DGRAM, 0) >= 0;
    check(sockets, "open a socket");
    check(memfd_create("zcc", MFD_CLOEXEC) >= 0, "hold memory that no process shows (memfd)");
#ifdef SYS_shmget
    check(syscall(SYS_shmget, 0, 4096, 01600) >= 0, "hold memory that no process shows (System V)");
#endif
    check(mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED,
          "hold memory that no process shows (shared mappings)");
    check(epoll_create1(EPOLL_CLOEXEC) >= 0 || inotify_init1(IN_CLOEXEC) >= 0,
          "use up what the kernel counts for a user as a whole");
    check(syscall(LATER_CALL) != -1 || errno != ENOSYS, "make system calls that are not known");
    check(!unshare(CLONE_NEWUSER), "make a user namespace");
    check(!mount("none", "/", "tmpfs", 0, NULL), "mount");
    check(ptrace(PTRACE_TRACEME, 0, NULL, NULL) != -1, "trace");
}

static int eat(size_t megabytes)
{
    size_t size = megabytes << 20;
    /* Volatile: what nobody reads, a compiler need not write. */
    volatile char *memory = malloc(size);
    if (!memory)
        return 1;
    for (size_t at = 0; at < size; at += 1024)
        memory[at] = 1;
    return puts("ate") < 0;
}

static int breed(int wanted)
{
    int count = 0;
    for (; count < wanted; count++) {
        pid_t child = fork();
        if (child < 0)
            break;
        if (!child) {
            pause();
            _exit(0);
        }
    }
    return printf("%d\n", count) < 0;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return strcmp(argv[1], "eat") ? breed(atoi(argv[2])) : eat((size_t)atol(argv[2]));
    try_host();
    try_devices();
    if (argc == 1)
        try_calls();
    return 0;
}
