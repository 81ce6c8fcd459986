"""Command lines and their side outputs through a farm, each held against the plain compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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


SIDE_OUTPUTS = {
    "gcc": (
        "-fcallgraph-info", "-fcallgraph-info=su,da", "-fstack-usage", "-save-temps",
        "-save-temps=obj", "-save-temps=cwd", "-fdump-tree-optimized=dump.txt",
        "-fdump-rtl-expand-details=dump.txt", "-fdump-go-spec=spec.go", "-aux-info proto.X",
        "-fdump-tree-original-lineno=out/dump.txt", "-fdump-final-insns=out/final.gkd",
        "-pipe -Wa,-ahls=listing.lst", "-pipe -Wa,-ahls=out/listing.lst,-I,inc", "-fopt-info-all=opt.txt",
        "-gsplit-dwarf -g", "--coverage -frandom-seed=1", "-fprofile-note=x.gcno --coverage -frandom-seed=1",
        "-MD -MF out/deps.d -MT a -MQ $(b)", "-Wp,-MMD,deps.d", "-Xpreprocessor -MD -Xpreprocessor deps.d",
    ),
    "clang": (
        "--serialize-diagnostics out/d.dia", "-MJ fragment.json", "-save-temps", "-save-temps=obj",
        "-save-temps=cwd", "-foptimization-record-file=record.yaml", "-fsave-optimization-record",
        "-gsplit-dwarf -g", "--coverage", "-MD -MF out/deps.d -MT a -MQ $(b)", "-Wa,-I,inc",
        "-Xpreprocessor -Iinc",
        "-Wp,-include,inc/own.h",
    ),
}  # fmt: skip


@pytest.mark.parametrize("output", [(), ("-o", "out/a.o"), ("-oa.x.o",)])
@pytest.mark.parametrize(
    ("compiler", "words"), [(name, words) for name, all in SIDE_OUTPUTS.items() for words in all]
)
def test_side_outputs_come_back_from_a_node(
    farm: Farm, tmp_path: Path, compiler: str, words: str, output: tuple[str, ...]
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    top = project(tmp_path / "p")
    (top / "out").mkdir()
    both_ways(farm, top, compiler, "-O2", "-Wall", *words.split(), "-c", "a.c", *output)
