"""A compile that needs much memory, on nodes that have little: it goes where there is more, or runs here."""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Farm
from tests.support.prepared_farm import PreparedFarm

# gcc 12 takes some 130 bytes for each: 160 MB, in a second.
NUMBERS = 1_000_000
SMALL, LARGE = "100M", "1500M"
# Longer than any of this takes on a machine that others use as well.
PATIENCE_S = 60.0


@pytest.fixture
def farm() -> Iterator[Farm]:
    with tempfile.TemporaryDirectory(prefix="zcc-large-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=0, slots=1)
            local.environment["ZCC_CACHE"] = "off"
            local.add_node("small", 1, "--memory", SMALL)
            made = Farm(local)
            wait_for_nodes(made, "small")
            yield made
        finally:
            local.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rng = random.Random(1)
    numbers = ",\n".join(str(rng.randrange(256)) for _ in range(NUMBERS))
    (tmp_path / "large.c").write_text(f"unsigned char numbers[] = {{{numbers}}};\n")
    (tmp_path / "plain.c").write_text("int plain;\n")
    (tmp_path / ".git").mkdir()
    return tmp_path


def wait_for_nodes(farm: Farm, *names: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        shown = farm.run("zcc", "nodes", cwd=Path("/")).stdout.decode()
        here = {
            name for name in ("small", "large") if re.search(rf"^\S*{name}\b.*ready", shown, re.M)
        }
        if here == set(names):
            return
        time.sleep(0.1)
    pytest.fail(f"not these nodes are here, but others: {shown}")


def compile_(farm: Farm, project: Path, name: str, strict: bool = True) -> dict[str, int]:
    """How the compile was counted: outcomes, and reasons of those that ran here."""
    before = farm.stats()
    done = farm.run("zcc", "gcc", "-c", f"{name}.c", "-o", f"{name}.o", cwd=project, strict=strict)
    assert done.returncode == 0, done.stderr
    after = farm.stats()
    counted = {}
    for table in ("outcomes", "local_reasons"):
        for key, count in after[table].items():
            if more := count - before[table].get(key, 0):
                counted[key] = more
    return counted


def audited(farm: Farm, what: str, node: str) -> int:
    """Lines of this kind that the broker's log has of this node."""
    log = Path(farm.local.directory) / "broker" / "audit.log"
    lines = [line for line in log.read_text().splitlines() if f'"{what}"' in line]
    return sum(f'"{node}"' in line for line in lines)


@pytest.mark.timeout(400)
def test_a_large_compile_finds_the_node_that_has_the_memory_and_is_remembered(
    farm: Farm, project: Path
) -> None:
    assert compile_(farm, project, "plain") == {"remote": 1}
    first = compile_(farm, project, "large", strict=False)
    assert first == {"local": 1, "needs-memory": 1}
    given = audited(farm, "dispatch", "small")
    assert audited(farm, "fault", "small") >= 1
    # Known by now: no node is tried.
    assert compile_(farm, project, "large", strict=False) == {"local": 1, "needs-memory": 1}
    assert audited(farm, "dispatch", "small") == given
    why = farm.run("zcc", "why", "large.c", cwd=project).stdout.decode()
    assert "local (needs-memory)" in why
    assert "no node gives a job as much" in why

    farm.local.add_node("large", 1, "--memory", LARGE)
    wait_for_nodes(farm, "small", "large")
    assert compile_(farm, project, "large") == {"remote": 1}
    assert audited(farm, "dispatch", "small") == given
    # One that nobody has seen: wherever it begins, it ends on the node that has the memory; none is blamed.
    (project / "new.c").write_text((project / "large.c").read_text() + "int more;\n")
    assert compile_(farm, project, "new") == {"remote": 1}
    wait_for_nodes(farm, "small", "large")
