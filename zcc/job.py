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

A format says what has to be understood: who does not know it takes no such job. What a later release adds
without another number stands behind the fields of format 2, is left out where it says nothing, and changes
nothing of what the command does: who does not know it passes it over (docs/reference/protocol.md tells how it
grows).

All paths are absolute, physical (no symlink on the way except the last component of a symlink entry,
no `.` or `..`) and bytes.

Every field's type carries its bounds (zcc/bounds.py), and what fields must be to each other stands in
`_contradiction`. Whoever makes a job asks `why_no_job` before it is sent, which is what `decode_job` asks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

import msgpack

from cache.digest import DIGEST_SIZE, Digest, digest_of
from zcc.bounds import (
    MAX_REASON,
    MAX_WORD_BYTES,
    Length,
    Name,
    Path,
    Range,
    Reason,
    Seconds,
    Size,
    Spelling,
    VariableName,
    Word,
    pass_over,
    rule_of,
    sayable,
)
from zcc.dumps import MAX_DUMPS, is_dump
from zcc.errors import JobError, JobFormatError

JOB_FORMAT = 1
WIDER_JOB_FORMAT = 2
RESULT_FORMAT = 1
# How many fields a document of each has, its number among them; those of the latter two may be more.
_JOB_FIELDS, _WIDER_JOB_FIELDS, _RESULT_FIELDS = 14, 16, 8

# The sandbox's own directory, which no client has; its TMPDIR lies in it.
SANDBOX_DIRECTORY = b"/.zcc"
# In place of a directory among the misses: the variables that a plugin asked for and that the job does not set.
VARIABLES = SANDBOX_DIRECTORY + b"/variables"

# ---- bounds ----------------------------------------------------------------------------------------

# Real C++ compiles have 500 to 5,000 inputs; Chromium's largest have 8,000.
MAX_INPUTS = 32_768
# Below it lie the digests (32 bytes each), the names and 1 MiB of words.
MAX_JOB_BYTES = 4 << 20
# Of all paths when spelled out: in a document the files of one directory share it.
MAX_PATHS_BYTES = 8 << 20
# Those named and all above an input. A compile with 5,000 inputs has some 500.
MAX_DIRECTORIES = 16_384
# A header that an installation has hard-linked; ext4 takes 65,000 names of one file, and trees share it.
MAX_HARD_LINKS = 4_096
# -save-temps with every side output of one source makes a dozen; a job has one source.
MAX_OUTPUTS = 256
# Bases of dumps: one for each of -dumpdir, -dumpbase and an auxiliary name.
MAX_DUMP_BASES = 16
# Directories that a command may list: those that stand where clang looks for a header or its precompiled form.
MAX_LISTED = 256
# Arguments, and three for each variable: bubblewrap takes 9,000 words with its own, Linux 2 MiB with an
# 8 MiB stack, and 128 KiB for each.
MAX_WORDS = 8_192
MAX_WORDS_BYTES = 1 << 20
MAX_RESULT_BYTES = 16 << 20
MAX_MESSAGE_BYTES = 4 << 20  # of stdout and of stderr
MAX_BLOB_BYTES = 1 << 30
# Names looked up in vain: 60 search directories times 4,000 headers; a full log has no more.
MAX_MISSES = 262_144
MAX_MISSED_DIRECTORIES = 16_384
# What a command found undeclared: one is enough to refuse the result, some help who looks for the cause.
MAX_UNDECLARED = 1_024
# ext4 keeps times up to 2446: a file's time may lie 272 years after `cache.blobs.PLAIN_MTIME_S` (2001).
MAX_TWIN = 1 << 33
# pty(7) has 16 bits for each.
MAX_TERMINAL = 0xFFFF
# An exit status is a byte; a signal's number, below zero, is at most 64.
MAX_EXIT_STATUS, MAX_SIGNAL = 255, 64
# A document of this size has no more numbers, words and lists in it, or it is none: each takes up to 60 bytes
# of memory for one on the wire.
_MAX_JOB_ITEMS = 6 * MAX_INPUTS
_MAX_RESULT_ITEMS = 2 * MAX_MISSES

