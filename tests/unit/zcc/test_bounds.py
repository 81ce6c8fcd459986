"""Every number, word and list of a message, a job and a result has a bound where it is decoded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgpack
import pytest

from cache.digest import Digest, digest_of
from zcc import bounds, codec, messages
from zcc.bounds import Length, Like, Range, hints_of, rule_of
from zcc.errors import JobError, ProtocolError
from zcc.job import (
    MAX_DIRECTORIES,
    MAX_HARD_LINKS,
    MAX_INPUTS,
    MAX_JOB_BYTES,
    MAX_MISSES,
    MAX_PATHS_BYTES,
    FileInput,
    Job,
    Lookups,
    Manifest,
    OutputFile,
    Result,
    Terminal,
    Usage,
    can_be_run,
    decode_job,
    decode_result,
    encode_job,
    encode_result,
    why_no_job,
)

D = digest_of(b"")
MANIFEST = Manifest(
    files=(FileInput(b"/p/a.c", D), FileInput(b"/p/b.h", D, 1)),
    symlinks=((b"/p/c.h", b"b.h"),),
    directories=(b"/p/out",),
    hard_links=((b"/p/d.h", b"/p/b.h"),),
)
JOB = Job(
    toolchain=D,
    executable=b"/usr/bin/cc",
    argv=(b"cc", b"-c", b"a.c"),
    cwd=b"/p",
    environment=((b"LANG", b"C"),),
    manifest=MANIFEST,
    outputs=(b"/p/a.o",),
    machine_class=b"fp",
    terminal=Terminal(24, 80),
    dumps=(b"/p/a.c",),
    listed=(b"/p/x.gch",),
)
RESULT = Result(
    exit_status=0,
    stdout=b"",
    stderr=b"warning",
    outputs=(OutputFile(b"/p/a.o", D, 1, 0o666),),
    usage=Usage(0.1, 0.2, 1 << 20),
    lookups=Lookups(misses=((b"/p", (b"x.h",)),), undeclared=(b"/q",), flaw=""),
    node="n",
)

# ---- the types ----


def unbounded(hint: Any, at: str) -> Iterator[str]:
    """Where below this type a number, a word or a list has no bound."""
    origin = get_origin(hint)
    if hint is bool or hint is Digest or hint is type(None):
        return
    if origin is Annotated:
        base, *bound = get_args(hint)
        if not isinstance(bound[0], (Range, Length, Like)):
            yield at
        if get_origin(base) is tuple:
            yield from unbounded(get_args(base)[0], at + "[]")
    elif origin in (Union, UnionType) or (origin is tuple and ... not in get_args(hint)):
        for number, inner in enumerate(get_args(hint)):
            yield from unbounded(inner, f"{at}[{number}]")
    elif isinstance(hint, type) and is_dataclass(hint):
        for name, inner in hints_of(hint).items():
            yield from unbounded(inner, f"{at}.{name}")
    else:
        yield at


@pytest.mark.parametrize("kind", [*messages.ALL, Job, Result], ids=lambda kind: kind.__name__)
def test_no_field_is_without_a_bound(kind: type) -> None:
    assert list(unbounded(kind, kind.__name__)) == []


@pytest.mark.parametrize("hint", [int, float, str, bytes, tuple[int, ...], list[int], Any])
def test_a_type_without_a_bound_has_no_rule(hint: Any) -> None:
    @dataclass(frozen=True)
    class Open:
        field: hint

    assert list(unbounded(hint, "hint")) != []
    with pytest.raises(TypeError, match="has no bound"):
        rule_of(hint)


# ---- what is beyond them, at each place of a document ----

INT64 = (1 << 63) - 1


def too_much(hint: Any, value: Any) -> Iterator[Any]:
    """Values like this one, each beyond one bound somewhere below."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, bound = get_args(hint)
        yield from _beyond(bound)
        if get_origin(base) is tuple:
            yield (value[0],) * (bound.most + 1)
            yield from ((each,) for each in too_much(get_args(base)[0], value[0]))
    elif origin in (Union, UnionType):
        # None is what such a field may be.
        yield from (each for each in too_much(get_args(hint)[0], value) if each is not None)
    elif origin is tuple:
        for at, inner in enumerate(get_args(hint)):
            for each in too_much(inner, value[at]):
                yield (*value[:at], each, *value[at + 1 :])
    elif isinstance(hint, type) and is_dataclass(hint):
        for field in fields(hint):
            for each in too_much(hints_of(hint)[field.name], getattr(value, field.name)):
                yield replace(value, **{field.name: each})


