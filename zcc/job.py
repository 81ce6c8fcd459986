"""A job: one compile, written down so completely that it can run anywhere. Pure.

The job's key is the digest of its canonical bytes. Canonical means: one msgpack document, fixed field
order, everything sorted, paths as raw bytes. Whoever holds the bytes can compute the key, and a
document that is not canonical (it would encode to other bytes) is refused, so one job has one key.

Document, format 1, a msgpack array:

    [1, toolchain, executable, [argv...], cwd, [[name, value]...], machine_class, terminal,
     [[directory, [name...], digests]...],     files, grouped; digests are 32 bytes each, joined
     [[path, twin]...],                        files whose twin number is not 0
     [[path, target]...],                      symlinks
     [path...],                                directories that exist
     [[path, same_as]...],                     hard links
     [path...]]                                outputs

Format 2 is the same with two more fields: [path...], bases of dumps (zcc/dumps.py), and [path...], directories
that the command may list. A job with neither is of format 1.

All paths are absolute, physical (no symlink on the way except the last component of a symlink entry,
no `.` or `..`) and bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgpack

from cache.digest import DIGEST_SIZE, Digest, digest_of
from zcc.dumps import is_dump
from zcc.errors import JobError

JOB_FORMAT = 1
WIDER_JOB_FORMAT = 2
RESULT_FORMAT = 1

# The sandbox's own directory, which no client has; its TMPDIR lies in it.
SANDBOX_DIRECTORY = b"/.zcc"
# In place of a directory among the misses: the variables that a plugin asked for and that the job does not set.
VARIABLES = SANDBOX_DIRECTORY + b"/variables"

# Bounds that a document must keep; a real C++ compile has some hundred to a few thousand inputs.
MAX_JOB_BYTES = 8 << 20
MAX_INPUTS = 100_000
# Arguments, and three for each variable: bubblewrap takes 9,000 words with its own, Linux 2 MiB with an
# 8 MiB stack, and 128 KiB for each.
MAX_WORDS = 8_192
MAX_WORDS_BYTES = 1 << 20
MAX_WORD_BYTES = 128 << 10
MAX_RESULT_BYTES = 16 << 20
MAX_MESSAGE_BYTES = 4 << 20  # of stdout and of stderr
MAX_BLOB_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class FileInput:
    """A regular file that the command may read.

    `twin` is the time of modification that the command sees, in seconds after a fixed moment. Mostly it
    only tells apart files of equal content: within one digest, equal numbers mean equal times (gcc's
    `#pragma once` compares time, size and text), 0 when alone. Where clang reads a precompiled header, which
    holds the times of what it was made of, it is the file's own time (`cache.blobs.PLAIN_MTIME_S`).
    """

    path: bytes
    digest: Digest
    twin: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the command sees of the client's disk: sorted by path, nothing twice."""

    files: tuple[FileInput, ...] = ()
    symlinks: tuple[tuple[bytes, bytes], ...] = ()
    directories: tuple[bytes, ...] = ()
    hard_links: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal on the command's standard error, where there is one (characters)."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Job:
    """The local command, ready to be run elsewhere.

    `executable` is what is executed, `argv[0]` what it is told it is called. `environment` holds
    only the variables that can change what the command writes, sorted. `machine_class` names what the
    output depends on beyond the inputs (zcc/machine_class.py); empty where
    any machine will do. `outputs` are the files that the command may write: what it wrote comes back, and
    so do all dumps with one of the bases `dumps`. `listed` are directories that it may list: the manifest has
    all that is in them.
    """

    toolchain: Digest
    executable: bytes
    argv: tuple[bytes, ...]
    cwd: bytes
    environment: tuple[tuple[bytes, bytes], ...]
    manifest: Manifest
    outputs: tuple[bytes, ...]
    machine_class: bytes = b""
    terminal: Terminal | None = None
    dumps: tuple[bytes, ...] = ()
    listed: tuple[bytes, ...] = ()

    def declares(self, path: bytes) -> bool:
        """Whether the command may write this file."""
        return path in self.outputs or is_dump(path, self.dumps)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a compile cost. Seconds and bytes."""

    cpu_s: float
    wall_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A regular file that the command wrote; `mode` as under an empty umask."""

    path: bytes
    digest: Digest
    size_bytes: int
    mode: int


