"""What clang says of its precompiled headers, and how long an answer holds."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from zcc.compiler.disk.signatures import RACY_WINDOW_NS
from zcc.compiler.scan.precompiled import InputsMemo, parse_inputs, query_arguments


@pytest.mark.needs("clang")
def test_clang_names_all_that_a_precompiled_header_was_made_of(tmp_path: Path) -> None:
    (tmp_path / "a b.h").write_text("#include <stddef.h>\nint x;\n")
    made = [b"clang", b"-x", b"c-header", b"a b.h", b"-o", b"x.pch"]
    subprocess.run(made, cwd=tmp_path, check=True)
    asked = [b"clang", *query_arguments(b"x.pch")]
    said = subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True).stdout
    inputs = parse_inputs(said)
    assert os.fsencode(tmp_path / "a b.h") in inputs
    assert any(path.endswith(b"/stddef.h") for path in inputs)
    assert all(os.path.exists(path) for path in inputs)


def test_what_is_no_answer_names_nothing() -> None:
    assert parse_inputs(b"error: file 'x.pch' is not a valid precompiled PCH file\n") == ()


def test_an_answer_holds_as_long_as_the_file_is_what_it_was(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "x.pch")
    memo = InputsMemo(9, lambda: time.time_ns() + RACY_WINDOW_NS)
    assert memo.get((b"clang", path)) is None
    (tmp_path / "x.pch").write_text("one")
    seen = memo.begin()
    seen.see(path)
    memo.put((b"clang", path), (b"/a.h",), seen)
    assert memo.get((b"clang", path)) == (b"/a.h",)
    assert memo.get((b"clang-14", path)) is None
    (tmp_path / "x.pch").write_text("other")
    assert memo.get((b"clang", path)) is None
