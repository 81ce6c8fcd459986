"""Files are bounded by number, size and depth, in TMPDIR and everywhere else, however they are hidden."""

from __future__ import annotations

import pytest

from tests.attacks.job import LIMITS, attack


def flood(step: str, at: str = ".", then: str = "") -> str:
    """20,000 times the step, which uses `name`."""
    return (
        "char name[99]; for (int i = 0; i < 20000; i++) {"
        f' sprintf(name, "{at}/%d", i); {step} }} {then} return 0;'
    )


FILE = "close(open(name, O_CREAT | O_WRONLY, 0600));"
FLOODS = {
    "where the source is": flood(FILE, then="sleep(3);"),
    "in the root": flood(FILE, "", "sleep(3);"),
    "in TMPDIR": flood(FILE, "/.zcc/tmp", "sleep(3);"),
    "and ends at once": flood(FILE),
    "directories": flood("mkdir(name, 0700);"),
    "symlinks": flood('symlink("x", name);'),
    "links": 'close(open("x", O_CREAT, 0600)); ' + flood('link("x", name);'),
}
TOO_MANY = f"more than {LIMITS.files} files and directories"


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_files_stops_the_job(kind: str) -> None:
    done = attack(FLOODS[kind])
    assert (done.fault, done.detail) == ("resources", TOO_MANY)


def test_bytes_on_disk_are_bounded_over_all_files() -> None:
    done = attack(
        'char name[99], *p = calloc(1, MB); for (int i = 0; i < 60; i++) { sprintf(name, "%d", i);'
        " int f = open(name, O_CREAT | O_WRONLY, 0600); write(f, p, MB); close(f); } sleep(3); return 0;",
        written_bytes=32 << 20,
    )  # fmt: skip
    assert (done.fault, done.detail) == ("resources", f"more than {32 << 20} bytes on disk")


def test_a_directory_that_a_node_cannot_look_into_stops_the_job() -> None:
    done = attack(
        'mkdir("d", 0700); chdir("d"); for (int i = 0; i < 50; i++) { char name[9]; sprintf(name, "%d", i);'
        ' mkdir(name, 0); } chdir(".."); chmod("d", 0); return 0;',
        user=60606,
    )  # fmt: skip
    assert (done.fault, done.detail) == (
        "resources",
        "a directory cannot be looked into: Permission denied",
    )


def test_directories_nested_deeply_stop_the_job() -> None:
    done = attack(
        'for (int i = 0; i < 3000; i++) { mkdir("d", 0700); chdir("d"); } sleep(3); return 0;'
    )
    assert done.fault == "resources"
    assert done.detail == "a directory cannot be looked into: they are nested too deeply"


def test_a_symlink_does_not_lead_the_count_out() -> None:
    """A directory that becomes a link to the host's while it is counted is no longer gone into."""
    done = attack(
        'for (int i = 0; i < 3000; i++) { mkdir("d", 0700); rmdir("d"); symlink("/", "d"); unlink("d"); }'
        " return 0;",
        wall_s=60.0,
    )
    assert (done.fault, done.status) == ("", 0)


@pytest.mark.parametrize("at", ["/.zcc/log", "x"])
@pytest.mark.parametrize("user", [0, 60606])
def test_no_space_is_taken_beyond_the_size_of_a_file(at: str, user: int) -> None:
    """FALLOC_FL_KEEP_SIZE goes by no limit of a process; what a linker asks for, without a mode, does."""
    done = attack(
        f'int f = open("{at}", O_CREAT | O_WRONLY, 0600); errno = 0; signal(SIGXFSZ, SIG_IGN);'
        " if (!fallocate(f, FALLOC_FL_KEEP_SIZE, 0, 1024L * MB) || errno != EOPNOTSUPP) return 1;"
        " if (fallocate(f, 0, 0, 1 * MB)) return 2;"
        " return !fallocate(f, 0, 0, 1024L * MB) || errno != EFBIG ? 3 : 0;",
        user=user, file_bytes=64 << 20,
    )  # fmt: skip
    assert (done.fault, done.status) == ("", 0)


def test_a_log_that_is_locked_is_the_jobs_fault() -> None:
    done = attack('return chmod("/.zcc/log", 0);', user=60606)
    assert (done.fault, done.detail) == ("resources", "the log of look-ups was locked")


LOCKED = {
    "a directory": 'chmod("/a", 0500);',
    "one that nobody can list": 'chmod("/a", 0100);',
    "the root": 'chmod("/", 0500);',
}


def test_no_modes_keep_what_a_job_wrote_on_the_disk() -> None:
    for name, lock in LOCKED.items():
        done = attack(
            f'mkdir("/a", 0700); close(open("/a/f", O_CREAT, 0600)); {lock} return 0;',
            user=60606,
        )
        assert done.left == [], name
