"""The self check, the filter of system calls, and what the command line may name."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node import probe as probe_module
from node.errors import SandboxError, ToolchainError
from node.probe import find_bubblewrap, probe
from node.remains import RunOutcome
from node.sandbox import Limits, Mode, is_reserved, view_toolchain
from node.seccomp import ABSENT, DENIED, LAST_NUMBER, SOCKETS, filter_program
from tests.unit.sandbox_toolchain import Farm, make_job, shared_toolchain


@pytest.fixture
def farm(tmp_path: object) -> Iterator[Farm]:
    farm = Farm(str(tmp_path), shared_toolchain())
    yield farm
    farm.close()


# ---- the filter ------------------------------------------------------------------------------------


def run_filter(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would answer, by interpreting the program."""
    words = [word for value in (*arguments, *[0] * (6 - len(arguments))) for word in _halves(value)]
    memory = struct.pack("=II2I12I", number, arch, 0, 0, *words)
    code = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x20:
            value = struct.unpack_from("=I", memory, operand)[0]
        elif operation == 0x54:
            value &= operand
        elif operation == 0x06:
            return int(operand)
        else:
            taken = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}
            at += if_true if taken[operation] else if_false


def _halves(value: int) -> tuple[int, int]:
    return value & 0xFFFFFFFF, value >> 32


X86, ARM = 0xC000003E, 0xC00000B7
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
EAFNOSUPPORT = 0x50061


@pytest.mark.parametrize(("machine", "arch", "column"), [("x86_64", X86, 0), ("aarch64", ARM, 1)])
def test_the_filter_denies_what_it_lists_and_nothing_else(
    machine: str, arch: int, column: int
) -> None:
    program = filter_program(machine)
    clone, ioctl, mmap = {"x86_64": (56, 16, 9), "aarch64": (220, 29, 222)}[machine]
    refused = {
        row[column]: answer
        for table, answer in ((DENIED, EPERM), (ABSENT, ENOSYS), (SOCKETS, EAFNOSUPPORT))
        for row in table.values()
    }
    for number in range(LAST_NUMBER + 1):
        assert run_filter(program, arch, number) == refused.get(number, ALLOW), number
    assert run_filter(program, arch, clone, 0x10000000) == EPERM  # a user namespace
    assert run_filter(program, arch, clone, 0x003D0F00) == ALLOW  # a thread
    assert run_filter(program, arch, clone, 0x4111) == ALLOW  # vfork
    assert run_filter(program, arch, ioctl, 0, 0x5412) == EPERM  # TIOCSTI
    assert run_filter(program, arch, ioctl, 0, 0x7700005412) == EPERM  # only 32 bits are looked at
    assert run_filter(program, arch, ioctl, 0, 0x5413) == ALLOW  # TIOCGWINSZ
    assert run_filter(program, arch, mmap, 0, 0, 3, 0x21) == EPERM  # shared memory of no file
    assert run_filter(program, arch, mmap, 0, 0, 3, 0x8021) == EPERM  # the same, touched at once
    assert run_filter(program, arch, mmap, 0, 0, 3, 0x22) == ALLOW  # private memory
    assert run_filter(program, arch, mmap, 0, 0, 3, 0x01) == ALLOW  # a file's
    assert run_filter(program, 0x40000003, 1) == KILL  # i386
    assert run_filter(program, 0x40000028, 1) == KILL  # 32-bit arm


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", X86), ("aarch64", ARM)])
@pytest.mark.parametrize("number", [LAST_NUMBER + 1, 470, 1000, 0x3FFFFFFF, 0xFFFFFFFF])
def test_a_call_that_came_later_does_not_exist(machine: str, arch: int, number: int) -> None:
    assert run_filter(filter_program(machine), arch, number) == ENOSYS


@pytest.mark.parametrize("column", [0, 1])
def test_no_call_is_listed_twice(column: int) -> None:
    rows = [row[column] for table in (DENIED, ABSENT, SOCKETS) for row in table.values()]
    numbers = [number for number in rows if number is not None]
    assert len(numbers) == len(set(numbers))


def test_the_x32_numbers_are_refused() -> None:
    assert run_filter(filter_program("x86_64"), X86, 0x40000000 + 101) == ENOSYS