Twin = Annotated[int, Range(0, MAX_TWIN)]
ExitStatus = Annotated[int, Range(-MAX_SIGNAL, MAX_EXIT_STATUS)]
Mode = Annotated[int, Range(0, 0o777)]
Cells = Annotated[int, Range(0, MAX_TERMINAL)]
BlobSize = Annotated[int, Range(0, MAX_BLOB_BYTES)]
MachineClass = Annotated[bytes, Length(256)]
Said = Annotated[bytes, Length(MAX_MESSAGE_BYTES)]
MissesIn = tuple[Spelling, Annotated[tuple[Spelling, ...], Length(MAX_MISSES)]]


@dataclass(frozen=True, slots=True)
class FileInput:
    """A regular file that the command may read.

    `twin` is the time of modification that the command sees, in seconds after a fixed moment. Mostly it
    only tells apart files of equal content: within one digest, equal numbers mean equal times (gcc's
    `#pragma once` compares time, size and text), 0 when alone. Where clang reads a precompiled header, which
    holds the times of what it was made of, it is the file's own time (`cache.blobs.PLAIN_MTIME_S`).
    """

    path: Path
    digest: Digest
    twin: Twin = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the command sees of the client's disk: sorted by path, nothing twice."""

    files: Annotated[tuple[FileInput, ...], Length(MAX_INPUTS)] = ()
    symlinks: Annotated[tuple[tuple[Path, Spelling], ...], Length(MAX_INPUTS)] = ()
    directories: Annotated[tuple[Path, ...], Length(MAX_DIRECTORIES)] = ()
    hard_links: Annotated[tuple[tuple[Path, Path], ...], Length(MAX_HARD_LINKS)] = ()

    def every_name(self) -> tuple[FileInput, ...]:
        """The files under all of their names."""
        if not self.hard_links:
            return self.files
        digests = {file.path: file.digest for file in self.files}
        return (*self.files, *(FileInput(path, digests[at]) for path, at in self.hard_links))


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal on the command's standard error, where there is one (characters)."""

    rows: Cells
    columns: Cells


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
    executable: Path
    argv: Annotated[tuple[Word, ...], Length(MAX_WORDS, 1)]
    cwd: Path
    environment: Annotated[tuple[tuple[VariableName, Word], ...], Length(MAX_WORDS)]
    manifest: Manifest
    outputs: Annotated[tuple[Path, ...], Length(MAX_OUTPUTS)]
    machine_class: MachineClass = b""
    terminal: Terminal | None = None
    dumps: Annotated[tuple[Path, ...], Length(MAX_DUMP_BASES)] = ()
    listed: Annotated[tuple[Path, ...], Length(MAX_LISTED)] = ()

    def declares(self, path: bytes) -> bool:
        """Whether the command may write this file."""
        return path in self.outputs or is_dump(path, self.dumps)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a compile cost. Seconds and bytes."""

    cpu_s: Seconds
    wall_s: Seconds
    peak_bytes: Size


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A regular file that the command wrote; `mode` as under an empty umask."""

    path: Path
    digest: Digest
    size_bytes: BlobSize
    mode: Mode


@dataclass(frozen=True, slots=True)
class Lookups:
    """What the command looked up in vain, and what it found that the job did not declare.

    `misses` is grouped: (directory as looked up, or VARIABLES, names in it), sorted. `undeclared` are paths
    found outside manifest and toolchain. `flaw` is empty, or says why the log proves nothing (a process of the
    compiler that was not logged, a full log).
    """

    misses: Annotated[tuple[MissesIn, ...], Length(MAX_MISSED_DIRECTORIES)] = ()
    undeclared: Annotated[tuple[Spelling, ...], Length(MAX_UNDECLARED)] = ()
    flaw: Reason = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What running a job gave. A negative exit status is a signal's number."""

    exit_status: ExitStatus
    stdout: Said
    stderr: Said
    outputs: Annotated[tuple[OutputFile, ...], Length(MAX_OUTPUTS + MAX_DUMPS)]
    usage: Usage
    lookups: Lookups
    node: Name


def encode_job(job: Job, unknown: Sequence[Any] = ()) -> bytes:
    """The canonical bytes of a job; `unknown` are the fields that a later release has added to it."""
    files = job.manifest.files
    twins = [(file.path, file.twin) for file in files if file.twin]
    return encode_document(job, _group(files), twins, unknown)