def _beyond(bound: Range | Length | Like) -> Iterator[Any]:
    if isinstance(bound, Range):
        yield from (bound.least - 1, float("nan"), float("inf"), -float("inf"), "1", None)
        if bound.most < INT64:
            yield bound.most + 1
        yield from (INT64 + 1, -INT64 - 1)
    elif isinstance(bound, Like):
        yield from (b"/" + b"x" * bound.most, b"\0", "text", 1)
        if "path" in bound.what or "name" in bound.what:
            yield b""
        if "physical" in bound.what:
            yield from (b"relative", b"/a/../b", b"/a/./b", b"//", b"/a/", b"/.", b"/..")
            yield from (b"/" + b"x" * 256, b"/x" * 201)
        if "variable" in bound.what:
            yield b"A=B"
    else:
        yield from (None, 1, b"x" * (bound.most + 1), "x" * (bound.most + 1))


def encoded_all(documents: Iterator[Any], encode: Callable[[Any], bytes]) -> Iterator[bytes]:
    for document in documents:
        # Some msgpack itself has no way to say.
        with contextlib.suppress(TypeError, AttributeError, OverflowError, ValueError):
            yield encode(document)


def test_a_job_with_anything_beyond_its_bound_is_none() -> None:
    count = 0
    for encoded in encoded_all(too_much(Job, JOB), encode_job):
        with pytest.raises(JobError):
            decode_job(encoded)
        count += 1
    assert count > 150


def test_a_result_with_anything_beyond_its_bound_is_none() -> None:
    count = 0
    results = (each for each in too_much(Result, RESULT) if len(str(each.lookups.flaw)) < 100)
    for encoded in encoded_all(results, encode_result):
        with pytest.raises(JobError):
            decode_result(encoded)
        count += 1
    assert count > 60


def test_what_is_within_them_comes_back() -> None:
    assert decode_job(encode_job(JOB)) == JOB
    assert decode_result(encode_result(RESULT)) == RESULT
    assert why_no_job(JOB) == ""


@pytest.mark.parametrize("kind", messages.ALL, ids=lambda kind: kind.__name__)
def test_a_message_with_anything_beyond_its_bound_is_refused(kind: type[messages.Message]) -> None:
    hints = hints_of(kind)
    for at, (name, hint) in enumerate(hints.items()):
        for bad in too_much(hint, _sample(hint)):
            header = [_raw(_sample(each)) for each in hints.values()]
            header[at] = _raw(bad)
            body = [header.pop()] if "body" in hints else []
            try:
                frames = [messages.PROTOCOL, kind.KIND, msgpack.packb(header), *body]
            except (OverflowError, ValueError):
                continue
            with pytest.raises(ProtocolError):
                codec.decode(frames)
            assert name


def _sample(hint: Any) -> Any:
    """A value of this type, within its bounds."""
    origin = get_origin(hint)
    if origin is Annotated:
        base = get_args(hint)[0]
        if get_origin(base) is tuple:
            return (_sample(get_args(base)[0]),)
        return {int: 0, float: 0.0, str: "x", bytes: b"x"}[base]
    if origin is tuple:
        return tuple(map(_sample, get_args(hint)))
    if hint is bool:
        return False
    if hint is Digest:
        return D
    if get_origin(hint) in (Union, UnionType):
        return _sample(get_args(hint)[0])
    return hint(*map(_sample, hints_of(hint).values()))


