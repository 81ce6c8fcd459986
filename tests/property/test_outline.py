"""A job's outline is what the whole job says, or nothing.

The invariant: for any bytes, `outline` gives None, or `decode_job` takes them and says the same. Ordinary jobs
have one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cache.digest import digest_of
from tests.property.test_codec import NAMES, PATHS, SCALARS, jobs
from zcc.bounds import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES
from zcc.errors import JobError
from zcc.job import FileInput, Job, Manifest, Terminal, decode_job, encode_job
from zcc.outline import Outline, outline

WORDS = SCALARS | st.text(max_size=4)
VALUES = WORDS | st.lists(WORDS, max_size=3)


def said_by(job: Job) -> Outline:
    inputs = dict.fromkeys(file.digest for file in job.manifest.files)
    return Outline(job.toolchain, b"".join(inputs), job.machine_class, job.outputs)


def assert_agrees(encoded: bytes) -> None:
    found = outline(encoded)
    if found is not None:
        assert found == said_by(decode_job(encoded))


@st.composite
def manifests(draw: st.DrawFn, files: tuple[FileInput, ...]) -> Manifest:
    """With symlinks, directories and hard links that mostly do not go together with the files."""
    near = [file.path for file in files] or [b"/a"]
    paths = (
        PATHS
        | st.sampled_from(near)
        | st.builds(lambda a, b: a + b"/" + b, st.sampled_from(near), NAMES)
    )
    return Manifest(
        files=files,
        symlinks=tuple(draw(st.lists(st.tuples(paths, NAMES), max_size=2))),
        directories=tuple(draw(st.lists(paths, max_size=2))),
        hard_links=tuple(draw(st.lists(st.tuples(paths, paths), max_size=1))),
    )


@given(jobs(), st.none() | st.builds(Terminal, st.integers(0, 99), st.integers(0, 99)))
def test_an_ordinary_job_has_its_outline(job: Job, terminal: Terminal | None) -> None:
    job = replace(job, terminal=terminal)
    assert outline(encode_job(job)) == said_by(job)


@given(jobs(), st.data())
def test_whatever_the_manifest_says_the_outline_agrees(job: Job, data: st.DataObject) -> None:
    job = replace(job, manifest=data.draw(manifests(job.manifest.files)))
    encoded = encode_job(job)
    assert_agrees(encoded)
    if not job.manifest.hard_links:
        try:
            decode_job(encoded)
        except JobError:
            return
        assert outline(encoded) is not None


@given(jobs(), st.data())
def test_of_damaged_bytes_there_is_no_outline_or_the_right_one(
    job: Job, data: st.DataObject
) -> None:
    encoded = bytearray(encode_job(job))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    assert_agrees(bytes(encoded))


@given(jobs(), VALUES, st.data())
def test_with_any_value_in_any_place_there_is_no_outline_or_the_right_one(
    job: Job, value: Any, data: st.DataObject
) -> None:
    document = msgpack.unpackb(encode_job(job), raw=False)
    row = document
    at = data.draw(st.integers(0, len(row) - 1))
    while isinstance(row[at], list) and row[at] and data.draw(st.booleans()):
        row = row[at]
        at = data.draw(st.integers(0, len(row) - 1))
    if data.draw(st.booleans()):
        row[at] = value
    else:
        row.insert(at, row[data.draw(st.integers(0, len(row) - 1))])
    try:
        assert_agrees(msgpack.packb(document, use_bin_type=True))
    except (OverflowError, ValueError, UnicodeEncodeError):
        return


def ordinary(*paths: bytes) -> Job:
    files = tuple(FileInput(path, digest_of(path)) for path in paths)
    return Job(digest_of(b""), b"/cc", (b"cc",), b"/", (), Manifest(files), (b"/x.o",))


@pytest.mark.parametrize(
    "path",
    [
        b"/", b"//a", b"/a/", b"/a//b", b"/./a", b"/../a", b"/a/.", b"/a/..", b"/a\0b", b"a", b"",
        b"/" + b"n" * MAX_NAME_BYTES, b"/" + b"n" * (MAX_NAME_BYTES + 1),
        b"/d" * (MAX_DEPTH - 1) + b"/x", b"/d" * MAX_DEPTH + b"/x",
        (b"/" + b"d" * 250) * 16 + b"/" + b"n" * (MAX_PATH_BYTES - 16 * 251 - 1),
        (b"/" + b"d" * 250) * 16 + b"/" + b"n" * (MAX_PATH_BYTES - 16 * 251),
        b"/.a", b"/a.", b"/...", b"/a\nb", b"/a/.\n",
    ],
)  # fmt: skip
def test_every_path_is_judged_as_the_whole_job_is(path: bytes) -> None:
    encoded = encode_job(ordinary(path))
    try:
        decode_job(encoded)
    except JobError:
        assert outline(encoded) is None
    else:
        assert outline(encoded) is not None


@given(st.sampled_from([True, 1.0, 2, 0, None, b"\1"]))
@example(True)
def test_a_job_of_no_such_format_has_none(format_number: object) -> None:
    document = msgpack.unpackb(encode_job(ordinary(b"/a")), raw=False)
    document[0] = format_number
    assert outline(msgpack.packb(document, use_bin_type=True)) is None


def test_empty_bytes_in_place_of_an_empty_list_are_not_canonical() -> None:
    for at in (5, 8, 9, 10, 11, 12):
        document = msgpack.unpackb(encode_job(ordinary()), raw=False)
        assert document[at] == []
        document[at] = b""
        assert outline(msgpack.packb(document, use_bin_type=True)) is None
