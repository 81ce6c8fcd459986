"""Which machines would write the same object."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from zcc import machine_class

needs_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86-64 only")


@pytest.fixture(autouse=True)
def forgets() -> None:
    machine_class.processor_class.cache_clear()


def say(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another program speak for the processor."""
    program = directory / "zcc"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(directory / "python"))


@pytest.mark.outside
@needs_x86
def test_a_processor_is_of_the_same_class_each_time() -> None:
    first = machine_class.processor_class()
    machine_class.processor_class.cache_clear()
    assert first.startswith(b"processor-")
    assert machine_class.processor_class() == first


@pytest.mark.outside
def test_processors_that_answer_otherwise_are_of_another_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(tmp_path, "echo one", monkeypatch)
    first = machine_class.processor_class()
    machine_class.processor_class.cache_clear()
    say(tmp_path, "echo two", monkeypatch)
    assert machine_class.processor_class() not in (first, b"")


@pytest.mark.outside
def test_a_machine_whose_cores_differ_has_no_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(tmp_path, "echo half; exit 1", monkeypatch)
    assert machine_class.processor_class() == b""


@pytest.mark.parametrize(
    ("said", "known"),
    [("i686", b"x86_64"), ("armv8l", b"aarch64"), ("x86_64", b"x86_64"), ("riscv64", b"riscv64")],
)
def test_a_machine_that_plays_32_bits_is_of_its_kernels_architecture(
    said: str, known: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=said))
    assert machine_class.architecture.__wrapped__() == known


def test_a_floating_point_class_begins_with_the_architecture() -> None:
    fp = machine_class.floating_point_class()
    assert fp.partition(b"+")[0] == machine_class.architecture()