@dataclass(frozen=True, slots=True)
class Lookups:
    """What the command looked up in vain, and what it found that the job did not declare.

    `misses` is grouped: (directory as looked up, or VARIABLES, names in it), sorted. `undeclared` are paths
    found outside manifest and toolchain. `flaw` is empty, or says why the log proves nothing (a process of the
    compiler that was not logged, a full log).
    """

    misses: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()
    undeclared: tuple[bytes, ...] = ()
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What running a job gave. A negative exit status is a signal's number."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    outputs: tuple[OutputFile, ...]
    usage: Usage
    lookups: Lookups
    node: str


def encode_job(job: Job) -> bytes:
    """The canonical bytes of a job."""
    manifest = job.manifest
    document: list[object] = [
        WIDER_JOB_FORMAT if job.dumps or job.listed else JOB_FORMAT,
        job.toolchain,
        job.executable,
        job.argv,
        job.cwd,
        job.environment,
        job.machine_class,
        None if job.terminal is None else (job.terminal.rows, job.terminal.columns),
        _group(manifest.files),
        [(file.path, file.twin) for file in manifest.files if file.twin],
        manifest.symlinks,
        manifest.directories,
        manifest.hard_links,
        job.outputs,
    ]
    if job.dumps or job.listed:
        document += (job.dumps, job.listed)
    packed: bytes = msgpack.packb(document, use_bin_type=True)
    return packed


def job_key(encoded: bytes) -> Digest:
    """The key of the job with these canonical bytes."""
    return digest_of(encoded)


def decode_job(encoded: bytes) -> Job:
    """The job with these canonical bytes.

    Raises:
        JobError: not a job, of another format, out of bounds, or not canonical.
    """
    if len(encoded) > MAX_JOB_BYTES:
        raise JobError(f"a job of {len(encoded)} bytes; at most {MAX_JOB_BYTES} are taken")
    document = _unpack(encoded, "job", 14, 16)
    if document[0] != (JOB_FORMAT if len(document) == 14 else WIDER_JOB_FORMAT):
        raise JobError(
            f"job format {document[0]!r}; this program speaks {JOB_FORMAT} and {WIDER_JOB_FORMAT}"
        )
    try:
        job = _job_from(document)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise JobError(f"not a job: {error}") from error
    if encode_job(job) != encoded:
        raise JobError("a job that is not in canonical form")
    return job


def encode_result(result: Result) -> bytes:
    document = [
        RESULT_FORMAT,
        result.exit_status,
        result.stdout,
        result.stderr,
        [(out.path, out.digest, out.size_bytes, out.mode) for out in result.outputs],
        (result.usage.cpu_s, result.usage.wall_s, result.usage.peak_bytes),
        (result.lookups.misses, result.lookups.undeclared, result.lookups.flaw),
        result.node,
    ]
    packed: bytes = msgpack.packb(document, use_bin_type=True)
    return packed


def decode_result(encoded: bytes) -> Result:
    """The result with these bytes.

    Raises:
        JobError: not a result, of another format, or out of bounds.
    """
    if len(encoded) > MAX_RESULT_BYTES:
        raise JobError(f"a result of {len(encoded)} bytes; at most {MAX_RESULT_BYTES} are taken")
    document = _unpack(encoded, "result", 8)
    if document[0] != RESULT_FORMAT:
        raise JobError(f"result format {document[0]!r}; this program speaks {RESULT_FORMAT}")
    try:
        _, status, stdout, stderr, outputs, usage, lookups, node = document
        return Result(
            exit_status=_integer(status),
            stdout=_bounded(stdout),
            stderr=_bounded(stderr),
            outputs=tuple(
                OutputFile(_path(path), _digest(digest), _count(size), _count(mode) & 0o777)
                for path, digest, size, mode in outputs
            ),
            usage=Usage(float(usage[0]), float(usage[1]), _count(usage[2])),
            lookups=Lookups(
                misses=tuple((_bytes(at), tuple(map(_bytes, names))) for at, names in lookups[0]),
                undeclared=tuple(map(_bytes, lookups[1])),
                flaw=_text(lookups[2]),
            ),
            node=_text(node),
        )
    except (TypeError, ValueError, IndexError) as error:
        raise JobError(f"not a result: {error}") from error


