"""Packing a toolchain: a deterministic tar, compressed; and the child process that does it.

    python -m zcc.compiler.toolchain.pack COMPILER --argv0 NAME --path PATH --store DIR

prints one line of JSON: `digest`, `path`, `size_bytes`, `compressed_bytes`, `family`, `version`,
`target`, or `error` with the reason why this compiler cannot be sent elsewhere.

Format of the tar (GNU, the subset that `node/toolchains/unpack.py` takes). The same members give the same
bytes:

    .zcc/toolchain.json    first; family, version, target, drivers, directories of programs
    then the members, sorted by path, without the leading slash:
    '0' regular file, mode 0755 or 0644     '5' directory, mode 0755     '2' symlink, mode 0777
    'L' and 'K' before an entry whose name or link target is longer than 100 bytes
    owner, group and times 0; no names of owners; two blocks of zeros at the end

The digest is that of the tar; the file on disk is one zstd frame that records the tar's size.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from cache.digest import Digest, Hasher
from zcc.compiler.disk.mounts import MOUNTS
from zcc.compiler.disk.signatures import RACY_WINDOW_NS, racy_ns, signature_of_open
from zcc.compiler.toolchain.index import (
    Gathered,
    Member,
    MemberKind,
    Toolchain,
    ToolchainIndex,
    describe,
)
from zcc.compiler.toolchain.members import gather
from zcc.errors import CompilerError

METADATA_NAME = b".zcc/toolchain.json"
BLOCK_BYTES = 512
# gcc 12 takes 31 MB at level 3, 35 at level 1, for 0.35 s more CPU once per compiler update.
COMPRESSION_LEVEL = 3
_MAX_THREADS = 4
_GATHERINGS = 3
_READ_BYTES = 1 << 20
# A disk that does not take a pack; reading the compiler gives none of these.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NAME_BYTES = 100
_TYPES = {MemberKind.FILE: b"0", MemberKind.SYMLINK: b"2", MemberKind.DIRECTORY: b"5"}


@dataclass(frozen=True, slots=True)
class Packed:
    digest: Digest
    size_bytes: int
    compressed_bytes: int


def pack(gathered: Gathered, out_path: str) -> Packed:
    """Write the pack to `out_path`, which appears whole or not at all.

    Raises:
        CompilerError: a member cannot be read, or changed meanwhile.
        OSError: the disk refused.
    """
    handle, path = tempfile.mkstemp(dir=os.path.dirname(out_path), prefix="tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            digest, size = _write(gathered, file)
            compressed = file.tell()
        os.rename(path, out_path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    return Packed(digest, size, compressed)


def pack_compiler(index: ToolchainIndex, compiler: bytes, search_path: bytes) -> Toolchain:
    """Gather, pack and record the toolchain of one compiler. Takes seconds.

    Raises:
        CompilerError: this compiler cannot be sent elsewhere; the message says why.
    """
    with _locked(
        index.directory
    ):  # gcc and g++ at the start of a build: the second finds the first's
        gathered = _at_rest(compiler, search_path)
        twin = _twin_of(index, gathered)
        if twin is not None:
            toolchain = Toolchain(
                twin.digest, gathered, twin.pack_path, twin.size_bytes, twin.compressed_bytes
            )
        else:
            toolchain = _packed(index, gathered)
        index.put(compiler, search_path, toolchain)
    return toolchain


def _at_rest(compiler: bytes, search_path: bytes) -> Gathered:
    """What is gathered when the directories that were listed have been at rest for long enough.

    A record outlives its process, so that no listing in it may be racy: whoever compiles right after an
    installation waits for two seconds. Of directories that never rest the last listing is taken.
    """
    for _ in range(_GATHERINGS):
        begun_ns = time.time_ns()
        gathered = gather(compiler, search_path)
        left_ns = max((racy_ns(sign, begun_ns) for _, sign in gathered.listed), default=0)
        if left_ns <= 0:
            break
        time.sleep(min(left_ns, RACY_WINDOW_NS) / 1e9)
    return gathered


def _twin_of(index: ToolchainIndex, gathered: Gathered) -> Toolchain | None:
    """A toolchain packed before from the same files: g++ after gcc, or another PATH.

    In an image these may be others that look the same: such a toolchain is always packed.
    """
    MOUNTS.look()
    if MOUNTS.may_outlast(gathered.one_of_each_device()):
        return None
    metadata = _metadata(gathered)
    for toolchain in index.all():
        same = toolchain.members == gathered.members and _metadata(toolchain.gathered) == metadata
        if same:
            return toolchain
    return None


def _packed(index: ToolchainIndex, gathered: Gathered) -> Toolchain:
    fresh = os.path.join(index.packs_dir, f"new-{os.getpid()}")
    packed = pack(gathered, fresh)
    path = index.pack_path(packed.digest)
    os.rename(fresh, path)
    return Toolchain(packed.digest, gathered, path, packed.size_bytes, packed.compressed_bytes)


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    with open(os.path.join(directory, "lock"), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(gathered: Gathered, file: BinaryIO) -> tuple[Digest, int]:
    metadata = _metadata(gathered)
    entries = [(_header(_entry_name(member), member), member) for member in gathered.members]
    first = _header_block(METADATA_NAME, b"0", 0o644, len(metadata)) + _padded(metadata)
    size = len(first) + 2 * BLOCK_BYTES
    size += sum(len(header) + _padded_size(member.size_bytes) for header, member in entries)
    hasher = Hasher()
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, threads=threads)
    out = compressor.stream_writer(file, size=size, closefd=False)

    def put(piece: bytes) -> None:
        hasher.update(piece)
        out.write(piece)

    put(first)
    for header, member in entries:
        put(header)
        if member.size_bytes:
            for piece in _contents(member):
                put(piece)
            put(bytes(_padded_size(member.size_bytes) - member.size_bytes))
    put(bytes(2 * BLOCK_BYTES))
    # Not with `with`: after an error it would end the frame, fail at that, and hide the reason.
    out.flush(zstandard.FLUSH_FRAME)
    return hasher.digest(), size


def _contents(member: Member) -> Iterator[bytes]:
    """The file's bytes, exactly as many as its header says."""
    name = os.fsdecode(member.path)
    try:
        with open(member.path, "rb", buffering=0) as file:
            if signature_of_open(file.fileno(), member.path) != member.signature:
                raise CompilerError(f"{name} changed while it was packed")
            left = member.size_bytes
            while left:
                piece = file.read(min(left, _READ_BYTES))
                if not piece:
                    raise CompilerError(f"{name} shrank while it was packed")
                left -= len(piece)
                yield piece
            if signature_of_open(file.fileno(), member.path) != member.signature:
                raise CompilerError(f"{name} changed while it was packed")
    except OSError as error:
        raise CompilerError(f"cannot read {name}: {error.strerror}") from error


