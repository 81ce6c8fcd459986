"""A toolchain: what it is made of, whether the disk still holds it so, and where its pack lies.

Owns the records in which the agent finds a compiler's toolchain again. Must not know how members are
found (`members.py`) or packed (`pack.py`): those take seconds and run in a child process.

On disk: `DIR/records/HEX`, one msgpack document for each compiler and PATH; `DIR/packs/HEX.tar.zst`,
named by the digest of the tar. Both appear by rename. A record that cannot be read is no record.

Record, format 3, a msgpack array; signatures as in `disk/signatures.py`, empty for a directory among the
members:

    [3, compiler, PATH, digest, family, version, target, size, compressed size,
     [[path, kind, signature, executable, target, stub]...],
     [absent path...], [[directory, signature]...], [[role, path]...]]
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgpack

from cache.digest import Digest, digest_of
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.mounts import MOUNTS
from zcc.compiler.disk.paths import PathWalker
from zcc.compiler.disk.signatures import (
    SIZE,
    Sightings,
    Signature,
    one_of_each_device,
    signature_at,
    signature_of,
)
from zcc.errors import CompilerError

RECORD_FORMAT = 3
# A user has a few compilers and, with virtual environments, some values of PATH.
MAX_RECORDS = 64
_MAX_RECORD_BYTES = 16 << 20


class MemberKind(Enum):
    FILE = "file"
    SYMLINK = "symlink"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a toolchain, at its physical path.

    `signature` is the entry's own, links not followed; empty for a directory, of which only existence counts.
    `target` is a symlink's literal target. A stub stands for a program that is looked for but never
    run in a compile: it is packed as an empty file.
    """

    path: bytes
    kind: MemberKind
    signature: Signature = ()
    is_executable: bool = False
    target: bytes = b""
    is_stub: bool = False

    @property
    def size_bytes(self) -> int:
        return self.signature[SIZE] if self.kind is MemberKind.FILE and not self.is_stub else 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which compiler this is. `version` is the line in which it names itself."""

    family: Family
    version: str
    target: str


_CONFIGURES = (b".cfg", b"/specs", b".spec")


@dataclass(frozen=True, slots=True)
class Gathered:
    """A toolchain before it is packed.

    `absent` are paths that would change the answer if they appeared, `listed` directories whose
    entries were read, and the loader's cache, with their signatures. `programs` are spelled as the compiler
    finds them; the roles `c` and `c++` are the drivers.
    """

    identity: Identity
    members: tuple[Member, ...]
    absent: tuple[bytes, ...]
    listed: tuple[tuple[bytes, Signature], ...]
    programs: Mapping[str, bytes] = field(hash=False)

    def is_current(self) -> bool:
        """Whether the disk still holds all of it, unchanged: one stat for each path, about 1 ms. What
        lies where a status says too little (`disk/filesystems.py`) is opened, or read."""
        return (
            all(_is_same(member) for member in self.members)
            and not any(os.path.lexists(path) for path in self.absent)
            and all(signature_at(path) == signature for path, signature in self.listed)
        )

    def one_of_each_device(self) -> Iterable[bytes]:
        """A path for each file system that a part of it lies on."""
        signed = ((member.path, member.signature) for member in self.members)
        return one_of_each_device((*signed, *self.listed))

    def watch(self, seen: Sightings) -> None:
        """Tell the sightings all that `is_current` depends on.

        For names that are links, directories or absent that is the directory which they are names in: of those
        there are a third as many, and none of them changes but with its directory.
        """
        walker = PathWalker()
        for member in self.members:
            seen.see(
                member.path if member.kind is MemberKind.FILE else os.path.dirname(member.path)
            )
        for path in self.absent:
            walked = walker.walk(path)
            for name in (*(link for link, _ in walked.symlinks), walked.missing or path):
                seen.see(os.path.dirname(name))
        for path, _ in self.listed:
            seen.see(path)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A packed toolchain. `pack_path` is a zstd frame of `compressed_bytes`, the blob `digest`."""

    digest: Digest
    gathered: Gathered
    pack_path: str
    size_bytes: int
    compressed_bytes: int

    @property
    def family(self) -> Family:
        return self.gathered.identity.family

    @property
    def version(self) -> str:
        return self.gathered.identity.version

    @property
    def target(self) -> str:
        return self.gathered.identity.target

    @property
    def members(self) -> tuple[Member, ...]:
        return self.gathered.members

    @property
    def programs(self) -> Mapping[str, bytes]:
        return self.gathered.programs

    @property
    def configurations(self) -> tuple[bytes, ...]:
        """Where the driver takes options from (clang's *.cfg, gcc's specs), whether it is there or not."""
        members = (member.path for member in self.members)
        return tuple(
            path for path in (*members, *self.gathered.absent) if path.endswith(_CONFIGURES)
        )


