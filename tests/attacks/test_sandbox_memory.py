"""A job gets no more memory than it may, whatever kind of memory it asks for."""

from __future__ import annotations

import pytest

from tests.attacks.job import LIMITS, attack, attempts

LIMIT = LIMITS.memory_bytes or 0

# Each takes more than the limit in its own way, keeps it, and would be done after 2 s.
GREEDY = {
    "private": "char *p = malloc(300 * MB); memset(p, 1, 300 * MB); sleep(2);",
    "many processes": "for (int i = 0; i < 8; i++) if (!fork()) {"
    " char *p = malloc(40 * MB); memset(p, 1, 40 * MB); sleep(2); _exit(0); } sleep(2);",
    "the first thread has ended": """
        void *hoard(void *unused) {
            char *p = malloc(300 * MB); memset(p, 1, 300 * MB); sleep(2); exit(0);
        }
        pthread_t thread; pthread_create(&thread, 0, hoard, 0); syscall(SYS_exit, 0);
    """,
    "TMPDIR": """
        int f = open("/.zcc/tmp/x", O_CREAT | O_WRONLY, 0600);
        char *p = calloc(1, MB); for (int i = 0; i < 300; i++) write(f, p, MB); sleep(2);
    """,
    "TMPDIR, unlinked": """
        int f = open("/.zcc/tmp/x", O_CREAT | O_WRONLY, 0600); unlink("/.zcc/tmp/x");
        char *p = calloc(1, MB); for (int i = 0; i < 300; i++) write(f, p, MB); sleep(2);
    """,
    "a mapping of TMPDIR": """
        int f = open("/.zcc/tmp/x", O_CREAT | O_RDWR, 0600); ftruncate(f, 300 * MB);
        char *p = mmap(0, 300 * MB, PROT_WRITE, MAP_SHARED, f, 0); memset(p, 1, 300 * MB);
        munmap(p, 300 * MB); sleep(2);
    """,
}

# Memory that no process shows: it cannot be had at all.
HIDDEN = {
    "memfd": "return memfd_create(\"x\", 0) != -1 || errno != ENOSYS;",
    "System V": "return shmget(IPC_PRIVATE, 64 * MB, IPC_CREAT | 0600) != -1 || errno != ENOSYS;",
    "System V, with a key": "return shmget(4711, 64 * MB, IPC_CREAT | 0600) != -1 || errno != ENOSYS;",
    "shared and of no file": "return mmap(0, 64 * MB, PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)"
    " != MAP_FAILED || errno != EPERM;",
    "shared, of a device": "return open(\"/dev/zero\", O_RDWR) >= 0;",
    "shared, in /dev/shm": "return shm_open(\"/x\", O_CREAT | O_RDWR, 0600) >= 0;",
    "message queues": "return syscall(SYS_msgget, IPC_PRIVATE, 01600) != -1 || errno != ENOSYS;",
    "POSIX queues": "return syscall(SYS_mq_open, \"x\", O_CREAT | O_RDWR, 0600, 0) != -1 || errno != ENOSYS;",
    "buffers of sockets": "int pair[2]; return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != -1;",
    "pages lent to a pipe": "int ends[2]; pipe(ends); struct { char *at; long size; } v = {malloc(MB), MB};"
    " return syscall(SYS_vmsplice, ends[1], &v, 1, 0) != -1 || errno != ENOSYS;",
}  # fmt: skip


@pytest.mark.parametrize("kind", GREEDY)
def test_memory_beyond_the_limit_stops_the_job(kind: str) -> None:
    done = attack(GREEDY[kind] + "return 0;")
    assert (done.fault, done.detail) == ("memory", f"more than {LIMIT} bytes of memory")


def test_memory_that_no_process_shows_cannot_be_had() -> None:
    done = attack(attempts(HIDDEN))
    assert (done.fault, done.status, done.stdout) == ("", 0, "")


def test_what_processes_share_is_counted_once() -> None:
    done = attack(
        "char *p = malloc(60 * MB); memset(p, 1, 60 * MB);"
        "for (int i = 0; i < 4; i++) if (!fork()) { sleep(1); _exit(0); }"
        "while (wait(0) > 0); return 0;"
    )
    assert (done.fault, done.status) == ("", 0)
    assert 60 << 20 <= done.peak_bytes <= LIMIT
