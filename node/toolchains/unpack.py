"""Unpacking a toolchain that somebody else packed: trust nothing, write only below one directory.

Owns a reader for exactly the tar that `zcc/compiler/toolchain/pack.py` writes (its docstring has the format);
whatever else a tar can hold (hard links, devices, sparse files, PAX headers) is refused, not skipped.

Why nothing can be written outside: a member is made only inside a directory that an earlier member of
the same tar made, so no symlink is ever on the way; files are opened with O_EXCL and O_NOFOLLOW.
Symlinks may point anywhere: they are followed only inside the sandbox, whose root this tree becomes.
"""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from cache.digest import Digest, Hasher
from cache.errors import BlobCorruptError
from cache.eviction import BLOCK_BYTES, size_on_disk
from cache.frame import MAX_WINDOW_BYTES, frame_size
from node.errors import BadToolchainError
from node.toolchains.members import Members

METADATA_NAME = b".zcc/toolchain.json"
_OWN_PREFIX = b".zcc"
_BLOCK_BYTES = 512
_PIECE_BYTES = 1 << 20
_MAX_FRAME_HEADER_BYTES = 18  # RFC 8878, 3.1.1
_MAX_METADATA_BYTES = 64 << 10
_MAX_NAME_BYTES = 255  # of one component: NAME_MAX
_MAGIC = b"ustar  \0"
_OCTAL = re.compile(rb"[0-7]{1,11}[\0 ]*")
_UNSAFE_MODE_BITS = 0o7000

_libc = ctypes.CDLL(None, use_errno=True)  # Python has no syncfs


class UnpackError(BadToolchainError):
    """The pack is not one that a correct agent makes; the message says where."""


class RottenPackError(UnpackError):
    """The pack is not the one that was asked for: it has changed on this disk."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one toolchain may have. gcc 12: 57 entries, 82 MB; clang 14: 100, 238 MB."""

    entries: int = 20_000
    total_bytes: int = 2 << 30  # of the tar
    path_bytes: int = 4095  # PATH_MAX, without the leading slash
    # Real toolchains shrink to a third. Small packs may shrink more: they cannot fill a disk.
    ratio: int = 50
    ratio_from_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What an unpacked toolchain takes on disk (see `size_on_disk`) and consists of, and the metadata that came
    with it (JSON)."""

    entries: int
    disk_bytes: int
    metadata: bytes
    members: Members


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    kind: bytes
    is_executable: bool
    size_bytes: int
    target: bytes


def unpack(frame_path: str, digest: Digest, root: bytes, caps: Caps | None = None) -> Unpacked:
    """Unpack the zstd frame at `frame_path` as the new directory `root`, read-only.

    One pass: the digest is known when all is written, so `root` must not be used, nor renamed to
    where it would be, before this returns. After an error the caller removes what is there.

    Raises:
        UnpackError: not this digest, damaged, too large, or a member that may not be.
        OSError: the disk refused.
    """
    caps = caps or Caps()
    with open(frame_path, "rb") as file:
        stream = _Stream(file, caps)
        unpacked = _Unpacking(stream, root, caps).run()
        stream.finish(digest)
    return unpacked


class _Stream:
    """The tar's bytes: counted, hashed, and never more than the frame declared."""

    def __init__(self, file: BinaryIO, caps: Caps) -> None:
        frame_bytes = os.fstat(file.fileno()).st_size
        try:
            declared = frame_size(file.read(_MAX_FRAME_HEADER_BYTES))
        except BlobCorruptError as error:
            raise UnpackError(str(error)) from error
        if declared > caps.total_bytes:
            raise UnpackError(f"{declared} bytes; at most {caps.total_bytes} are taken")
        if declared > caps.ratio_from_bytes and declared > caps.ratio * frame_bytes:
            raise UnpackError(f"{frame_bytes} bytes that claim to become {declared}")
        file.seek(0)
        decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self._reader = decoder.stream_reader(file, read_size=_PIECE_BYTES)
        self._hasher = Hasher()
        self._left = declared

    def take(self, size: int) -> bytes:
        """The next `size` bytes, all of them."""
        pieces = []
        while size:
            piece = self._read(size)
            if not piece:
                raise UnpackError("the pack ends too early")
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip_padding(self, size_bytes: int) -> None:
        padding = -size_bytes % _BLOCK_BYTES
        if padding and self.take(padding).strip(b"\0"):
            raise UnpackError("padding that is not zero")

    def finish(self, digest: Digest) -> None:
        """Nothing but zeros may be left; then the digest has to be right."""
        while piece := self._read(_PIECE_BYTES):
            if piece.strip(b"\0"):
                raise UnpackError("data after the end of the tar")
        if self._left or self._hasher.digest() != digest:
            raise RottenPackError(f"bytes do not match their digest {digest.hex()}")

    def _read(self, size: int) -> bytes:
        try:
            # One byte more than declared is asked for at the end: a frame that goes on is a lie.
            piece = self._reader.read(min(size, self._left + 1))
        except zstandard.ZstdError as error:
            raise UnpackError(f"not a valid zstd frame: {error}") from error
        self._left -= len(piece)
        if self._left < 0:
            raise UnpackError("the pack holds more than it declares")
        self._hasher.update(piece)
        return piece