def encode_document(
    job: Job, groups: Sequence[Any], twins: Sequence[Any], unknown: Sequence[Any] = ()
) -> bytes:
    """The canonical bytes of a job whose files are these, in groups and with their times, whatever is in it."""
    manifest = job.manifest
    is_wider = bool(job.dumps or job.listed or unknown)
    document: list[object] = [
        WIDER_JOB_FORMAT if is_wider else JOB_FORMAT,
        job.toolchain,
        job.executable,
        job.argv,
        job.cwd,
        job.environment,
        job.machine_class,
        None if job.terminal is None else (job.terminal.rows, job.terminal.columns),
        groups,
        twins,
        manifest.symlinks,
        manifest.directories,
        manifest.hard_links,
        job.outputs,
    ]
    if is_wider:
        document += (job.dumps, job.listed, *unknown)
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
    document = unpack_job(encoded)
    is_narrow = len(document) == _JOB_FIELDS
    if document[0] != (JOB_FORMAT if is_narrow else WIDER_JOB_FORMAT):
        raise JobFormatError(
            f"job format {document[0]!r:.40}; this program speaks {JOB_FORMAT} and {WIDER_JOB_FORMAT}"
        )
    unknown = document[_WIDER_JOB_FIELDS:]
    try:
        pass_over(unknown)
        job = job_from(document)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise JobError(f"not a job: {error}") from error
    if why := why_no_job(job):
        raise JobError(f"not a job: {why}")
    if encode_job(job, unknown) != encoded:
        raise JobError("a job that is not in canonical form")
    return job


def unpack_job(encoded: bytes) -> list[Any]:
    """The document, whatever its fields hold.

    Raises:
        JobError: it is none.
    """
    document = _unpack(encoded, "job", _JOB_FIELDS, MAX_INPUTS, _MAX_JOB_ITEMS)
    if _JOB_FIELDS < len(document) < _WIDER_JOB_FIELDS:
        raise JobError(f"not a job: {len(document)} fields")
    return document


def why_no_job(job: Job) -> str:
    """Which bound this job breaks; empty when it may be sent."""
    try:
        _JOB.judge(job)
    except ValueError as error:
        return str(error)
    if not can_be_run(job.argv, job.environment):
        return "a command that no system would run"
    return _contradiction(job) or contradiction_in(job.manifest)


def contradiction_in(manifest: Manifest) -> str:
    """Why no directory tree can be as this manifest says; empty when one can."""
    files = {file.path for file in manifest.files}
    links = [path for path, _ in manifest.symlinks]
    links += [path for path, _ in manifest.hard_links]
    leaves = files.union(links)
    count = len(manifest.files) + len(links)
    if count != len(leaves) or len(set(manifest.directories)) != len(manifest.directories):
        return "a path is named twice in the manifest"
    if count + len(manifest.directories) > MAX_INPUTS:
        return f"more than {MAX_INPUTS} inputs"
    if b"/" in leaves:
        return "/ cannot be an input"
    above = {path.rpartition(b"/")[0] for path in leaves}
    directories = with_ancestors(above.union(manifest.directories), MAX_DIRECTORIES)
    if len(directories) > MAX_DIRECTORIES:
        return f"more than {MAX_DIRECTORIES} directories"
    for path in leaves & directories:
        return f"{path!r:.200} is a file and a directory in the manifest"
    for _, same_as in manifest.hard_links:
        if same_as not in files:
            return f"{same_as!r:.200}, a hard link's other name, is no file"
    return ""


def _contradiction(job: Job) -> str:
    """What a job's other fields may not be to each other."""
    for what, paths in (("outputs", job.outputs), ("dumps", job.dumps), ("listed", job.listed)):
        if len(set(paths)) != len(paths):
            return f"a path is named twice in {what}"
    if b"/" in job.outputs or b"/" in job.dumps:
        return "/ cannot be an output"
    names = {name for name, _ in job.environment}
    return "" if len(names) == len(job.environment) else "a variable is set twice"


def with_ancestors(paths: Iterable[bytes], most: int) -> set[bytes]:
    """These directories and all above them; it ends soon after there are too many."""
    known: set[bytes] = set()
    for path in paths:
        while path not in known and path not in (b"", b"/"):
            known.add(path)
            path = path.rpartition(b"/")[0]
        if len(known) > most:
            break
    return known


