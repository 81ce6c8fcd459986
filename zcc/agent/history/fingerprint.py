"""A job in short, to be compared with the next one of the same output: which thing differs first? Pure.

A fingerprint is the msgpack array

    [1, toolchain, executable, [argv...], cwd, [[name, value]...], machine_class, terminal,
     [path...], digests, [[path, target]...], [directory...], [output...], source]

`digests` are the first SHORT bytes of the inputs' digests, joined: two that differ are told apart but once in
2^64, and nothing but a report hangs on it. Who keeps it compresses it: with 500 headers to some 8 KB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import msgpack

from zcc.job import Job

FORMAT = 1
SHORT = 8
_FIELDS = 14
_HEADERS = (b".h", b".hh", b".hpp", b".hxx", b".h++", b".H", b".inc", b".inl", b".ipp", b".tcc")
# Words in the middle of two command lines that are compared one by one: it takes their product.
_MAX_COMPARED = 400


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was.

    `kind`: toolchain, compiler, option, environment, directory, machine, terminal, output, source, header,
    input (any other file), symlink, base (where the same job was to be run). `change`: changed, added or
    removed. `before` and `after` where there is a word for it.
    """

    kind: str
    name: str
    change: str = "changed"
    before: str = ""
    after: str = ""


def fingerprint_of(job: Job, source: bytes) -> bytes:
    """What of this job is kept for comparison; `source` is its path among the inputs."""
    files = job.manifest.files
    terminal = job.terminal
    document = [
        FORMAT,
        job.toolchain,
        job.executable,
        job.argv,
        job.cwd,
        job.environment,
        job.machine_class,
        None if terminal is None else (terminal.rows, terminal.columns),
        [file.path for file in files],
        b"".join([file.digest[:SHORT] for file in files]),
        job.manifest.symlinks,
        job.manifest.directories,
        job.outputs,
        source,
    ]
    packed: bytes = msgpack.packb(document, use_bin_type=True)
    return packed


def differences(before: bytes, after: bytes) -> list[Difference]:
    """What differs between two fingerprints, in the order in which it explains most: what changes the
    inputs stands before the inputs. Empty too where one of them is damaged or another version's."""
    old, new = _document(before), _document(after)
    return list(_compare(old, new)) if old and new else []


def _document(fingerprint: bytes) -> list[Any] | None:
    try:
        document = msgpack.unpackb(fingerprint, raw=False)
    except (ValueError, msgpack.UnpackException):
        return None
    is_ours = isinstance(document, list) and len(document) == _FIELDS and document[0] == FORMAT
    return document if is_ours else None


def _compare(old: list[Any], new: list[Any]) -> Iterator[Difference]:
    if old[2] != new[2] or old[3][:1] != new[3][:1]:
        yield _changed("compiler", "compiler", old[2], new[2])
    if old[1] != new[1]:
        yield Difference("toolchain", os.fsdecode(new[2]), "changed", old[1].hex(), new[1].hex())
    yield from _options(old[3][1:], new[3][1:])
    yield from _pairs("environment", dict(old[5]), dict(new[5]))
    if old[4] != new[4]:
        yield _changed("directory", "working directory", old[4], new[4])
    if old[6] != new[6]:
        yield _changed("machine", "floating-point class of the processor", old[6], new[6])
    if old[7] != new[7]:
        yield Difference("terminal", "terminal", "changed", _size(old[7]), _size(new[7]))
    yield from _inputs(old, new)
    yield from _pairs("symlink", dict(old[10]), dict(new[10]))
    yield from _names("directory", old[11], new[11])
    yield from _names("output", old[12], new[12])


def _options(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[Difference]:
    """The words of the command lines: what stands in one only, or in another's place."""
    if old == new:
        return
    head = _common(old, new)
    old, new = old[head:], new[head:]
    tail = _common(old[::-1], new[::-1])
    old, new = old[: len(old) - tail], new[: len(new) - tail]
    if max(len(old), len(new)) > _MAX_COMPARED:
        yield Difference("option", f"{len(old)} words", "changed", after=f"{len(new)} words")
        return
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        before, after = _words(old[i:j]), _words(new[k:m])
        if tag == "replace":
            yield Difference("option", after, "changed", before, after)
        elif tag == "delete":
            yield Difference("option", before, "removed", before)
        elif tag == "insert":
            yield Difference("option", after, "added", after=after)


def _common(old: Sequence[bytes], new: Sequence[bytes]) -> int:
    """How many words they begin with alike."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(old), len(new)))


def _pairs(kind: str, old: dict[bytes, bytes], new: dict[bytes, bytes]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield Difference(kind, os.fsdecode(name), "removed", os.fsdecode(old[name]))
        elif name not in old:
            yield Difference(kind, os.fsdecode(name), "added", after=os.fsdecode(new[name]))
        elif old[name] != new[name]:
            yield _changed(kind, os.fsdecode(name), old[name], new[name])


def _inputs(old: list[Any], new: list[Any]) -> Iterator[Difference]:
    """The source first, then headers: changed, added, removed."""
    before, after, source = _digests(old), _digests(new), new[13]
    changed = [path for path, digest in after.items() if before.get(path, digest) != digest]
    for path in sorted(changed, key=lambda path: (path != source, path)):
        yield Difference(_kind(path, source), os.fsdecode(path))
    for path in sorted(after.keys() - before.keys()):
        yield Difference(_kind(path, source), os.fsdecode(path), "added")
    for path in sorted(before.keys() - after.keys()):
        yield Difference(_kind(path, old[13]), os.fsdecode(path), "removed")


def _kind(path: bytes, source: bytes) -> str:
    if path == source:
        return "source"
    return "header" if path.endswith(_HEADERS) or b"/include/" in path else "input"


def _digests(document: list[Any]) -> dict[bytes, bytes]:
    joined = document[9]
    return {path: joined[at * SHORT : (at + 1) * SHORT] for at, path in enumerate(document[8])}


def _names(kind: str, old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[Difference]:
    for name in sorted({*new} - {*old}):
        yield Difference(kind, os.fsdecode(name), "added")
    for name in sorted({*old} - {*new}):
        yield Difference(kind, os.fsdecode(name), "removed")


def _changed(kind: str, name: str, old: bytes, new: bytes) -> Difference:
    return Difference(kind, name, "changed", os.fsdecode(old), os.fsdecode(new))


def _words(words: Sequence[bytes]) -> str:
    return " ".join(map(os.fsdecode, words))


def _size(terminal: Sequence[int] | None) -> str:
    return "none" if terminal is None else f"{terminal[0]}x{terminal[1]}"