def _metadata(gathered: Gathered) -> bytes:
    """What the node needs to try the toolchain out. Paths are ASCII with surrogate escapes."""
    identity = gathered.identity
    spelled = {os.path.dirname(path) for path in gathered.programs.values()}
    directories = sorted({os.path.realpath(directory) for directory in spelled})
    document = {
        "format": 1,
        "family": identity.family.value,
        "version": identity.version,
        "target": identity.target,
        "c": os.fsdecode(gathered.programs.get("c", b"")),
        "c++": os.fsdecode(gathered.programs.get("c++", b"")),
        "path": [os.fsdecode(directory) for directory in directories],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def _entry_name(member: Member) -> bytes:
    return member.path[1:]


def _header(name: bytes, member: Member) -> bytes:
    mode = {MemberKind.SYMLINK: 0o777, MemberKind.DIRECTORY: 0o755, MemberKind.FILE: 0o644}[
        member.kind
    ]
    if member.is_executable:
        mode = 0o755
    long = b""
    if len(member.target) > _NAME_BYTES:
        long += _long(b"K", member.target)
    if len(name) > _NAME_BYTES:
        long += _long(b"L", name)
    kind = _TYPES[member.kind]
    return long + _header_block(name, kind, mode, member.size_bytes, member.target)


def _long(kind: bytes, text: bytes) -> bytes:
    header = _header_block(b"././@LongLink", kind, 0o644, len(text) + 1)
    return header + _padded(text + b"\0")


def _header_block(name: bytes, kind: bytes, mode: int, size: int, target: bytes = b"") -> bytes:
    """One header: GNU tar's manual, "Basic Tar Format"."""
    fields = (
        name[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"),
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, 0),
        b" " * 8,  # the checksum counts as blanks
        kind,
        target[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"),
        b"ustar  \0",
    )
    block = b"".join(fields).ljust(BLOCK_BYTES, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _padded_size(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _padded(data: bytes) -> bytes:
    return data.ljust(_padded_size(len(data)), b"\0")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m zcc.compiler.toolchain.pack", description=__doc__
    )
    parser.add_argument("compiler")
    parser.add_argument("--argv0", default="", help="for the log only: names do not matter")
    parser.add_argument("--path", default=os.environ.get("PATH", ""))
    parser.add_argument("--store", required=True)
    options = parser.parse_args(arguments)
    compiler = os.path.join(os.getcwdb(), os.fsencode(options.compiler))
    try:
        index = ToolchainIndex(options.store)
        toolchain = pack_compiler(index, compiler, os.fsencode(options.path))
    except (CompilerError, OSError) as error:
        document: dict[str, object] = {"error": str(error) or type(error).__name__}
        if isinstance(error, OSError) and error.errno in _FULL:
            document |= {"error": error.strerror, "is_full": True}
        print(json.dumps(document))
        return 1
    answer = describe(toolchain)
    del answer["members"], answer["programs"]
    print(json.dumps(answer | {"path": answer.pop("pack")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