def can_be_run(
    argv: Sequence[bytes], environment: Sequence[tuple[bytes, bytes]], share: float = 1.0
) -> bool:
    """Whether any node can start this command; `share`: with this part of what it can take."""
    sizes = [len(word) + 1 for word in argv]
    sizes += [len(name) + len(value) + 2 for name, value in environment]
    return (
        len(argv) + 3 * len(environment) <= share * MAX_WORDS
        and sum(sizes) <= share * MAX_WORDS_BYTES
        and max(sizes, default=0) <= MAX_WORD_BYTES
    )


def _group(files: Iterable[FileInput]) -> list[tuple[bytes, list[bytes], bytes]]:
    grouped = []
    for directory, members in groupby(files, key=lambda file: file.path.rpartition(b"/")[0]):
        listed = list(members)
        names = [file.path.rpartition(b"/")[2] for file in listed]
        grouped.append((directory, names, b"".join(file.digest for file in listed)))
    return grouped


def _job_from(document: list[Any]) -> Job:
    (_, toolchain, executable, argv, cwd, environment, machine_class, terminal) = document[:8]
    groups, twins, symlinks, directories, hard_links, outputs = document[8:14]
    dumps, listed = document[14:] or ((), ())
    twin_of = {_path(path): _count(twin) for path, twin in twins}
    files: list[FileInput] = []
    for directory, names, digests in groups:
        if len(digests) != DIGEST_SIZE * len(names):
            raise ValueError("digests do not match names")
        for at, name in enumerate(names):
            path = _path(_bytes(directory) + b"/" + _name(name))
            digest = Digest(digests[at * DIGEST_SIZE : (at + 1) * DIGEST_SIZE])
            files.append(FileInput(path, digest, twin_of.get(path, 0)))
    if len(files) + len(symlinks) + len(directories) + len(hard_links) > MAX_INPUTS:
        raise ValueError(f"more than {MAX_INPUTS} inputs")
    if not argv or not can_be_run(argv, environment):
        raise ValueError("a command that no system would run")
    return Job(
        toolchain=_digest(toolchain),
        executable=_path(executable),
        argv=tuple(map(_bytes, argv)),
        cwd=_path(cwd),
        environment=tuple((_bytes(name), _bytes(value)) for name, value in environment),
        machine_class=_bytes(machine_class),
        terminal=None if terminal is None else Terminal(_count(terminal[0]), _count(terminal[1])),
        manifest=Manifest(
            files=tuple(files),
            symlinks=tuple((_path(path), _bytes(target)) for path, target in symlinks),
            directories=tuple(map(_path, directories)),
            hard_links=tuple((_path(path), _path(same)) for path, same in hard_links),
        ),
        outputs=tuple(map(_path, outputs)),
        dumps=tuple(map(_path, dumps)),
        listed=tuple(map(_path, listed)),
    )


def _unpack(encoded: bytes, what: str, *fields: int) -> list[Any]:
    try:
        document = msgpack.unpackb(encoded, raw=False, use_list=True, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise JobError(f"not a {what}: {error}") from error
    if not isinstance(document, list) or len(document) not in fields:
        raise JobError(f"not a {what}: expected an array of {' or '.join(map(str, fields))}")
    return document


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes) or b"\0" in value:
        raise ValueError(f"expected bytes without NUL, found {value!r:.60}")
    return value


def _bounded(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) > MAX_MESSAGE_BYTES:
        raise ValueError("expected bytes within bounds")
    return value


def _path(value: object) -> bytes:
    """An absolute path that goes nowhere but down."""
    path = _bytes(value)
    if path == b"/":
        return path
    if not path.startswith(b"/") or any(part in _BAD_PARTS for part in path[1:].split(b"/")):
        raise ValueError(f"expected an absolute physical path, found {path!r:.60}")
    return path


_BAD_PARTS = frozenset((b"", b".", b".."))


def _name(value: object) -> bytes:
    name = _bytes(value)
    if b"/" in name:
        raise ValueError(f"expected a file name, found {name!r:.60}")
    return name


def _digest(value: object) -> Digest:
    if not isinstance(value, bytes) or len(value) != DIGEST_SIZE:
        raise ValueError("expected a digest")
    return Digest(value)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected an integer, found {value!r:.60}")
    return value


def _count(value: object) -> int:
    number = _integer(value)
    if number < 0:
        raise ValueError(f"expected a count, found {number}")
    return number


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {value!r:.60}")
    return value