def _raw(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(map(_raw, value))
    if is_dataclass(value) and not isinstance(value, type):
        return [_raw(getattr(value, field.name)) for field in fields(value)]
    return value


def test_what_is_for_people_is_cut_and_not_refused() -> None:
    # An odd file name has come by os.fsdecode: half of a surrogate pair is no UTF-8.
    failed = messages.Failed(b"l", "internal", "\udcff" + "x" * 10_000)
    message = codec.decode(codec.encode(failed))
    assert isinstance(message, messages.Failed)
    assert message.detail == "?" + "x" * (bounds.MAX_REASON - 1)
    beat = codec.decode(codec.encode(messages.Beat(float("nan"))))
    assert beat == messages.Beat(0.0)
    flawed = replace(RESULT, lookups=Lookups(flaw="\udcff" * 10_000))
    assert decode_result(encode_result(flawed)).lookups.flaw == "?" * bounds.MAX_REASON


# ---- what fields are to each other ----

FILE = FileInput(b"/p/a.c", D)


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(files=(FILE, FILE)),
        Manifest(files=(FILE,), symlinks=((b"/p/a.c", b"x"),)),
        Manifest(files=(FILE,), hard_links=((b"/p/a.c", b"/p/a.c"),)),
        Manifest(files=(FILE,), directories=(b"/p/a.c",)),
        Manifest(files=(FILE, FileInput(b"/p/a.c/b", D))),
        Manifest(files=(FILE,), symlinks=((b"/p", b"/q"),)),
        Manifest(directories=(b"/p", b"/p")),
        Manifest(symlinks=((b"/s", b"t"),), hard_links=((b"/l", b"/s"),)),
        Manifest(hard_links=((b"/l", b"/none"),)),
        Manifest(files=(FileInput(b"/", D),)),
        Manifest(symlinks=((b"/s", b""),)),
    ],
)
def test_a_manifest_contradicts_itself_in_no_way(manifest: Manifest) -> None:
    with pytest.raises(JobError):
        decode_job(encode_job(replace(JOB, manifest=manifest)))


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": (b"/p/a.o", b"/p/a.o")},
        {"outputs": (b"/",)},
        {"dumps": (b"/p/a", b"/p/a")},
        {"listed": (b"/p", b"/p")},
        {"environment": ((b"A", b"1"), (b"A", b"2"))},
        {"argv": ()},
        {"argv": (b"cc", *[b"x" * 100_000] * 11)},
    ],
)
def test_the_fields_of_a_job_fit_each_other(change: dict[str, Any]) -> None:
    with pytest.raises(JobError):
        decode_job(encode_job(replace(JOB, **change)))


def test_short_names_in_a_long_directory_do_not_grow_without_bound() -> None:
    directory = b"/" + b"/".join([b"x" * 200] * 20)
    count = MAX_PATHS_BYTES // len(directory) + 1
    files = tuple(FileInput(b"%s/%d" % (directory, number), D) for number in range(count))
    encoded = encode_job(replace(JOB, manifest=Manifest(files=files)))
    assert len(encoded) < MAX_JOB_BYTES
    with pytest.raises(JobError, match="bytes of paths"):
        decode_job(encoded)


def test_the_directories_above_the_inputs_count() -> None:
    deep = tuple(b"/%d" % number + b"/x" * 190 for number in range(MAX_DIRECTORIES // 190 + 1))
    with pytest.raises(JobError, match="directories"):
        decode_job(encode_job(replace(JOB, manifest=Manifest(directories=deep))))


def test_a_small_document_of_many_empty_lists_is_none() -> None:
    # One byte on the wire, 56 in memory.
    document = msgpack.packb([1, *[[[]] * 30_000 for _ in range(13)]])
    assert len(document) < MAX_JOB_BYTES
    with pytest.raises(JobError, match="items"):
        decode_job(document)


def test_the_largest_job_that_a_bound_allows_is_one() -> None:
    files = tuple(
        FileInput(b"/p/%05d.h" % number, D) for number in range(MAX_INPUTS - MAX_HARD_LINKS)
    )
    links = tuple((b"/q/%d" % number, b"/p/00000.h") for number in range(MAX_HARD_LINKS))
    job = replace(JOB, manifest=Manifest(files=files, hard_links=links))
    assert decode_job(encode_job(job)) == job
    assert can_be_run(job.argv, job.environment)


def test_misses_are_bounded_in_all_and_not_only_in_each_directory() -> None:
    names = tuple(b"%d" % number for number in range(MAX_MISSES // 2 + 1))
    result = replace(RESULT, lookups=Lookups(misses=((b"/a", names), (b"/b", names))))
    with pytest.raises(JobError, match="misses"):
        decode_result(encode_result(result))
