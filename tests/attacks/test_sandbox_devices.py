"""A job changes nothing of the machine's devices, whoever the node runs as."""

from __future__ import annotations

import pytest

from tests.attacks.job import attack, attempts

USERS = (0, 60606)
# Of the kinds that stay while a process lives, so that another one of the host would wait.
_LOCK = "struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };"
LOCKS = {
    f"{how} of {name}": f"{_LOCK} int f = {file}; return {call} != -1 || errno != ENOLCK;"
    for name, file in (
        ("/dev/null", 'open("/dev/null", O_RDWR)'),
        ("standard input", "0"),
        ("the shim", 'open("/.zcc/lookups.so", O_RDONLY)'),
        ("the toolchain", 'open("/attack", O_RDONLY)'),
    )
    for how, call in (
        ("flock", "(lock.l_len = 0, syscall(SYS_flock, f, 6))"),
        ("F_SETLK", "fcntl(f, F_SETLK, &lock)"),
        ("F_SETLKW", "fcntl(f, F_SETLKW, &lock)"),
        ("F_OFD_SETLK", "fcntl(f, F_OFD_SETLK, &lock)"),
        ("F_OFD_SETLKW", "fcntl(f, F_OFD_SETLKW, &lock)"),
    )
}
CHANGES = {
    "chmod": 'return chmod("/dev/null", 0) != -1 || chmod("/dev/urandom", 0) != -1;',
    "through a descriptor": 'int f = open("/dev/null", O_RDWR); return fchmod(f, 0) != -1;',
    "through /proc": 'int f = open("/dev/null", O_PATH); char name[99];'
    ' sprintf(name, "/proc/self/fd/%d", f); return chmod(name, 0) != -1;',
    "of standard input": "return fchmod(0, 0) != -1;",
    "owner": 'return chown("/dev/null", 1, 1) != -1;',
    "times": 'return utimensat(AT_FDCWD, "/dev/null", (struct timespec[]){{1, 1}, {1, 1}}, 0) != -1;',
    "one of its own": 'return mknod("/dev/sda", S_IFBLK | 0600, 0x800) != -1;',
    "away with it": 'return unlink("/dev/null") != -1;',
    "over it": 'close(open("x", O_CREAT, 0666)); return rename("x", "/dev/null") != -1;',
    "extended attributes": 'return setxattr("/dev/null", "trusted.x", "y", 1, 0) != -1;',
}  # fmt: skip


@pytest.mark.parametrize("user", USERS)
def test_a_device_cannot_be_changed(user: int) -> None:
    done = attack(attempts(CHANGES), user=user)
    assert (done.fault, done.status, done.stdout) == ("", 0, "")
    assert set(done.modes.values()) == {0o666}


@pytest.mark.parametrize("user", USERS)
def test_the_devices_do_what_compilers_use_them_for(user: int) -> None:
    done = attack(
        'char b = 0; int n = open("/dev/null", O_WRONLY), u = open("/dev/urandom", O_RDONLY);'
        " return write(n, &b, 1) != 1 || read(u, &b, 1) != 1;",
        user=user,
    )
    assert (done.fault, done.status) == ("", 0)


def test_a_state_without_devices_does_not_keep_root_from_it() -> None:
    """As below a /tmp that is mounted so, which many systems have."""
    done = attack(attempts(CHANGES), is_state_without_devices=True)
    assert (done.fault, done.status, done.stdout) == ("", 0, "")
    assert set(done.modes.values()) == {0o666}


@pytest.mark.parametrize("user", USERS)
def test_a_file_of_the_host_cannot_be_locked(user: int) -> None:
    """A lock on its /dev/null is one that `make -O >/dev/null` of the lender's waits for."""
    done = attack(attempts(LOCKS), user=user)
    assert (done.fault, done.status, done.stdout) == ("", 0, "")
