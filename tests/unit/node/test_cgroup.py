"""Control groups for jobs, against a directory that is laid out like the kernel's tree, and against the
kernel's where this machine gives us a part of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from node.errors import CgroupError
from node.sandbox import cgroup
from node.sandbox.cgroup import OWN_LEAF, Cgroups, claim_at, claim_cgroups
from zcc.messages import Fault

GROUP_FILES = {"cgroup.procs": "", "cgroup.subtree_control": "", "cgroup.threads": ""}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in (GROUP_FILES | {"cgroup.controllers": "cpu memory pids\n"}).items():
        (tmp_path / name).write_text(text)
    # The kernel makes the files of a new group; here they wait.
    (tmp_path / OWN_LEAF).mkdir()
    for name in ("cgroup.procs", "cpu.weight"):
        (tmp_path / OWN_LEAF / name).write_text("")
    return tmp_path


def handed_down(tree: Path) -> set[str]:
    return set((tree / "cgroup.subtree_control").read_text().split())


def group_in(tree: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> tuple[Cgroups, Path]:
    """A claimed tree in which each new group has the files that the kernel would make."""
    made = tree / "zcc-job-1"
    mkdir = os.mkdir

    def make(path: str, *_: object) -> None:
        mkdir(path)
        names = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cgroup.procs")
        for name, text in (dict.fromkeys(names, "") | files).items():
            Path(path, name).write_text(text)

    monkeypatch.setattr(os, "mkdir", make)
    return claim_at(str(tree), 42), made


def test_the_node_moves_into_a_leaf_and_hands_its_controllers_down(tree: Path) -> None:
    (tree / "cgroup.procs").write_text("42\n")
    assert claim_at(str(tree), 42).path == str(tree)
    assert (tree / OWN_LEAF / "cgroup.procs").read_text() == "42"
    assert handed_down(tree) == {"+cpu", "+memory", "+pids"}


def test_jobs_weigh_alike_and_the_node_more_where_weights_are_offered(tree: Path) -> None:
    claim_at(str(tree), 42)
    assert (tree / OWN_LEAF / "cpu.weight").read_text() == "1000"


def test_without_weights_the_limits_are_kept_as_ever(tree: Path) -> None:
    (tree / "cgroup.controllers").write_text("memory pids\n")
    claim_at(str(tree), 42)
    assert handed_down(tree) == {"+memory", "+pids"}
    assert (tree / OWN_LEAF / "cpu.weight").read_text() == ""


def test_weights_that_the_kernel_refuses_are_done_without(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = cgroup._write

    def refuse(path: str, text: str) -> None:
        if "+cpu" in text:
            raise OSError(22, "a process of a real-time class is in it")
        write(path, text)

    monkeypatch.setattr(cgroup, "_write", refuse)
    claim_at(str(tree), 42)
    assert handed_down(tree) == {"+memory", "+pids"}


def test_a_node_that_has_moved_finds_its_tree_again(tree: Path) -> None:
    assert claim_at(f"{tree}/{OWN_LEAF}", 42).path == str(tree)


def test_a_group_with_others_in_it_is_left_alone(tree: Path) -> None:
    (tree / "cgroup.procs").write_text("42\n1\n")
    with pytest.raises(CgroupError, match=r"holds other processes.*Delegate=yes"):
        claim_at(str(tree), 42)
    assert (tree / "cgroup.subtree_control").read_text() == ""


@pytest.mark.parametrize("controllers", ["", "cpu", "memory"])
def test_controllers_that_are_not_delegated_are_named(tree: Path, controllers: str) -> None:
    (tree / "cgroup.controllers").write_text(controllers)
    with pytest.raises(CgroupError, match=r"no controller .*pids"):
        claim_at(str(tree), 42)


def test_a_job_has_limits_and_one_death_for_all(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups, made = group_in(tree, monkeypatch)
    group = cgroups.make(1 << 30, 100)
    group.admit(4711)
    texts = {name: (made / name).read_text() for name in os.listdir(made)}
    assert texts == {
        "memory.max": str(1 << 30), "memory.swap.max": "0", "memory.oom.group": "1",
        "pids.max": "100", "cgroup.procs": "4711",
    }  # fmt: skip


def test_limits_that_are_left_out_are_not_written(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups, made = group_in(tree, monkeypatch)
    cgroups.make(None, None)
    assert {(made / name).read_text() for name in os.listdir(made)} == {""}


@pytest.mark.parametrize(
    ("events", "excess"),
    [
        ({"memory.events": "oom 0\noom_kill 0\n", "pids.events": "max 0\n"}, None),
        (
            {"memory.events": "oom 1\noom_kill 3\n"},
            (Fault.MEMORY, "more than 64 bytes of memory"),
        ),
        ({"pids.events": "max 2\n"}, (Fault.RESOURCES, "more than 10 processes and threads")),
    ],
)
def test_what_went_over_is_told(
    tree: Path, monkeypatch: pytest.MonkeyPatch, events: dict[str, str], excess: object
) -> None:
    cgroups, _ = group_in(tree, monkeypatch, **events)
    assert cgroups.make(64, 10).excess() == excess


def test_the_peak_is_the_kernels_or_what_is_used_now(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups, made = group_in(tree, monkeypatch, **{"memory.current": "5\n"})
    group = cgroups.make(None, None)
    assert group.peak_bytes() == 5
    (made / "memory.peak").write_text("7\n")
    assert group.peak_bytes() == 7


def test_the_kernels_own_groups_stop_a_job(tmp_path: Path) -> None:
    try:
        cgroups = claim_cgroups()
    except CgroupError as error:
        pytest.skip(f"no control group is ours: {error}")
    group = cgroups.make(32 << 20, 20)
    command = "read go; exec python3 -c 'x = bytearray(256 << 20)'"
    process = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE)
    group.admit(process.pid)
    process.communicate(b"go\n")
    assert process.returncode == -9
    assert group.excess() == (Fault.MEMORY, f"more than {32 << 20} bytes of memory")
    assert group.remove()
