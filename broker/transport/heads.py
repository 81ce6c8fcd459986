"""What the broker reads out of jobs, results and blobs, in its loop or in its worker. No state.

A body is unpacked, checked against its key and decoded; what scheduling needs of it is all that stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cache.blobs import pieces_of
from cache.digest import DIGEST_SIZE, Digest, digest_of
from cache.errors import BlobCorruptError
from cache.frame import decompress
from zcc.dumps import MAX_DUMPS, dump_bases
from zcc.errors import ProtocolError
from zcc.holding import shown_by
from zcc.job import MAX_JOB_BYTES, MAX_RESULT_BYTES, decode_job, decode_result
from zcc.outline import outline

# A tenth of a second, from zstd frames.
MAX_READ_BYTES = 64 << 20
# Of the digest of a path: nobody finds another path with the same.
MARK_BYTES = 16


@dataclass(frozen=True, slots=True)
class JobHead:
    """`inputs` are the digests of its files one after the other, nothing twice. `declared` is what it may
    write, the output that each result has first: marks one after the other."""

    toolchain: bytes
    inputs: bytes
    machine_class: bytes
    most_outputs: int
    declared: bytes


@dataclass(frozen=True, slots=True)
class ResultHead:
    """`outputs` are their digests one after the other, nothing twice. `written` has for each path the marks of
    which one has to be declared."""

    exit_status: int
    outputs: bytes
    written: tuple[bytes, ...]
    is_sound: bool
    cpu_s: float
    wall_s: float
    peak_bytes: int


def read_job(body: bytes, key: bytes) -> JobHead:
    """
    Raises:
        ProtocolError: not a job, or another than the key names.
    """
    encoded = _plain(body, MAX_JOB_BYTES)
    if digest_of(encoded) != key:
        raise ProtocolError("its bytes do not match its key")
    found = outline(encoded)
    if found is not None:
        outputs, declared = found.outputs, _marks(found.outputs)
        return JobHead(found.toolchain, found.inputs, found.machine_class, len(outputs), declared)
    job = decode_job(encoded)
    return JobHead(
        toolchain=job.toolchain,
        inputs=b"".join(dict.fromkeys(file.digest for file in job.manifest.files)),
        machine_class=job.machine_class,
        most_outputs=len(job.outputs) + (MAX_DUMPS if job.dumps else 0),
        declared=_marks([*job.outputs, *map(_as_base, job.dumps)]),
    )


def read_result(body: bytes) -> ResultHead:
    """
    Raises:
        ProtocolError: not a result.
    """
    result = decode_result(_plain(body, MAX_RESULT_BYTES))
    return ResultHead(
        exit_status=result.exit_status,
        outputs=b"".join(dict.fromkeys(output.digest for output in result.outputs)),
        written=tuple(
            _marks([output.path, *map(_as_base, dump_bases(output.path))])
            for output in result.outputs
        ),
        is_sound=not (result.lookups.flaw or result.lookups.undeclared),
        cpu_s=result.usage.cpu_s,
        wall_s=result.usage.wall_s,
        peak_bytes=result.usage.peak_bytes,
    )


def is_as_declared(declared: bytes, head: ResultHead) -> bool:
    """Whether an agent could take this result: all that it has written is declared by the job, and the job's
    output is among it, where it says that it went well."""
    marks, written = set(_split_marks(declared)), list(map(_split_marks, head.written))
    if any(marks.isdisjoint(each) for each in written):
        return False
    first = declared[:MARK_BYTES]
    return head.exit_status != 0 or not first or any(first == each[0] for each in written)


def _as_base(base: bytes) -> bytes:
    """A base of dumps, as no path is."""
    return base + b"\0"


def _marks(paths: Iterable[bytes]) -> bytes:
    """What is kept of them, since a hundred thousand jobs may have 256 long ones each."""
    return b"".join(digest_of(path)[:MARK_BYTES] for path in paths)


def _split_marks(joined: bytes) -> list[bytes]:
    return [joined[at : at + MARK_BYTES] for at in range(0, len(joined), MARK_BYTES)]


@dataclass(slots=True)
class Shown:
    """What shows that one holds blobs; those that are too large for it, and what was read to find that out."""

    values: dict[Digest, bytes] = field(default_factory=dict)
    too_large: list[Digest] = field(default_factory=list)
    read_bytes: int = 0


def shown_values(
    directory: str, digests: Iterable[Digest], key: bytes, limit_bytes: int = 0
) -> Shown:
    """What shows that one holds these blobs, of those that the store in this directory holds itself.

    One request may have `limit_bytes` read, by default MAX_READ_BYTES: others wait. It ends soon after more was
    read. Blobs of more than MAX_READ_BYTES are sent by each key that uses them.
    """
    limit_bytes = limit_bytes or MAX_READ_BYTES
    shown = Shown()
    for digest in digests:
        try:
            pieces = []
            size = 0
            for piece in pieces_of(directory, digest):
                size += len(piece)
                shown.read_bytes += len(piece)
                if shown.read_bytes > limit_bytes:
                    if size > MAX_READ_BYTES:
                        shown.too_large.append(digest)
                    return shown
                pieces.append(piece)
            shown.values[digest] = shown_by(pieces, key)
        except (OSError, BlobCorruptError):
            continue
    return shown


def split_digests(joined: bytes) -> list[Digest]:
    starts = range(0, len(joined), DIGEST_SIZE)
    return [Digest(joined[at : at + DIGEST_SIZE]) for at in starts]


def _plain(frame: bytes, limit_bytes: int) -> bytes:
    try:
        return decompress(frame, limit_bytes)
    except BlobCorruptError as error:
        raise ProtocolError(str(error)) from error
