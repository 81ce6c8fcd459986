"""A log's lines: whatever words a record has, it is one printable line, in every log that zcc keeps."""

from __future__ import annotations

import io
import logging
import logging.handlers
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcc.agent.main import _log_to
from zcc.logs import INDENT, OneLine, log_to, warn_in_lines

ROOT = Path(__file__).parents[3]
LAYOUT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
HOSTILE = (
    "x)\n2026-11-30 18:50:00,000 ERROR broker.results.auditor: a node is at fault\n"
    "\x1b[2J\x1b]0;owned\x07\r\x85\u2028\u202etxt.\x00\udcff("
)
# What makes a handler or gives it a look: only zcc/logs.py does.
ATTACHED = re.compile(r"basicConfig|addHandler|setFormatter|logging\.Formatter|lastResort|setLog")


@contextmanager
def beginning() -> Iterator[None]:
    """The process as it is before a program has begun; it is put back as it was."""
    root, last = logging.getLogger(), logging.lastResort
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        yield
    finally:
        for each in root.handlers:
            each.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        if last is not None:
            last.setFormatter(None)


def log_all(text: str) -> None:
    """One record with this text as what is told, one as its own format, and one with it in a traceback."""
    logger = logging.getLogger("tested")
    logger.warning("a member says %s", text)
    logger.warning(text.replace("%", ""))
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("failed on %s", text, stack_info=True)


def check(lines: str) -> None:
    """Three records are three lines, but for what is indented below the last."""
    assert lines.endswith("\n")
    told = lines[:-1].split("\n")
    assert all(line.isprintable() for line in told)
    assert len([line for line in told if not line.startswith(INDENT)]) == 3
    assert any(line.startswith(f"{INDENT}ValueError: ") for line in told)


def test_every_handler_of_the_three_programs_is_made_in_one_place() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("cache", "zcc", "broker", "node")
        for path in (ROOT / folder).rglob("*.py")
        if ATTACHED.search(path.read_text())
    ]
    assert found == ["zcc/logs.py"]


def test_hostile_words_stay_in_their_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with beginning():
        log_to(logging.StreamHandler(), logging.INFO, LAYOUT)
        log_all(HOSTILE)
    check(capsys.readouterr().err)


def test_and_in_an_agents_log(tmp_path: Path) -> None:
    with beginning():
        _log_to(str(tmp_path / "agent.log"), "info")
        log_all(HOSTILE)
    check((tmp_path / "agent.log").read_bytes().decode())


def test_and_where_a_command_keeps_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    with beginning():
        warn_in_lines()
        log_all(HOSTILE)
    check(capsys.readouterr().err)


def test_and_when_another_handler_has_formatted_the_record_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`logging` keeps a traceback's text in the record, for the next formatter."""
    others = logging.StreamHandler(io.StringIO())
    with beginning():
        logging.getLogger().addHandler(others)
        ours = logging.StreamHandler(sys.stderr)
        ours.setFormatter(OneLine(LAYOUT))
        logging.getLogger().addHandler(ours)
        log_all(HOSTILE)
    check(capsys.readouterr().err)


@given(st.text(st.characters(codec=None), min_size=1))
def test_any_text_is_one_line(text: str) -> None:
    record = logging.LogRecord("tested", logging.INFO, "", 0, "%s", (text,), None)
    line = OneLine(LAYOUT).format(record)
    assert line.isprintable()
    assert line.endswith("".join(each if each.isprintable() else "?" for each in text))
