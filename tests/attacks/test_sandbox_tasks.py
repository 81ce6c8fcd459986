"""Threads count like processes, and a bomb of either is stopped."""

from __future__ import annotations

import pytest

from tests.attacks.job import LIMITS, attack

THREAD = "void *idle(void *unused) { sleep(5); return 0; } pthread_t thread;"
BOMBS = {
    "threads": THREAD + "for (int i = 0; i < 3000; i++) pthread_create(&thread, 0, idle, 0); sleep(3);",
    "processes": "for (int i = 0; i < 3000; i++) if (!fork()) { sleep(5); _exit(0); } sleep(3);",
    "threads of processes": THREAD + "for (int i = 0; i < 60; i++) if (!fork()) {"
    " for (int j = 0; j < 60; j++) pthread_create(&thread, 0, idle, 0); sleep(5); _exit(0); } sleep(3);",
    "the first thread has ended": THREAD
    + "for (int i = 0; i < 3000; i++) pthread_create(&thread, 0, idle, 0); syscall(SYS_exit, 0);",
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_stopped(kind: str) -> None:
    done = attack(BOMBS[kind] + "return 0;", memory_bytes=1 << 30)
    assert done.fault == "resources"
    assert done.detail == f"more than {LIMITS.tasks} processes and threads"


def test_the_kernel_keeps_an_ordinary_users_bomb_small() -> None:
    """No tasks beyond twice the limit are born, however fast they come between two looks."""
    done = attack(
        THREAD + "int count = 0; for (int i = 0; i < 3000; i++) count += !pthread_create(&thread, 0, idle, 0);"
        ' printf("%d\\n", count); fflush(stdout); _exit(0);',
        user=60606, memory_bytes=1 << 30,
    )  # fmt: skip
    assert done.fault == "resources" or int(done.stdout) <= 2 * (LIMITS.tasks or 0)


@pytest.mark.parametrize("neighbours", [0, 150])
def test_as_many_as_are_allowed_run_whatever_else_the_user_runs(neighbours: int) -> None:
    done = attack(
        THREAD + "int count = 0; for (int i = 0; i < 50; i++) count += !pthread_create(&thread, 0, idle, 0);"
        " usleep(300000); return count != 50;",
        user=60606, neighbours=neighbours, memory_bytes=1 << 30,
    )  # fmt: skip
    assert (done.fault, done.status) == ("", 0)
