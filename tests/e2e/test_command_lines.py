"""Command lines and their side outputs through a farm, each held against the plain compiler."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Farm
from tests.e2e.test_farm import both_ways, project


def test_a_header_that_is_gone_no_longer_hides_another(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """The node still has it, in the tree that it keeps for this client."""
    top = project(tmp_path / "p")
    for name, value in (("first", 1), ("second", 2)):
        (top / name).mkdir()
        (top / name / "which.h").write_text(f"int which = {value};\n")
    (top / "w.c").write_text("#include <which.h>\n")
    command = (family, "-Ifirst", "-Isecond", "-c", "w.c")
    both_ways(farm, top, *command)
    (top / "first" / "which.h").unlink()
    (top / "w.o").unlink()
    refused = farm.stats()["proof_failures"]
    both_ways(farm, top, *command)
    assert farm.stats()["proof_failures"] == refused
