"""`zcc why-node` and `zcc-broker why-node`, asked after a real compile."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BIN, Farm
from tests.support.prepared_farm import PreparedFarm
from zcc.member_id import member_id

ZCC = str(BIN / "zcc")


@pytest.fixture
def farm() -> Iterator[Farm]:
    with tempfile.TemporaryDirectory(prefix="zcc-why-node-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=2, slots=1)
            yield Farm(local)
        finally:
            local.stop()


def words_of_broker(farm: Farm, *words: str) -> str:
    state = Path(farm.local.directory) / "broker"
    command = [str(BIN / "zcc-broker"), "why-node", *words, "--state", str(state)]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=100).stdout


def told_by_broker(farm: Farm, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(words_of_broker(farm, *words, "--json"))["placed"]
    return rows


def test_a_compile_is_accounted_for_by_file_by_key_and_by_the_broker(
    farm: Farm, tmp_path: Path
) -> None:
    (tmp_path / "x.c").write_text("int x = 1;\n")
    compiled = farm.run("zcc", "gcc", "-c", "x.c", "-o", "x.o", cwd=tmp_path)
    assert compiled.returncode == 0, compiled.stderr
    for name in ("x.c", "x.o"):
        rows = json.loads(farm.run(ZCC, "why-node", name, "--json", cwd=tmp_path).stdout)["placed"]
        assert len(rows) == 1
        (row,) = rows
        assert row["ending"] == "finished"
        assert 0.0 <= row["begun_s"] <= row["took_s"]
        assert sorted(each["name"] for each in row["candidates"]) == ["node1", "node2"]
        assert [each["name"] for each in row["candidates"] if each["verdict"] == "chosen"] == [
            row["node"]
        ]
    by_key = farm.run(ZCC, "why-node", row["job"][:12], "--json", cwd=tmp_path)
    assert json.loads(by_key.stdout)["placed"][0]["job"] == row["job"]
    words = farm.run(ZCC, "why-node", "x.c", cwd=tmp_path, COLUMNS="100").stdout.decode()
    assert f"job {row['job'][:12]}" in words
    assert "it was compiled" in words
    latest = farm.run(ZCC, "why-node", cwd=tmp_path).stdout.decode()
    assert f"{row['node']}  {row['reason']}" in latest
    assert [each["job"] for each in told_by_broker(farm)] == [row["job"]]
    assert told_by_broker(farm, row["job"][:8])[0]["candidates"] == row["candidates"]
    who = member_id(told_by_broker(farm)[0]["user"])
    assert f"{row['job'][:12]}  {who}  " in words_of_broker(farm)
    assert f"job {row['job'][:12]} of {who}, " in words_of_broker(farm, row["job"][:8])


def test_of_what_was_never_placed_it_is_said_so(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x = 1;\n")
    unknown = farm.run(ZCC, "why-node", "x.c", cwd=tmp_path)
    assert unknown.returncode != 0
    assert b"no compile of x.c is known" in unknown.stderr
    nobody = farm.run(ZCC, "why-node", "0123456789ab", cwd=tmp_path)
    assert nobody.returncode != 0
    assert b"no decision" in nobody.stderr
