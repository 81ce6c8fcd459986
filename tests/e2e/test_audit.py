"""`zcc-broker audit`: what nodes have made is made again by others, and a forged result names its maker."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cache.stores import DiskStore
from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_memory import place, wait_until_written
from tests.support.forging import forge, no_misses, other_object
from tests.support.network_farm import wait_until
from tests.support.prepared_farm import PreparedFarm
from zcc.agent.results.local_cache import SPACE
from zcc.farm import DEFAULT_FARM

SOURCES = 4


@pytest.fixture
def farm(request: pytest.FixtureRequest) -> Iterator[Farm]:
    """As many nodes as the test says, each with a key of its own."""
    with tempfile.TemporaryDirectory(prefix="zcc-audit-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=request.param, slots=1)
            yield Farm(local)
        finally:
            local.stop()


def state_of(farm: Farm) -> Path:
    return Path(farm.local.directory) / "broker"


def build(farm: Farm, project: Path) -> None:
    """Some sources, compiled by the farm and remembered by the broker."""
    for number in range(SOURCES):
        name = f"f{number}"
        (project / f"{name}.cc").write_text(
            f"#include <string>\nstd::string s{number} = __FILE__;\n"
        )
        command = ("zcc", "g++", "-g", "-O1", "-c", f"{name}.cc", "-o", f"{name}.o")
        done = farm.run(*command, cwd=project, ZCC_CACHE="off")
        assert done.returncode == 0, done.stderr
    wait_until_written(state_of(farm), SOURCES)


def audit(farm: Farm, *words: str, status: int) -> dict[str, Any]:
    command = [str(BIN / "zcc-broker"), "audit", *words, "--json", "--state", str(state_of(farm))]
    done = subprocess.run(command, capture_output=True, check=False, timeout=100)
    assert done.returncode == status, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def makers(farm: Farm) -> dict[str, int]:
    with closing(DiskStore(str(state_of(farm)), DEFAULT_FARM, 1 << 30)) as store:
        return {node: count for node, count, _ in store.index.by_label("node")}


def take_all(farm: Farm, project: Path) -> list[bytes]:
    """The objects as this member gets them, remembered or not."""
    objects = []
    for number in range(SOURCES):
        command = ("zcc", "g++", "-g", "-O1", "-c", f"f{number}.cc", "-o", f"f{number}.o")
        assert farm.run(*command, cwd=project).returncode == 0
        objects.append((project / f"f{number}.o").read_bytes())
    return objects


def own_results(farm: Farm) -> int:
    with closing(DiskStore(str(place(farm) / "cache"), SPACE, 1 << 30)) as store:
        return store.index.count()


@pytest.mark.parametrize("farm", [2], indirect=True)
def test_what_nodes_have_made_is_made_again_by_others(farm: Farm, tmp_path: Path) -> None:
    build(farm, tmp_path)
    report = audit(farm, "--share", "100%", status=0)
    assert (report["asked"], report["results"]) == (SOURCES, SOURCES)
    assert report["verdicts"] == {"equal": SOURCES}, report
    # An audit is nobody's result.
    assert sum(makers(farm).values()) == SOURCES


@pytest.mark.parametrize("farm", [3], indirect=True)
def test_a_third_node_says_who_has_forged_a_result(farm: Farm, tmp_path: Path) -> None:
    build(farm, tmp_path)
    assert forge(state_of(farm), DEFAULT_FARM, other_object, is_packed=True) == SOURCES
    report = audit(farm, "--share", "100%", status=1)
    # The first makers that are found out are given no further jobs, so not all can be told.
    assert report["verdicts"]["maker-at-fault"] >= 1, report
    finding = next(each for each in report["findings"] if each["verdict"] == "maker-at-fault")
    assert finding["odd"] == finding["node"]
    assert any(path.endswith(".o") for path in finding["what"])
    log = (state_of(farm) / "audit.log").read_text()
    assert '"verdict": "maker-at-fault"' in log
    listed = farm.run(str(BIN / "zcc"), "nodes", cwd=tmp_path).stdout.decode()
    assert "quarantined" in listed
    left = SOURCES - report["verdicts"]["maker-at-fault"]
    wait_until(lambda: sum(makers(farm).values()) == left, "what is wrong to be forgotten")


@pytest.mark.parametrize("farm", [3], indirect=True)
def test_a_node_that_keeps_misses_back_is_found_out(farm: Farm, tmp_path: Path) -> None:
    """A hit would hold where it must not: nothing on a client's disk can tell."""
    build(farm, tmp_path)
    forge(state_of(farm), DEFAULT_FARM, no_misses, is_packed=True)
    report = audit(farm, "--share", "1%", status=1)
    assert report["verdicts"] == {"maker-at-fault": 1}, report
    assert report["findings"][0]["what"] == ["look-ups"]


@pytest.mark.parametrize("farm", [2], indirect=True)
def test_of_two_nodes_neither_is_believed_and_the_result_is_forgotten(
    farm: Farm, tmp_path: Path
) -> None:
    build(farm, tmp_path)
    forge(state_of(farm), DEFAULT_FARM, other_object, is_packed=True)
    # A member's own cache has taken them.
    wrong = take_all(farm, tmp_path)
    wait_until(lambda: own_results(farm) == SOURCES, "the member's cache to keep them")
    report = audit(farm, "--share", "1%", status=1)
    assert report["verdicts"] == {"disputed": 1}, report
    wait_until(lambda: sum(makers(farm).values()) == SOURCES - 1, "the result to be forgotten")
    wait_until(lambda: own_results(farm) == SOURCES - 1, "the member's cache to forget it too")
    taken = take_all(farm, tmp_path)
    assert sum(before != now for before, now in zip(wrong, taken, strict=True)) == 1


@pytest.mark.parametrize("farm", [1], indirect=True)
def test_a_node_alone_is_audited_by_nobody(farm: Farm, tmp_path: Path) -> None:
    build(farm, tmp_path)
    report = audit(farm, "--share", "100%", status=0)
    assert report["skipped"] == {"no-other-node": SOURCES}, report
