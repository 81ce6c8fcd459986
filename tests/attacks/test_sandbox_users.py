"""What the kernel counts for a user as a whole is no job's to use up: jobs and their node are one user."""

from __future__ import annotations

from tests.attacks.job import attack, attempts

HEADERS = """
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <linux/filter.h>
"""
SHARED = {
    "epoll": "return epoll_create1(0) >= 0 || epoll_create(1) >= 0;",
    "inotify": "return inotify_init() >= 0 || inotify_init1(0) >= 0;",
    "a timer": "timer_t id; return !syscall(SYS_timer_create, 0, 0, &id);",
    "timerfd": "return timerfd_create(0, 0) >= 0;",
    "eventfd": "return eventfd(0, 0) >= 0;",
    "large pipes": "int q[2]; return !pipe(q) && fcntl(q[1], F_SETPIPE_SZ, 1 << 20) >= 0;",
    "notices": 'return !fcntl(open("/", O_RDONLY), F_NOTIFY, 1);',
    "locked pages": "static char page[4096]; return !syscall(SYS_mlock, page, 4096);",
    "a filter of its own": "static struct sock_filter code[] = {{6, 0, 0, 0x7fff0000}};"
    " struct sock_fprog program = {1, code}; prctl(38, 1, 0, 0, 0);"
    " return !syscall(SYS_seccomp, 1, 0, &program) || !prctl(22, 2, &program, 0, 0);",
}  # fmt: skip


def test_each_is_refused() -> None:
    done = attack(HEADERS + attempts(SHARED), user=60606)
    assert (done.fault, done.status, done.stdout) == ("", 0, "")


def test_signals_that_wait_are_few() -> None:
    body = """
        sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0);
        struct timespec at_once = {0}; int count = 0;
        for (int i = 0; i < 5000; i++) kill(getpid(), SIGRTMIN);
        while (sigtimedwait(&all, 0, &at_once) == SIGRTMIN) count++;
        printf("%d", count); return 0;
    """
    done = attack(body, user=60606)
    assert (done.fault, done.status) == ("", 0)
    assert 0 < int(done.stdout) <= 257


def test_the_kernel_keeps_no_lists_of_access_for_a_job() -> None:
    """They are in no process's memory, and in no group's."""
    body = """
        struct { unsigned version; struct { unsigned short tag, perm; unsigned id; } e[5]; } list =
            {2, {{1, 7, -1}, {2, 7, getuid()}, {4, 7, -1}, {16, 7, -1}, {32, 7, -1}}};
        int got = 0;
        if (chdir("/.zcc/tmp") || mkdir("d", 0755)) return 1;
        for (int kind = 0; kind < 2; kind++) {
            const char *name = kind ? "system.posix_acl_access" : "system.posix_acl_default";
            got += !setxattr("d", name, &list, sizeof list, 0) || errno != EOPNOTSUPP;
            got += !lsetxattr("d", name, &list, sizeof list, 0) || errno != EOPNOTSUPP;
            got += !fsetxattr(open("d", O_RDONLY), name, &list, sizeof list, 0) || errno != EOPNOTSUPP;
        }
        got += syscall(463, -100, "d", 0, "user.x", 0, 0) != -1 || errno != ENOSYS;
        return got;
    """
    done = attack(body, user=60606)
    assert (done.fault, done.status) == ("", 0)


def test_no_lease_keeps_others_from_a_file_of_the_nodes() -> None:
    """The shim is one file for all jobs, and a lease on it has whoever opens it wait for 45 s."""
    body = """
        int got = 0;
        for (const char **path = (const char *[]){"/.zcc/lookups.so", "/attack", "/.zcc/log", 0}; *path; path++)
            for (int kind = 0; kind < 2; kind++)
                got += !fcntl(open(*path, O_RDONLY), F_SETLEASE, kind ? F_WRLCK : F_RDLCK) || errno != EINVAL;
        return got;
    """
    done = attack(body, user=60606)
    assert (done.fault, done.status) == ("", 0)
