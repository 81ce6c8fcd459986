"""A job cannot make itself invisible to the node that watches it.

The node is an ordinary user, whom modes hold back; the job owns its root and all of its processes.
"""

from __future__ import annotations

import pytest

from tests.attacks.job import attack

_MEMORY = "char *p = malloc(400 * MB); memset(p, 1, 400 * MB); sleep(2); return 0;"
_TASKS = "for (int i = 0; i < 100; i++) if (!fork()) { sleep(2); _exit(0); } sleep(2); return 0;"
_TMP = """
    int f = open("x", O_CREAT | O_WRONLY, 0600); static char b[MB];
    for (int i = 0; i < 400; i++) write(f, b, MB);
    sleep(2); return 0;
"""
_REMOVED = """
    static char b[MB]; char name[9];
    for (int k = 0; k < 4; k++) {
        sprintf(name, "u%d", k);
        int f = open(name, O_CREAT | O_WRONLY, 0600); unlink(name);
        for (int i = 0; i < 16; i++) write(f, b, MB);
    }
    sleep(2); return 0;
"""
# Starts a copy of itself that nobody may read, whose processes are root's in /proc.
_UNREADABLE = """
    if (access("/x", F_OK)) {
        static char copied[MB]; int n, from = open("/proc/self/exe", O_RDONLY), to = creat("/x", 0700);
        while ((n = read(from, copied, MB)) > 0) write(to, copied, n);
        close(to); chmod("/x", 0111); execl("/x", "x", NULL); return 7;
    }
"""
HIDDEN = {
    "memory behind the root": 'chmod("/", 0400);' + _MEMORY,
    "tasks behind the root": 'chmod("/", 0100); chmod("/", 0);' + _TASKS,
    "a TMPDIR behind its parent": 'chdir("/.zcc/tmp"); chmod("/.zcc", 0400);' + _TMP,
    "files of what gives no account of itself": "prctl(PR_SET_DUMPABLE, 0);" + _REMOVED,
    "files of what cannot be read": _UNREADABLE + _REMOVED,
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_what_cannot_be_looked_at_stops_the_job(kind: str) -> None:
    done = attack(HIDDEN[kind], user=60606)
    assert (done.fault, done.detail) == (
        "resources",
        "a process cannot be looked into: Permission denied",
    )


def test_mappings_are_seen_when_the_first_thread_has_ended() -> None:
    done = attack(
        """
        void *map(void *unused) {
            for (int k = 0; k < 4; k++) {
                char name[9]; sprintf(name, "m%d", k);
                int f = open(name, O_CREAT | O_RDWR, 0600); ftruncate(f, 16 * MB);
                char *p = mmap(0, 16 * MB, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
                memset(p, 1, 16 * MB); close(f); unlink(name);
            }
            sleep(2); exit(0);
        }
        pthread_t thread; pthread_create(&thread, 0, map, 0); syscall(SYS_exit, 0);
        """,
        user=60606,
        written_bytes=32 << 20,
    )
    assert (done.fault, done.detail) == ("resources", f"more than {32 << 20} bytes on disk")


def test_a_thousand_processes_that_end_hide_nothing_and_are_no_fault() -> None:
    """Of one that has ended all belongs to root but a little, as of one that hides."""
    done = attack(
        """
        void *nothing(void *unused) { return 0; }
        for (int i = 0; i < 1000; i++) {
            if (!fork()) { pthread_t t; pthread_create(&t, 0, nothing, 0); _exit(0); }
            if (i % 20 == 19) while (wait(0) > 0);
        }
        sleep(1); return 0;
        """,
        user=60606,
        wall_s=60.0,
    )
    assert (done.fault, done.status) == ("", 0)