def describe(toolchain: Toolchain) -> dict[str, Any]:
    """A toolchain as JSON would hold it, for `zcc toolchain`. Paths that are not UTF-8 keep their
    bytes as lone surrogates."""
    return {
        "digest": toolchain.digest.hex(),
        "family": toolchain.family.value,
        "version": toolchain.version,
        "target": toolchain.target,
        "size_bytes": toolchain.size_bytes,
        "compressed_bytes": toolchain.compressed_bytes,
        "pack": toolchain.pack_path,
        "programs": {role: os.fsdecode(path) for role, path in toolchain.programs.items()},
        "members": [
            {"path": os.fsdecode(member.path), "kind": member.kind.value}
            | ({"target": os.fsdecode(member.target)} if member.kind is MemberKind.SYMLINK else {})
            | ({"size_bytes": member.size_bytes} if member.kind is MemberKind.FILE else {})
            for member in toolchain.members
        ],
    }


class ToolchainIndex:
    """The toolchains of this user's compilers. Several processes may share its directory.

    A record of what lies in an image (`disk/mounts.py`) is believed only where this process has asked for it
    since something was mounted last: to its signatures the next image's files look the same.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.packs_dir = os.path.join(directory, "packs")
        self._records_dir = os.path.join(directory, "records")
        for path in (directory, self.packs_dir, self._records_dir):
            os.makedirs(path, mode=0o700, exist_ok=True)
        self._known: dict[str, Toolchain] = {}
        # As many changes of the mounts had been seen when it was packed, or found to lie in no image.
        self._believed: dict[str, int] = {}
        self._refusals: dict[str, tuple[Signature, int, str]] = {}

    def lookup(self, compiler: bytes, environment: Mapping[bytes, bytes]) -> Toolchain | None:
        """The toolchain of the compiler at this absolute path, checked against the disk.

        None: it has to be packed (anew): run `pack_command` in a child, then look again.

        Raises:
            CompilerError: packing failed before (`refuse`), and the compiler has not changed since.
        """
        name = _record_name(compiler, environment.get(b"PATH", b""))
        changes = MOUNTS.look()
        refusal = self._refusals.get(name)
        if refusal is not None:
            signature, at, reason = refusal
            is_same = at == changes or not MOUNTS.may_be_exchanged((compiler,))
            if is_same and signature == signature_at(compiler):
                raise CompilerError(reason)
            del self._refusals[name]
        toolchain = self._known.get(name) or self._read(name)
        if toolchain is None or not _has_pack(toolchain) or not toolchain.gathered.is_current():
            self._known.pop(name, None)
            return None
        if not self._is_believed(name, toolchain, changes):
            self._known.pop(name, None)
            # A packing that fails must not leave it to be believed.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._records_dir, name))
            return None
        self._known[name] = toolchain
        return toolchain

    def _is_believed(self, name: str, toolchain: Toolchain, changes: int) -> bool:
        at = self._believed.get(name)
        if at != changes:
            places = toolchain.gathered.one_of_each_device()
            is_doubted = MOUNTS.may_outlast if at is None else MOUNTS.may_be_exchanged
            if is_doubted(places):
                return False
            self._believed[name] = changes
        return True

    def refuse(self, compiler: bytes, environment: Mapping[bytes, bytes], reason: str) -> None:
        """Remember, while this process lives, that packing this compiler failed."""
        name = _record_name(compiler, environment.get(b"PATH", b""))
        packed_at = self._believed.get(name, MOUNTS.changes)
        self._refusals[name] = (signature_at(compiler), packed_at, reason)

    def pack_command(self, compiler: bytes, argv0: bytes, search_path: bytes) -> list[bytes]:
        """The child that packs, to be run now: it prints one line of JSON and leaves a record for `lookup`."""
        self._believed[_record_name(compiler, search_path)] = MOUNTS.look()
        return [
            os.fsencode(sys.executable), b"-m", b"zcc.compiler.toolchain.pack", compiler,
            b"--argv0=" + argv0, b"--path=" + search_path,
            b"--store=" + os.fsencode(self.directory),
        ]  # fmt: skip

    def pack_path(self, digest: Digest) -> str:
        return os.path.join(self.packs_dir, digest.hex() + ".tar.zst")

    def all(self) -> Iterator[Toolchain]:
        """Every toolchain on record, current or not."""
        for name in sorted(os.listdir(self._records_dir)):
            toolchain = self._read(name)
            if toolchain is not None and _has_pack(toolchain):
                yield toolchain

    def put(self, compiler: bytes, search_path: bytes, toolchain: Toolchain) -> None:
        """Write the record down; drop the oldest records, and the packs that nobody names."""
        name = _record_name(compiler, search_path)
        encoded = _encode(compiler, search_path, toolchain)
        handle, path = tempfile.mkstemp(dir=self._records_dir, prefix="tmp-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(encoded)
            os.rename(path, os.path.join(self._records_dir, name))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        self._known[name] = toolchain
        self._sweep()

    def _read(self, name: str) -> Toolchain | None:
        try:
            with open(os.path.join(self._records_dir, name), "rb") as file:
                return _decode(file.read(_MAX_RECORD_BYTES), self)
        except (OSError, ValueError, TypeError, msgpack.UnpackException, RecursionError):
            return None

    def _sweep(self) -> None:
        paths = [os.path.join(self._records_dir, name) for name in os.listdir(self._records_dir)]
        for path in sorted(paths, key=_written_ns)[:-MAX_RECORDS]:
            with contextlib.suppress(OSError):
                os.unlink(path)
        used = {toolchain.pack_path for toolchain in self.all()}
        for name in os.listdir(self.packs_dir):
            path = os.path.join(self.packs_dir, name)
            # A temporary file may be another child's: that child holds the lock, so it is left over.
            if path not in used:
                with contextlib.suppress(OSError):
                    os.unlink(path)


def _is_same(member: Member) -> bool:
    if member.kind is not MemberKind.DIRECTORY:
        return own_signature(member.path, is_stub=member.is_stub) == member.signature
    try:
        return stat.S_ISDIR(os.lstat(member.path).st_mode)
    except OSError:
        return False


def own_signature(path: bytes, *, is_stub: bool) -> Signature:
    """A member's, links not followed; what a stub holds is nowhere used. Empty for what cannot be looked at."""
    try:
        return signature_of(os.lstat(path)) if is_stub else signature_at(path, follow=False)
    except OSError:
        return ()


