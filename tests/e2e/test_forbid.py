"""ZCC_FALLBACK=forbid: what a farm does not do is not done, and the reason is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Farm


def test_a_compile_that_the_farm_does_is_done(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int a;\n")
    done = farm.run("zcc", "gcc", "-c", "a.c", cwd=tmp_path, strict=False, ZCC_FALLBACK="forbid")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "a.o").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("a.o -o a", b"not-a-compile"),
        ("--version", b"ZCC_FALLBACK=forbid"),
        ("-c broken.c", b"compile-error (exit status 1)"),
    ],
)
def test_what_would_run_here_is_an_error_with_its_reason(
    farm: Farm, tmp_path: Path, words: str, reason: bytes
) -> None:
    (tmp_path / "broken.c").write_text("int a\n")
    for environment in ({}, {"ZCC_VERIFY": "1"}):
        done = farm.run(
            "zcc", "gcc", *words.split(),
            cwd=tmp_path, strict=False, ZCC_FALLBACK="forbid", **environment,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (1, b"")
        assert reason in done.stderr
        assert done.stderr.startswith(b"zcc: ")
        assert done.stderr.count(b"\n") == 1