@pytest.mark.parametrize(
    ("header", "column"),
    [("x86_64-linux-gnu/asm/unistd_64.h", 0), ("asm-generic/unistd.h", 1)],
)
def test_the_numbers_are_this_kernels(header: str, column: int) -> None:
    if not os.path.exists(f"/usr/include/{header}"):
        pytest.skip(f"no list of numbers here: {header} comes with linux-libc-dev")
    with open(f"/usr/include/{header}") as file:
        lines = [line.split() for line in file if line.startswith("#define __NR")]
    numbers = {words[1][5:].lstrip("_"): words[2] for words in lines if len(words) > 2}
    # asm-generic has names that differ from one word size to the other: "__NR3264_mmap".
    numbers |= {name.removeprefix("3264_"): number for name, number in numbers.items()}
    for name, row in {**DENIED, **ABSENT, **SOCKETS}.items():
        assert numbers.get(name, str(row[column])) == str(row[column]), name


CALLS = """
import ctypes, os, errno
libc = ctypes.CDLL(None, use_errno=True)
def denied(result, code=errno.EPERM):
    assert result == -1, result
    assert ctypes.get_errno() == code, os.strerror(ctypes.get_errno())
denied(libc.mount(b'none', b'/usr', b'tmpfs', 0, None))
denied(libc.umount2(b'/proc', 2))
denied(libc.ptrace(16, 1, 0, 0))
denied(libc.unshare(0x10000000))
denied(libc.setns(0, 0))
denied(libc.syscall(425, 1, 0))
denied(libc.syscall(321, 0, 0, 0))
denied(libc.syscall(435, 0, 0), errno.ENOSYS)
denied(libc.memfd_create(b'x', 0), errno.ENOSYS)
denied(libc.shmget(0, 4096, 0o1600), errno.ENOSYS)
denied(libc.syscall(470, 0, 0), errno.ENOSYS)
for family in range(50):
    denied(libc.socket(family, 1, 0), errno.EAFNOSUPPORT)
denied(libc.mmap(None, 4096, 3, 0x21, -1, 0))
denied(libc.chroot(b'/usr'))
denied(libc.ioctl(0, 0x5412, b'x'))
assert os.fork() or os._exit(0) is None
import threading
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are of x86-64")
def test_denied_calls_fail_and_threads_work(farm: Farm, tmp_path: object) -> None:
    farm.succeed(farm.python(CALLS, os.fsencode(str(tmp_path))))


# ---- the probe --------------------------------------------------------------------------------------


def test_the_probe_finds_a_sandbox_that_works(tmp_path: object) -> None:
    found = probe(f"{tmp_path}/state")
    assert found.mode is Mode.FULL
    assert os.path.exists(found.shim)
    assert not [name for name in os.listdir(f"{tmp_path}/state") if name.startswith("probe")]


def test_a_bubblewrap_that_fails_is_told_with_its_reason(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"{tmp_path}/bwrap"
    with open(script, "w") as file:
        file.write(
            "#!/bin/sh\n[ $# = 1 ] && echo --overlay-src --argv0 --info-fd --disable-userns && exit\n"
            "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n"
        )
    os.chmod(script, 0o755)
    monkeypatch.setattr(probe_module, "_candidates", lambda: [script])
    with pytest.raises(SandboxError, match=r"no sandbox can be made here: .*uid map"):
        probe(f"{tmp_path}/state")


def test_an_old_bubblewrap_is_passed_over(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = f"{tmp_path}/bwrap"
    with open(old, "w") as file:
        file.write("#!/bin/sh\necho --unshare-user --bind\n")
    os.chmod(old, 0o755)
    recent = find_bubblewrap()
    monkeypatch.setattr(probe_module, "_candidates", lambda: [old, recent])
    assert find_bubblewrap() == recent
    monkeypatch.setattr(probe_module, "_candidates", lambda: [old])
    with pytest.raises(SandboxError, match="too old"):
        find_bubblewrap()


def test_mode_none_still_changes_the_root(farm: Farm, tmp_path: object) -> None:
    farm.runner.sandbox = probe(f"{tmp_path}/none", Mode.NONE)
    code = "import os; assert not os.path.exists('/etc'); assert os.getppid() == 1"
    outcome = farm.run(farm.python(code, os.fsencode(str(tmp_path))))
    assert isinstance(outcome, RunOutcome)
    assert (outcome.exit_status, outcome.stderr) == (0, b"")


# ---- what a job may say -----------------------------------------------------------------------------


def test_a_jobs_environment_cannot_replace_the_shim(farm: Farm, tmp_path: object) -> None:
    cwd = os.fsencode(str(tmp_path))
    environment = [(b"LD_PRELOAD", b"/x.so"), (b"LD_AUDIT", b"/x.so"), (b"ZCC_PWD", b"/y")]
    job = make_job(
        farm.store,
        [b"/usr/bin/python3", b"-S", b"-E", b"-c", b"import os; print(sorted(os.environ.items()))"],
        cwd,
        environment=[*environment, (b"TMPDIR", b"/z"), (b"A", b"=\xff")],
    )
    shown = farm.succeed(job).stdout.decode()
    expected = [
        ("A", "=\udcff"), ("LD_PRELOAD", "/.zcc/lookups.so"), ("PATH", "/usr/bin:/bin"),
        ("PWD", os.fsdecode(cwd)), ("TMPDIR", "/.zcc/tmp"),
    ]  # fmt: skip
    assert shown.strip() == str(expected)


def test_limits_of_a_process_reach_it(farm: Farm, tmp_path: object) -> None:
    limits = Limits(cpu_s=7, open_files=99, file_bytes=12345, free_disk_bytes=0)
    code = (
        "import resource as r\n"
        "for kind in (r.RLIMIT_CPU, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE, r.RLIMIT_NICE):\n"
        " print(*r.getrlimit(kind))"
    )
    outcome = farm.run(farm.python(code, os.fsencode(str(tmp_path))), limits)
    assert isinstance(outcome, RunOutcome)
    assert outcome.stdout == b"7 7\n99 99\n12345 12345\n0 0\n0 0\n"


@pytest.mark.parametrize(
    ("path", "is_directory", "expected"),
    [
        (b"/proc", True, False), (b"/proc", False, True), (b"/proc/self", True, True),
        (b"/.zcc", True, True), (b"/.zcc/log", False, True), (b"/.zccx", False, False),
        (b"/dev", True, False), (b"/dev", False, True), (b"/dev/null", False, True),
        (b"/dev/shm/a.c", False, False), (b"/tmp/a.c", False, False),
    ],
)  # fmt: skip
def test_mount_points_are_reserved(path: bytes, is_directory: bool, expected: bool) -> None:
    assert is_reserved(path, is_directory) == expected


@pytest.mark.parametrize("place", ["dev", "proc", ".zcc", "dev/null"])
def test_a_toolchain_cannot_lead_a_mount_point_astray(tmp_path: object, place: str) -> None:
    root = f"{tmp_path}/root"
    os.makedirs(os.path.dirname(f"{root}/{place}"), exist_ok=True)
    os.symlink("/oldroot/etc", f"{root}/{place}")
    with pytest.raises(ToolchainError, match=place):
        view_toolchain(os.fsencode(root))


def test_a_view_shows_members_and_links(tmp_path: object) -> None:
    root = f"{tmp_path}/root"
    os.makedirs(f"{root}/usr/bin")
    os.symlink("usr/bin", f"{root}/bin")
    subprocess.run(["touch", f"{root}/usr/bin/as"], check=True)
    view = view_toolchain(os.fsencode(root))
    assert view.members == {b"", b"/usr", b"/usr/bin", b"/usr/bin/as", b"/bin"}
    assert view.links == {b"/bin": b"usr/bin"}


def test_a_sandbox_that_lets_something_through_is_refused_by_name(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a kernel that ignores the filter: here one that allows everything."""
    everything = struct.pack("=HBBI", 0x06, 0, 0, ALLOW)
    monkeypatch.setattr(probe_module, "filter_program", lambda _: everything)
    with pytest.raises(SandboxError, match=r"a job could .*open a socket.*\(memfd\)"):
        probe(f"{tmp_path}/state")


# ---- what it consists of ---------------------------------------------------------------------------


def test_a_sandbox_whose_parts_are_removed_says_which_and_what_to_do(farm: Farm) -> None:
    sandbox = farm.sandbox
    assert sandbox.why_none() == ""
    gone = replace(sandbox, shim="/no/such/shim.so")
    assert (
        gone.why_none() == "/no/such/shim.so is gone, which every sandbox needs: restart the node"
    )


def test_the_filter_is_there_though_the_state_directory_is_emptied(tmp_path: Path) -> None:
    sandbox = probe(str(tmp_path))
    for path in tmp_path.iterdir():
        if path.is_file():
            path.unlink()
    for _ in range(2):  # each job reads it from its beginning
        with open(sandbox.seccomp, "rb") as file:
            assert file.read() == filter_program(os.uname().machine)