def _written_ns(path: str) -> int:
    """-1 where another process has removed it."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1


def _has_pack(toolchain: Toolchain) -> bool:
    try:
        return os.stat(toolchain.pack_path).st_size == toolchain.compressed_bytes
    except OSError:
        return False


def _record_name(compiler: bytes, search_path: bytes) -> str:
    return digest_of(compiler + b"\0" + search_path).hex()


def _encode(compiler: bytes, search_path: bytes, toolchain: Toolchain) -> bytes:
    gathered = toolchain.gathered
    packed: bytes = msgpack.packb(
        [
            RECORD_FORMAT,
            compiler,
            search_path,
            toolchain.digest,
            toolchain.family.value,
            toolchain.version,
            toolchain.target,
            toolchain.size_bytes,
            toolchain.compressed_bytes,
            [_row_of(member) for member in gathered.members],
            gathered.absent,
            gathered.listed,
            list(gathered.programs.items()),
        ],
        use_bin_type=True,
    )
    return packed


def _row_of(member: Member) -> tuple[object, ...]:
    return (
        member.path, member.kind.value, member.signature,
        member.is_executable, member.target, member.is_stub,
    )  # fmt: skip


def _members_from(rows: Iterable[Any]) -> Iterator[Member]:
    for path, kind, signature, executable, target, stub in rows:
        yield Member(
            bytes(path),
            MemberKind(kind),
            tuple(signature),
            bool(executable),
            bytes(target),
            bool(stub),
        )


def _decode(encoded: bytes, index: ToolchainIndex) -> Toolchain:
    """Raises ValueError or TypeError for what is no record; our own files need no more care."""
    document = msgpack.unpackb(encoded, raw=False, use_list=True, strict_map_key=True)
    if not isinstance(document, list) or len(document) != 13 or document[0] != RECORD_FORMAT:
        raise ValueError("not a record of this format")
    _, _, _, digest, family, version, target, size, compressed = document[:9]
    members, absent, listed, programs = document[9:]
    named = Digest(bytes(digest))
    return Toolchain(
        digest=named,
        gathered=Gathered(
            identity=Identity(Family(family), str(version), str(target)),
            members=tuple(_members_from(members)),
            absent=tuple(map(bytes, absent)),
            listed=tuple((bytes(path), tuple(signature)) for path, signature in listed),
            programs={str(role): bytes(path) for role, path in programs},
        ),
        pack_path=index.pack_path(named),
        size_bytes=int(size),
        compressed_bytes=int(compressed),
    )
