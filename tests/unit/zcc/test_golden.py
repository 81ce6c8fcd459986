"""Every release that has been is understood by this one, and the newest golden file is what this one says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import msgpack
import pytest

from tests import golden
from zcc import __version__, codec, messages
from zcc.job import (
    JOB_FORMAT,
    WIDER_JOB_FORMAT,
    decode_job,
    decode_result,
    encode_job,
    encode_result,
)

RELEASES = sorted(path.stem for path in golden.DIRECTORY.glob("*.json"))
FILES: dict[str, dict[str, Any]] = {
    release: json.loads(golden.path_of(release).read_text()) for release in RELEASES
}
MESSAGES = [(release, kind) for release in RELEASES for kind in FILES[release]["messages"]]
JOBS = [(release, at) for release in RELEASES for at in range(len(FILES[release]["jobs"]))]
RESULTS = [(release, at) for release in RELEASES for at in range(len(FILES[release]["results"]))]
# What a later release may say behind its fields.
UNKNOWN: tuple[Any, ...] = (7, "a reason", b"\0" * 32, None, True, 0.5, [[1, b"x"], ["y", []]])


def assert_says(value: Any, told: Any) -> None:
    """The value is as the file has it; of a record, fields that it does not name have their defaults."""
    if not is_dataclass(value):
        if isinstance(value, tuple):
            assert len(value) == len(told)
            for each, inner in zip(value, told, strict=True):
                assert_says(each, inner)
        else:
            assert golden.said(value) == told
        return
    assert told.keys() <= {field.name for field in fields(value)}
    for field in fields(value):
        found = getattr(value, field.name)
        if field.name in told:
            assert_says(found, told[field.name])
        else:
            assert field.default is not MISSING
            assert found == field.default


def begins(newer: Any, older: Any) -> bool:
    """Whether what is said now begins as it did then: a record, and those within it."""
    if not isinstance(older, list):
        return bool(newer == older)
    return len(newer) >= len(older) and all(map(begins, newer, older))


def frames_of(release: str, kind: str) -> list[bytes]:
    return [bytes.fromhex(frame) for frame in FILES[release]["messages"][kind]["frames"]]


def bytes_of(release: str, what: str, at: int) -> bytes:
    return bytes.fromhex(FILES[release][what][at]["bytes"])


def test_every_kind_is_in_the_file_of_this_release() -> None:
    assert set(FILES[__version__]["messages"]) == {kind.KIND.decode() for kind in messages.ALL}
    assert FILES[__version__]["protocol"] == messages.PROTOCOL.decode()


@pytest.mark.parametrize(("release", "kind"), MESSAGES)
def test_a_message_of_any_release_is_understood(release: str, kind: str) -> None:
    frames = frames_of(release, kind)
    message = codec.decode(frames)
    assert_says(message, FILES[release]["messages"][kind]["fields"])
    again = codec.encode(message)
    if release == __version__:
        assert again == frames, "changed: raise the version (zcc/__init__.py), then make golden"
    assert begins(msgpack.unpackb(again[2]), msgpack.unpackb(frames[2]))
    assert again[3:] == frames[3:]


@pytest.mark.parametrize(("release", "kind"), MESSAGES)
def test_a_message_with_fields_of_a_later_release_says_the_same(release: str, kind: str) -> None:
    frames = frames_of(release, kind)
    message = codec.decode(frames)
    count = len(fields(message)) - len(frames[3:])
    if len(msgpack.unpackb(frames[2])) < count:
        pytest.skip("it has more fields by now: the newest file tries it")
    for more in ((7,), UNKNOWN):
        frames_more = [*frames[:2], golden.with_more(frames[2], *more), *frames[3:]]
        assert codec.decode(frames_more) == message


@pytest.mark.parametrize(("release", "at"), JOBS)
def test_a_job_of_any_release_is_understood_and_keeps_its_key(release: str, at: int) -> None:
    encoded = bytes_of(release, "jobs", at)
    job = decode_job(encoded)
    assert_says(job, FILES[release]["jobs"][at]["fields"])
    assert encode_job(job) == encoded


@pytest.mark.parametrize(("release", "at"), JOBS)
def test_a_job_with_fields_of_a_later_release_says_the_same(release: str, at: int) -> None:
    encoded = bytes_of(release, "jobs", at)
    number, *rest = msgpack.unpackb(encoded)
    wider = [WIDER_JOB_FORMAT, *rest, *([[], []] if number == JOB_FORMAT else [])]
    for more in ((7,), UNKNOWN):
        later = golden.with_more(msgpack.packb(wider), *more)
        assert decode_job(later) == decode_job(encoded)


@pytest.mark.parametrize(("release", "at"), RESULTS)
def test_a_result_of_any_release_is_understood(release: str, at: int) -> None:
    encoded = bytes_of(release, "results", at)
    result = decode_result(encoded)
    assert_says(result, FILES[release]["results"][at]["fields"])
    if release == __version__:
        assert encode_result(result) == encoded
    for more in ((7,), UNKNOWN):
        assert decode_result(golden.with_more(encoded, *more)) == result


def test_the_file_of_a_release_is_written_once() -> None:
    before = golden.path_of(__version__).read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden"],
        cwd=golden.DIRECTORY.parents[3],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"is there" in done.stderr
    assert golden.path_of(__version__).read_bytes() == before
