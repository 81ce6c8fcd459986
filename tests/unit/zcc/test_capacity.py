"""What a process may use of its machine: files of control groups as the kernel writes them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zcc import config
from zcc.capacity import memory_bytes, processors

GIB = 1 << 30
V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def machine(
    root: Path, cgroup: str, mounts: str, files: dict[str, str], memory: int = 64 * GIB
) -> str:
    """A tree of /proc and /sys below `root`."""
    said = {
        "proc/self/cgroup": cgroup,
        "proc/self/mountinfo": mounts,
        "proc/meminfo": f"MemTotal: {memory >> 10:>10} kB\nMemFree: 1 kB\n",
    }
    for name, text in (
        said | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    ).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text.endswith("\n") else text + "\n")
    return str(root)


def v2(root: Path, files: dict[str, str]) -> str:
    return machine(root, "0::/a.slice/b.service", V2, files)


def v1(root: Path, files: dict[str, str], mounted: str = "/") -> str:
    cgroup = "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n1:name=systemd:/init.scope\n0::/"
    return machine(root, cgroup, "\n".join((V1_CPU, V1_MEMORY)).format(root=mounted), files)


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert processors(str(tmp_path)) == 8
    assert memory_bytes(str(tmp_path)) == 0


def test_this_very_machine_can_be_asked() -> None:
    assert 1 <= processors() <= 8
    assert memory_bytes() > 1 << 20


@pytest.mark.parametrize(
    ("own", "above", "expected"),
    [
        ("max 100000", "max 100000", 8),
        ("400000 100000", "max 100000", 4),
        ("400000 100000", "200000 100000", 2),  # the least of all levels
        ("150000 100000", "max 100000", 1),  # rounded down
        ("20000 100000", "max 100000", 1),  # at least one
        ("9900000 100000", "max 100000", 8),  # the affinity is less
        ("rubbish", "max", 8),
        ("100000 0", "max 100000", 8),
    ],
)
def test_the_least_quota_of_version_2_counts(
    tmp_path: Path, own: str, above: str, expected: int
) -> None:
    root = v2(tmp_path, {"a.slice/b.service/cpu.max": own, "a.slice/cpu.max": above})
    assert processors(root) == expected


@pytest.mark.parametrize(
    ("quota", "above", "expected"), [("-1", "-1", 8), ("300000", "-1", 3), ("300000", "100000", 1)]
)
def test_the_least_quota_of_version_1_counts(
    tmp_path: Path, quota: str, above: str, expected: int
) -> None:
    files = {
        "cpu,cpuacct/docker/x/cpu.cfs_quota_us": quota,
        "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/docker/cpu.cfs_quota_us": above,
        "cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
    }
    assert processors(v1(tmp_path, files)) == expected


def test_a_container_that_sees_its_group_as_the_mount_is_bound_by_it(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(2 * GIB),
    }
    root = v1(tmp_path, files, mounted="/docker/x")
    assert processors(root) == 2
    assert memory_bytes(root) == 2 * GIB


def test_a_group_outside_of_the_mount_is_taken_for_the_mounts_own(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/../elsewhere", V2, {"cpu.max": "300000 100000"})
    assert processors(root) == 3


def test_memory_is_the_least_of_the_machine_and_its_groups(tmp_path: Path) -> None:
    files = {"a.slice/b.service/memory.max": "max", "a.slice/memory.max": str(4 * GIB)}
    assert memory_bytes(v2(tmp_path, files)) == 4 * GIB
    (tmp_path / "sys/fs/cgroup/a.slice/memory.max").write_text(str(99 * GIB))
    assert memory_bytes(str(tmp_path)) == 64 * GIB


def test_no_limit_of_version_1_is_none(tmp_path: Path) -> None:
    files = {"memory/docker/x/memory.limit_in_bytes": "9223372036854771712"}
    assert memory_bytes(v1(tmp_path, files)) == 64 * GIB


def test_a_mount_with_a_blank_in_its_name_is_found(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/x", V2.replace("/cgroup ", "/my\\040groups "), {})
    place = tmp_path / "sys/fs/my groups/x"
    place.mkdir(parents=True)
    (place / "cpu.max").write_text("100000 100000\n")
    assert processors(root) == 1


def test_the_agents_slots_are_counted_in_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "processors", lambda: 3)
    assert config.Config().local_slots == 3
    assert config.Config(slots=5).local_slots == 5


# ---- a group of this very machine -----------------------------------------------------------------

QUOTAS = {"cpu.cfs_quota_us": "100000", "cpu.max": "100000 100000"}
ASKED = "import sys; sys.stdin.readline(); from zcc.capacity import processors; print(processors())"


@pytest.fixture
def one_processor() -> Iterator[Path]:
    """A real control group with a quota of one processor."""
    for tree in ("/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"):
        group = Path(tree, f"zcc-test-{os.getpid()}")
        with contextlib.suppress(OSError):
            group.mkdir()
            try:
                for name, text in QUOTAS.items():
                    if (group / name).exists():
                        (group / name).write_text(text)
                        yield group
                        return
            finally:
                group.rmdir()
    pytest.skip("no control group with a quota can be made here")


def test_a_real_group_of_one_processor_has_one(one_processor: Path) -> None:
    command = [sys.executable, "-c", ASKED]
    with subprocess.Popen(
        command,
        text=True,
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as asked:
        (one_processor / "cgroup.procs").write_text(str(asked.pid))
        said, _ = asked.communicate("go\n")
    assert said == "1\n"
