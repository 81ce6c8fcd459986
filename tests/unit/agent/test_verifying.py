"""Which compiles are checked by a run here, and what the comparison says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from zcc.agent.core.discrepancy import CLOCK_GRAIN_NS
from zcc.agent.results.restore import Files
from zcc.agent.results.verifying import CheckOutcome, compare, share_of


@pytest.mark.parametrize(
    ("word", "share"),
    [
        (b"0.01", 0.01),
        (b"1", 1.0),
        (b"1%", 0.01),
        (b"7", 0.25),
        (b"-1", 0.25),
        (b"0", 0.0),
        (b"", 0.25),
        (b"yes", 0.25),
        (b"nan", 0.25),
        (b"\xff", 0.25),
    ],
)
def test_the_variable_is_a_share_or_changes_nothing(word: bytes, share: float) -> None:
    assert share_of({b"ZCC_VERIFY": word}, 0.25) == share


def test_without_the_variable_the_setting_holds() -> None:
    assert share_of({}, 0.25) == 0.25


class Compiled:
    """An object and its dependency file, as a compile here wrote them just now."""

    def __init__(self, directory: Path) -> None:
        self.begun_ns = time.time_ns()
        self.object, self.rule = directory / "x.o", directory / "x.d"
        self.object.write_bytes(b"object")
        self.rule.write_bytes(b"x.o: x.c")

    def files(self, content: bytes = b"object") -> Files:
        return [
            (os.fsencode(self.rule), 0o644, b"x.o: x.c"),
            (os.fsencode(self.object), 0o644, content),
        ]

    def outcome(self, files: Files) -> CheckOutcome:
        return compare(files, self.begun_ns, time.time_ns() + CLOCK_GRAIN_NS).outcome


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    return Compiled(tmp_path)


def test_equal_bytes_are_equal(compiled: Compiled) -> None:
    assert compiled.outcome(compiled.files()) is CheckOutcome.EQUAL


@pytest.mark.parametrize("content", [b"Object", b"objec", b"object "])
def test_one_other_byte_differs(compiled: Compiled, content: bytes) -> None:
    assert compiled.outcome(compiled.files(content)) is CheckOutcome.DIFFERS


def test_an_output_that_the_build_has_taken_away_proves_nothing(compiled: Compiled) -> None:
    compiled.object.unlink()
    assert compiled.outcome(compiled.files()) is CheckOutcome.UNSURE


def test_an_output_of_an_earlier_compile_proves_nothing(compiled: Compiled) -> None:
    os.utime(compiled.object, ns=(0, 0))
    assert compiled.outcome(compiled.files(b"other")) is CheckOutcome.UNSURE


def test_an_output_that_was_changed_after_the_compile_proves_nothing(compiled: Compiled) -> None:
    later_ns = time.time_ns() + 10**9
    os.utime(compiled.object, ns=(later_ns, later_ns))
    assert compiled.outcome(compiled.files(b"other")) is CheckOutcome.UNSURE