def encode_result(result: Result) -> bytes:
    document = [
        RESULT_FORMAT,
        result.exit_status,
        result.stdout,
        result.stderr,
        [(out.path, out.digest, out.size_bytes, out.mode) for out in result.outputs],
        (result.usage.cpu_s, result.usage.wall_s, result.usage.peak_bytes),
        (
            result.lookups.misses,
            result.lookups.undeclared,
            sayable(result.lookups.flaw[:MAX_REASON]),
        ),
        sayable(result.node),
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
    document = _unpack(encoded, "result", _RESULT_FIELDS, MAX_MISSES, _MAX_RESULT_ITEMS)
    if document[0] != RESULT_FORMAT:
        raise JobFormatError(
            f"result format {document[0]!r:.40}; this program speaks {RESULT_FORMAT}"
        )
    try:
        result: Result = _RESULT.read(document[1:])
    except ValueError as error:
        raise JobError(f"not a result: {error}") from error
    if why := why_no_result(result):
        raise JobError(f"not a result: {why}")
    return result


def why_no_result(result: Result) -> str:
    """Which bound this result breaks in what its fields are to each other; empty when none."""
    if len({file.path for file in result.outputs}) != len(result.outputs):
        return "an output is named twice"
    if b"/" in [file.path for file in result.outputs]:
        return "/ cannot be an output"
    if sum(len(names) for _, names in result.lookups.misses) > MAX_MISSES:
        return f"more than {MAX_MISSES} misses"
    return ""


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


def job_from(document: list[Any]) -> Job:
    """The job as it is written, whatever its fields hold: `why_no_job` judges them."""
    (_, toolchain, executable, argv, cwd, environment, machine_class, terminal) = document[:8]
    groups, twins, symlinks, directories, hard_links, outputs = document[8:_JOB_FIELDS]
    dumps, listed = document[_JOB_FIELDS:_WIDER_JOB_FIELDS] or ((), ())
    return Job(
        toolchain=toolchain,
        executable=executable,
        argv=tuple(argv),
        cwd=cwd,
        environment=tuple(map(tuple, environment)),
        machine_class=machine_class,
        terminal=None if terminal is None else Terminal(*terminal),
        manifest=Manifest(
            files=tuple(_files(groups, dict(twins))),
            symlinks=tuple(map(tuple, symlinks)),
            directories=tuple(directories),
            hard_links=tuple(map(tuple, hard_links)),
        ),
        outputs=tuple(outputs),
        dumps=tuple(dumps),
        listed=tuple(listed),
    )


def _files(groups: list[Any], twins: dict[Any, Any]) -> list[FileInput]:
    files: list[FileInput] = []
    left_bytes = MAX_PATHS_BYTES
    twin_of = twins.get
    for directory, names, digests in groups:
        # Before they are spelled out: names are short, and their directory may not be.
        left_bytes -= len(names) * len(directory) + sum(map(len, names))
        if left_bytes < 0 or len(files) + len(names) > MAX_INPUTS:
            raise ValueError(f"more than {MAX_INPUTS} inputs, or {MAX_PATHS_BYTES} bytes of paths")
        if type(digests) is not bytes or len(digests) != DIGEST_SIZE * len(names):
            raise ValueError("digests do not match names")
        prefix = directory + b"/"
        at = 0
        for name in names:
            path = prefix + name
            digest = Digest(digests[at : at + DIGEST_SIZE])
            files.append(FileInput(path, digest, twin_of(path, 0)))
            at += DIGEST_SIZE
    return files


def _unpack(encoded: bytes, what: str, least: int, most_items: int, most_in_all: int) -> list[Any]:
    left = most_in_all

    def count(items: list[Any]) -> list[Any]:
        nonlocal left
        left -= 1 + len(items)
        if left < 0:
            raise ValueError(f"more than {most_in_all} items")
        return items

    try:
        document = msgpack.unpackb(
            encoded, raw=False, use_list=True, strict_map_key=True, max_map_len=0,
            max_array_len=most_items, list_hook=count,
        )  # fmt: skip
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise JobError(f"not a {what}: {error}") from error
    if not isinstance(document, list) or len(document) < least:
        raise JobError(f"not a {what}: expected an array of {least} or more")
    return document


_JOB = rule_of(Job)
_RESULT = rule_of(Result)
