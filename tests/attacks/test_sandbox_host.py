"""Nothing of the host that a job can name or open is its to change, and it reaches nothing beside that.

bubblewrap is the node's user's own here, as where he has installed zcc for himself.
"""

from __future__ import annotations

import pytest

from tests.attacks.job import attack, attempts

USERS = (0, 60606)
# What bubblewrap gives the first descriptor that it opens: the host's /proc.
OPEN_TO_THE_HOST = "/proc/self/fd/3"
CHANGED = ("/attack", "input", "/.zcc/lookups.so")
CHANGES = """
    int f = open(PATH, O_RDONLY);
    struct timespec times[2] = {{1, 0}, {1, 0}};
    fchmod(f, 04777); fchmod(f, 0); futimens(f, times); fchown(f, getuid(), getgid());
    chmod(PATH, 0); utimensat(AT_FDCWD, PATH, times, 0);
    setxattr(PATH, "user.x", "y", 1, 0); fsetxattr(f, "user.x", "y", 1, 0);
    close(open(PATH, O_WRONLY | O_TRUNC)); truncate(PATH, 0); unlink(PATH);
"""
BUBBLEWRAP = {
    "as the first process": 'int f = open("/proc/1/exe", O_RDONLY); return !fchmod(f, 0);',
    "as a task": 'int f = open("/proc/1/task/1/exe", O_RDONLY); return !fchmod(f, 0);',
    "its descriptors": 'return open("/proc/1/fd", O_RDONLY) >= 0;',
    "its mappings": 'return open("/proc/1/map_files", O_RDONLY) >= 0;',
    "its memory": 'return open("/proc/1/mem", O_RDWR) >= 0;',
    "its root": 'return open("/proc/1/root", O_PATH) >= 0 || open("/proc/1/cwd", O_PATH) >= 0;',
    "what covers it": 'return !chmod("/proc/1", 0700) || !mkdir("/proc/1/x", 0700);',
}  # fmt: skip


@pytest.mark.parametrize("user", USERS)
def test_the_first_process_is_out_of_reach(user: int) -> None:
    done = attack(attempts(BUBBLEWRAP), user=user)
    assert (done.fault, done.status, done.stdout, done.changed) == ("", 0, "", [])


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("executable", ["/proc/self/exe", "/linked"])
def test_a_job_that_is_bubblewrap_changes_its_own_copy(user: int, executable: str) -> None:
    done = attack(
        'int f = open("/proc/self/exe", O_RDONLY); fchmod(f, 04777); return fchmod(f, 0);',
        user=user, executable=executable, links={"/linked": "/proc/self/exe"},
    )  # fmt: skip
    assert done.changed == []


@pytest.mark.parametrize("user", USERS)
def test_no_job_begins_outside(user: int) -> None:
    body = 'struct stat s; printf("%d", stat("../etc/passwd", &s)); return 0;'
    for cwd in (OPEN_TO_THE_HOST, "/linked", "/linked/sys"):
        done = attack(body, user=user, cwd=cwd, links={"/linked": OPEN_TO_THE_HOST})
        assert (done.fault, done.stdout) == ("refused", ""), cwd


@pytest.mark.parametrize("user", USERS)
def test_files_that_others_see_too_stay_as_they_are(user: int) -> None:
    bodies = [f"{{ {CHANGES} }}".replace("PATH", f'"{path}"') for path in CHANGED]
    done = attack("\n".join([*bodies, "return 0;"]), user=user)
    assert (done.fault, done.changed) == ("", [])


@pytest.mark.parametrize("user", USERS)
def test_nothing_that_the_node_has_open_is_handed_down(user: int) -> None:
    body = """
        for (int f = 3; f < 1024; f++)
            if (fcntl(f, F_GETFD) >= 0) printf("%d ", f);
        return 0;
    """
    done = attack(body, user=user)
    assert (done.fault, done.status, done.stdout) == ("", 0, "")
