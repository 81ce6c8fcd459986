"""The self check, and what the command line may name."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node import probe as probe_module
from node.errors import SandboxError, ToolchainError
from node.probe import find_bubblewrap, probe
from node.sandbox.command_line import Limits, SandboxMode, is_reserved, view_toolchain
from node.sandbox.remains import RunOutcome
from node.sandbox.seccomp import filter_program
from tests.support.sandbox_toolchain import Farm, make_job, make_program, shared_toolchain


@pytest.fixture
def farm(tmp_path: object) -> Iterator[Farm]:
    farm = Farm(str(tmp_path), shared_toolchain())
    yield farm
    farm.close()


# ---- the probe --------------------------------------------------------------------------------------


def test_the_probe_finds_a_sandbox_that_works(tmp_path: object) -> None:
    found = probe(f"{tmp_path}/state")
    assert found.mode is SandboxMode.FULL
    assert os.path.exists(found.shim)
    assert not [name for name in os.listdir(f"{tmp_path}/state") if name.startswith("probe")]


def test_a_bubblewrap_that_fails_is_told_with_its_reason(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = make_program(
        f"{tmp_path}/bwrap",
        'if (argc == 2) return puts("--overlay-src --argv0 --info-fd --disable-userns") < 0;'
        ' fputs("bwrap: setting up uid map: Permission denied\\n", stderr); return 1;',
    )
    monkeypatch.setattr(probe_module, "_candidates", lambda: [fails])
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
    farm.runner.sandbox = probe(f"{tmp_path}/none", SandboxMode.NONE)
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
    assert outcome.stdout == b"7 7\n99 99\n12345 12345\n1 1\n0 0\n"


def test_a_job_may_have_a_few_tasks_and_two_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(10)))
    assert Limits().tasks == 84


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
    everything = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
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