class _Unpacking:
    """One tar becoming a directory."""

    def __init__(self, stream: _Stream, root: bytes, caps: Caps) -> None:
        self._stream = stream
        self._root = root
        self._caps = caps
        self._directories = {b""}
        self._seen: set[bytes] = set()
        self._entries = 0
        self._disk_bytes = BLOCK_BYTES
        self._files: list[tuple[bytes, Digest]] = []  # below the root, with a slash in front
        self._links: list[tuple[bytes, bytes]] = []

    def run(self) -> Unpacked:
        os.mkdir(self._root, 0o700)
        metadata = self._metadata()
        while (header := self._next_header()) is not None:
            self._make(header)
        self._settle()
        members = Members(tuple(self._files), tuple(self._links))
        return Unpacked(self._entries, self._disk_bytes, metadata, members)

    def _metadata(self) -> bytes:
        header = self._next_header()
        if header is None or header.name != METADATA_NAME or header.kind != b"0":
            raise UnpackError(f"a toolchain begins with {METADATA_NAME.decode()}")
        if header.size_bytes > _MAX_METADATA_BYTES:
            raise UnpackError(f"metadata of {header.size_bytes} bytes")
        metadata = self._stream.take(header.size_bytes)
        self._stream.skip_padding(header.size_bytes)
        return metadata

    def _next_header(self) -> _Header | None:
        """The next entry with its long names put in; None at the end of the tar."""
        long_name = long_target = None
        while True:
            block = self._stream.take(_BLOCK_BYTES)
            if not block.strip(b"\0"):
                if self._stream.take(_BLOCK_BYTES).strip(b"\0") or long_name or long_target:
                    raise UnpackError("the tar ends in the middle of an entry")
                return None
            header = _parse(block)
            if header.kind == b"L" and long_name is None:
                long_name = self._long_text(header)
            elif header.kind == b"K" and long_target is None:
                long_target = self._long_text(header)
            else:
                break
        self._entries += 1
        if self._entries > self._caps.entries:
            raise UnpackError(f"more than {self._caps.entries} entries")
        return _Header(
            name=header.name if long_name is None else long_name,
            kind=header.kind,
            is_executable=header.is_executable,
            size_bytes=header.size_bytes,
            target=header.target if long_target is None else long_target,
        )

    def _long_text(self, header: _Header) -> bytes:
        if not 1 < header.size_bytes <= self._caps.path_bytes + 1:
            raise UnpackError(f"a name or target of {header.size_bytes} bytes")
        text = self._stream.take(header.size_bytes)
        self._stream.skip_padding(header.size_bytes)
        if text.find(b"\0") != len(text) - 1:
            raise UnpackError("a long name that does not end with NUL")
        return text[:-1]

    def _make(self, header: _Header) -> None:
        name = header.name
        self._check_name(name)
        path = self._root + b"/" + name
        if header.kind == b"0":
            self._write(path, header)
            return
        if header.size_bytes:
            raise UnpackError(f"{name!r} has contents, but is no regular file")
        self._disk_bytes += BLOCK_BYTES
        if header.kind == b"5":
            os.mkdir(path, 0o700)
            self._directories.add(name)
        elif header.kind == b"2":
            if not 0 < len(header.target) <= self._caps.path_bytes:
                raise UnpackError(f"symlink {name!r} has a target of {len(header.target)} bytes")
            os.symlink(header.target, path)
            self._links.append((b"/" + name, header.target))
        else:
            raise UnpackError(f"{name!r} is of type {header.kind!r}: neither file, directory, link")

    def _check_name(self, name: bytes) -> None:
        parts = name.split(b"/")
        if len(name) > self._caps.path_bytes or any(len(part) > _MAX_NAME_BYTES for part in parts):
            raise UnpackError(f"the name {name[:60]!r}... is too long")
        if any(part in (b"", b".", b"..") for part in parts):
            raise UnpackError(f"{name!r} is not a path that goes down from the root")
        if parts[0] == _OWN_PREFIX:
            raise UnpackError(f"{name!r} lies where the sandbox keeps its own files")
        if name in self._seen:
            raise UnpackError(f"{name!r} is there twice")
        if b"/".join(parts[:-1]) not in self._directories:
            raise UnpackError(f"{name!r} lies in no directory of this tar")
        self._seen.add(name)

    def _write(self, path: bytes, header: _Header) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        hasher = Hasher()
        with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0) as file:
            left = header.size_bytes
            while left:
                piece = memoryview(self._stream.take(min(left, _PIECE_BYTES)))
                left -= len(piece)
                hasher.update(piece)
                while piece:
                    piece = piece[file.write(piece) :]
            os.fchmod(file.fileno(), 0o555 if header.is_executable else 0o444)
        self._stream.skip_padding(header.size_bytes)
        self._disk_bytes += size_on_disk(header.size_bytes)
        self._files.append((b"/" + header.name, hasher.digest()))

    def _settle(self) -> None:
        """On the disk for good, then read-only.

        A tree that survives a power failure half-written would be read, found rotten and fetched anew.
        The file system is synced once: 20,000 files one by one took half a minute.

        Raises:
            OSError: the disk refused.
        """
        for name in sorted(self._directories, reverse=True):
            os.chmod(self._root + b"/" + name if name else self._root, 0o555)
        handle = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(handle):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), os.fsdecode(self._root))
        finally:
            os.close(handle)


def _parse(block: bytes) -> _Header:
    checksum = _octal(block[148:156], "checksum")
    if checksum != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise UnpackError("a header with a wrong checksum")
    if block[257:265] != _MAGIC:
        raise UnpackError(f"not the tar that zcc packs: magic {block[257:265]!r}")
    name = _text(block[:100])
    mode = _octal(block[100:108], "mode")
    if mode & _UNSAFE_MODE_BITS:
        raise UnpackError(f"{name!r} has mode {mode:o}: no setuid, setgid or sticky bits")
    return _Header(
        name=name,
        kind=block[156:157],
        is_executable=bool(mode & 0o111),
        size_bytes=_octal(block[124:136], "size"),
        target=_text(block[157:257]),
    )


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _octal(field: bytes, what: str) -> int:
    if not _OCTAL.fullmatch(field):
        raise UnpackError(f"a header whose {what} is no octal number: {field!r}")
    return int(field.rstrip(b"\0 "), 8)
