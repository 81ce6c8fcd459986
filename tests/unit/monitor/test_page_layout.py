"""The page's pure functions: where things go on a canvas, and how numbers are written. Run by node."""

from __future__ import annotations

from pathlib import Path

from tests.support.page_modules import lay_out, run_node

SCRIPT = Path(__file__).with_name("layout_test.js").read_text()


def test_the_page_s_functions_do_what_they_say(tmp_path: Path) -> None:
    lay_out(tmp_path)
    lines = run_node(tmp_path, SCRIPT).splitlines()
    assert len(lines) == 9
    assert [line for line in lines if not line.startswith("ok ")] == []
