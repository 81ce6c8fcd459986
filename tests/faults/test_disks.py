"""Disks that are full, read-only or emptied under a running part: the build ends well, and heals by itself.

Each part's state lies on a small file system of its own. What happens to it happens in the middle of a build;
afterwards the disk is in order again, and a new source has to be compiled remotely without anybody's hand.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.disturbed import build_while
from tests.faults.test_faults import BIN, needs_mounts, small_disk
from tests.support.network_farm import wait_until
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

# Room for a farm's toolchain in all its forms, and little more to fill up. A node wants 1 GiB free besides.
DISKS = {"client": "640m", "broker": "640m", "node1": "1700m"}
# A node that could not do its work is asked again after a while (broker/core/limits.py: QUARANTINE_S).
HEALED_S = 90.0
pytestmark = needs_mounts


@dataclass
class Disk:
    """The file system that a part keeps its state on."""

    place: str

    def fill(self) -> None:
        with open(os.path.join(self.place, "filler"), "wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free(self) -> None:
        os.unlink(os.path.join(self.place, "filler"))

    def protect(self) -> None:
        """Read-only from now on; what is open for writing stays so, and would keep a remount from happening."""
        for how in (["--bind", self.place], ["-o", "remount,bind,ro"]):
            subprocess.run(["mount", *how, self.place], check=True)

    def release(self) -> None:
        subprocess.run(["umount", "-l", self.place], check=True)

    def empty(self) -> None:
        """As a clean-up does: all that is no key of the part's, nor the socket that it listens at; of a node
        what it has fetched and made, without what its sandbox consists of."""
        kept = ("farm.toml", "farm.key", "agent.sock")
        fetched = ("inputs", "frames", "toolchains", "trees", "scratch")
        is_node = os.path.isdir(os.path.join(self.place, "trees"))
        for name in fetched if is_node else os.listdir(self.place):
            path = os.path.join(self.place, name)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            elif name not in kept and os.path.lexists(path):
                os.unlink(path)


@dataclass
class Built:
    local: LocalFarm
    disk: Disk
    project: Path

    def build(self, disturb: str = "") -> None:
        environment = {**self.local.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}
        happens = getattr(self.disk, disturb) if disturb else lambda: None
        build_while(self.project, environment, happens)

    def remote(self) -> int:
        stats = control.ask(self.local.environment["ZCC_SOCKET"], {"op": "stats"})
        return int(stats["outcomes"]["remote"]) if stats else 0

    def compiles_remotely(self, directory: Path) -> bool:
        """Whether a source that nobody has seen is compiled by the farm, with the plain object."""
        source = directory / f"fresh{time.monotonic_ns()}.cc"
        source.write_text(
            f"#include <string>\nstd::string s = {source.name!r};\n".replace("'", '"')
        )
        before = self.remote()
        environment = {**self.local.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}
        for words, output in ((["zcc"], "zcc.o"), ([], "plain.o")):
            command = [*words, "g++", "-c", source.name, "-o", output]
            subprocess.run(command, cwd=directory, env=environment, check=True, timeout=100)
        assert (directory / "zcc.o").read_bytes() == (directory / "plain.o").read_bytes()
        return self.remote() > before


@contextlib.contextmanager
def built(part: str, project: Path) -> Iterator[Built]:
    """A farm that has built the project's toolchain into place, one part of it on a disk of its own."""
    with tempfile.TemporaryDirectory(prefix="zcc-disks-") as directory:
        place = os.path.join(directory, part)
        with small_disk(place, DISKS[part]):
            local = LocalFarm(directory)
            try:
                local.start(nodes=1, slots=2)
                local.environment["ZCC_CACHE"] = "off"
                made = Built(local, Disk(place), project)
                wait_until(
                    lambda: made.compiles_remotely(Path(directory)), "a first remote compile"
                )
                yield made
            finally:
                local.stop()


# Each part and each disturbance at least once; `make faults` has them all.
USUAL = (("client", "fill"), ("broker", "protect"), ("node1", "empty"), ("node1", "fill"))
MENDED_BY = {"fill": "free", "protect": "release", "empty": ""}
PAIRS = [
    pytest.param(part, disturb, marks=() if (part, disturb) in USUAL else pytest.mark.nightly)
    for part in DISKS
    for disturb in MENDED_BY
]


@pytest.mark.parametrize(("part", "disturb"), PAIRS)
def test_a_disk_that_fails_in_the_middle_of_a_build(
    project: Path, tmp_path: Path, part: str, disturb: str
) -> None:
    mend = MENDED_BY[disturb]
    with built(part, project) as made:
        made.build(disturb)
        if mend:
            getattr(made.disk, mend)()
        wait_until(
            lambda: made.compiles_remotely(tmp_path), "a remote compile afterwards", HEALED_S
        )
