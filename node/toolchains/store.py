"""The toolchains of a node: unpacked, kept while they are used, evicted when there are too many.

On disk: `DIR/HEX/root/` is a layer of the sandbox's root, `DIR/HEX/toolchain.json` what came with it,
`DIR/HEX/members` what it consists of (`node/toolchains/members.py`); `DIR/tmp/` holds what is on its way in or
out and is emptied at the start. A toolchain appears and leaves by rename of `DIR/HEX`, whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from cache.digest import DIGEST_SIZE, Digest, digest_of
from cache.eviction import BLOCK_BYTES, StoreEntry, choose_victims, is_use_news, size_on_disk
from node.errors import BadToolchainError, QuotaError, ToolchainError
from node.sandbox.command_line import view_toolchain
from node.sandbox.wiping import wipe, wipe_later
from node.toolchains.members import Members, decode_members, encode_members
from node.toolchains.unpack import Caps, unpack
from zcc.job import FileInput, Job, Manifest

_METADATA_FILE = "toolchain.json"
_METADATA_FORMAT = 1
_MEMBERS_FILE = "members"
# A toolchain's last use is written down at most this often.
_TOUCH_AFTER_S = 60.0
SELF_TEST_CWD = b"/zcc-self-test"
# Includes nothing: it has to compile with the toolchain alone. The target's word size does not matter.
SELF_TEST_SOURCE = b"int zcc_self_test(int x) { return 6 * x; }\n"


@dataclass(frozen=True, slots=True)
class About:
    """What a toolchain says of itself. `c` and `cxx` are its drivers, either may be empty."""

    family: str
    version: str
    target: str
    c: bytes
    cxx: bytes
    search_path: bytes


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A compile that any good toolchain does: exit 0, and `output` is there and not empty.

    `source` is the contents of its one input.
    """

    job: Job
    source: bytes
    output: bytes


class ToolchainStore:
    """Toolchains below one directory, with a size limit in bytes of what they take on disk. For one process;
    safe to use from several threads."""

    def __init__(self, directory: str, limit_bytes: int, caps: Caps | None = None) -> None:
        self.directory = os.path.abspath(directory)
        self._tmp_dir = os.path.join(self.directory, "tmp")
        self._limit_bytes = limit_bytes
        self._caps = caps
        # Held while it is decided what is here, and while something comes or goes by rename.
        self._lock = threading.RLock()
        self._leases: Counter[Digest] = Counter()
        self._members: dict[Digest, Members] = {}
        # Condemned while they were used: what they were renamed to, until nobody uses them.
        self._graves: dict[Digest, list[str]] = {}
        os.makedirs(self._tmp_dir, mode=0o700, exist_ok=True)
        for left in os.listdir(self._tmp_dir):
            wipe(os.fsencode(os.path.join(self._tmp_dir, left)))
        self._sizes = dict(self._found())
        self.sweep()  # the limit may be another than it was

    @property
    def size_bytes(self) -> int:
        with self._lock:
            return sum(self._sizes.values())

    def has(self, digest: Digest) -> bool:
        return digest in self._sizes and os.path.isdir(self.root_of(digest))

    def root_of(self, digest: Digest) -> bytes:
        """Where this toolchain's tree lies if the store holds it; a lower layer, never written."""
        return os.fsencode(os.path.join(self._place(digest), "root"))

    def about(self, digest: Digest) -> About:
        """What the toolchain says of itself.

        Raises:
            ToolchainError: it is not here, or says nothing that can be read.
        """
        try:
            with open(os.path.join(self._place(digest), _METADATA_FILE), "rb") as file:
                return read_about(file.read())
        except OSError as error:
            raise ToolchainError(f"toolchain {digest.hex()} is not here") from error

    def members(self, digest: Digest) -> Members:
        """What the toolchain consists of.

        Raises:
            ToolchainError: it is not here, or the list is rotten.
        """
        found = self._members.get(digest)
        if found is None:
            try:
                with open(os.path.join(self._place(digest), _MEMBERS_FILE), "rb") as file:
                    found = self._members[digest] = decode_members(file.read())
            except OSError as error:
                raise ToolchainError(f"toolchain {digest.hex()} is not here") from error
        return found

    def condemn(self, digest: Digest) -> None:
        """It is not what it was: it is not here any more. Who uses it may go on until it is released.

        Raises:
            OSError: it cannot be moved away.
        """
        with self._lock:
            grave = self._bury(digest)
            if grave is not None:
                self._graves.setdefault(digest, []).append(grave)
                self._fill_graves(digest)

    def _bury(self, digest: Digest) -> str | None:
        """It is not here any more; where it lies now, to be wiped. The lock is held."""
        self._sizes.pop(digest, None)
        self._members.pop(digest, None)
        place = self._place(digest)
        if not os.path.lexists(place):
            return None
        os.makedirs(self._tmp_dir, mode=0o700, exist_ok=True)
        grave = tempfile.mkdtemp(dir=self._tmp_dir)
        os.rename(place, os.path.join(grave, "old"))
        return grave

    def _fill_graves(self, digest: Digest) -> None:
        if not self.is_used(digest):
            for grave in self._graves.pop(digest, ()):
                wipe_later(os.fsencode(grave))

    def check_room(self, size_bytes: int) -> None:
        """
        Raises:
            QuotaError: a toolchain of so many bytes on disk is more than all that may lie here.
        """
        if size_bytes > self._limit_bytes:
            raise QuotaError(
                f"the toolchain has {size_bytes >> 20} MiB, and this node keeps {self._limit_bytes >> 20} MiB"
                f" of toolchains: zcc-node serve --cache-size {2 * size_bytes + (1 << 20) >> 20}M or more"
            )

    def install(self, digest: Digest, frame_path: str) -> None:
        """Verify and unpack a toolchain. Takes a second or two: call it beside the loop.

        Makes room among those that nobody uses. Installing what is there already does nothing.

        Raises:
            BadToolchainError: the pack is not a good toolchain; nothing is kept of it.
            QuotaError: it takes more on disk than all that may lie here.
            OSError: the disk refused.
        """
        if self.has(digest):
            return
        os.makedirs(self._tmp_dir, mode=0o700, exist_ok=True)  # whoever cleans up may have taken it
        fresh = tempfile.mkdtemp(dir=self._tmp_dir)
        try:
            os.chown(fresh, -1, os.getegid())  # a setgid directory above would give its own group
            root = os.fsencode(os.path.join(fresh, "root"))
            unpacked = unpack(frame_path, digest, root, self._caps)
            try:
                read_about(unpacked.metadata)
                view_toolchain(root)
            except ToolchainError as error:
                raise BadToolchainError(str(error)) from error
            self.check_room(unpacked.disk_bytes)
            _write(os.path.join(fresh, _METADATA_FILE), unpacked.metadata)
            _write(os.path.join(fresh, _MEMBERS_FILE), encode_members(unpacked.members))
            with self._lock:
                damaged = self._bury(digest)
                os.rename(fresh, self._place(digest))
                self._sizes[digest] = unpacked.disk_bytes
                self.acquire(digest)
        except BaseException:
            wipe(os.fsencode(fresh))
            raise
        try:
            if damaged is not None:
                wipe(os.fsencode(damaged))
            self.sweep()
        finally:
            self.release(digest)

    def acquire(self, digest: Digest) -> None:
        """This toolchain is in use, once more: it stays until released as often.

        Raises:
            ToolchainError: it is not here (any more): fetch it.
        """
        with self._lock:
            if not self.has(digest):
                raise ToolchainError(f"toolchain {digest.hex()} is not here")
            self._leases[digest] += 1
        self._touch(digest)

    def release(self, digest: Digest) -> None:
        with self._lock:
            assert self._leases[digest] > 0, "released more often than acquired"
            self._leases[digest] -= 1
            if not self._leases[digest]:
                del self._leases[digest]
                self._fill_graves(digest)

    @contextlib.contextmanager
    def lease(self, digest: Digest) -> Iterator[None]:
        self.acquire(digest)
        try:
            yield
        finally:
            self.release(digest)

    def is_used(self, digest: Digest) -> bool:
        return self._leases[digest] > 0

    def remove(self, digest: Digest) -> bool:
        """Remove a toolchain unless it is in use; whether it is gone."""
        with self._lock:
            if self.is_used(digest):
                return False
            grave = self._bury(digest)
        if grave is not None:
            wipe(os.fsencode(grave))
        return True

    def sweep(self) -> int:
        """Remove the least recently used ones beyond the limit; returns how many left.

        Those in use count towards the limit, but stay.
        """
        with self._lock:
            sizes = list(self._sizes.items())
        now_s = time.time()
        entries = [
            StoreEntry(digest, size, now_s if self.is_used(digest) else self._last_use_s(digest))
            for digest, size in sizes
        ]
        return sum(map(self.remove, choose_victims(entries, self._limit_bytes, now_s)))

    def _place(self, digest: Digest) -> str:
        return os.path.join(self.directory, digest.hex())

    def _touch(self, digest: Digest) -> None:
        with contextlib.suppress(OSError):
            if is_use_news(self._last_use_s(digest), time.time(), _TOUCH_AFTER_S):
                os.utime(self._place(digest))

    def _last_use_s(self, digest: Digest) -> float:
        try:
            return os.stat(self._place(digest)).st_mtime
        except OSError:
            return 0.0

    def _found(self) -> Iterator[tuple[Digest, int]]:
        for name in os.listdir(self.directory):
            place = os.path.join(self.directory, name)
            # Without a list of its members, as an older zcc left it, nobody can say what it should be.
            if os.path.isfile(os.path.join(place, _MEMBERS_FILE)):
                with contextlib.suppress(ValueError):
                    digest = bytes.fromhex(name)
                    if len(digest) == DIGEST_SIZE:
                        yield Digest(digest), _tree_bytes(os.path.join(place, "root"))


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_about(metadata: bytes) -> About:
    """The metadata of a toolchain (`zcc/compiler/toolchain/pack.py` writes it).

    Raises:
        ToolchainError: not such metadata.
    """
    try:
        document = json.loads(metadata)
        if document["format"] != _METADATA_FORMAT:
            raise ValueError(f"format {document['format']!r}")
        about = About(
            family=str(document["family"]),
            version=str(document["version"]),
            target=str(document["target"]),
            c=_driver(document["c"]),
            cxx=_driver(document["c++"]),
            search_path=b":".join(os.fsencode(path) for path in document["path"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ToolchainError(f"metadata of a toolchain that cannot be read: {error}") from error
    if not about.c and not about.cxx:
        raise ToolchainError("a toolchain without a driver")
    return about


def self_test(digest: Digest, about: About) -> SelfTest:
    """The known-answer test of a toolchain: it compiles one function that includes nothing."""
    driver = about.c or about.cxx
    source, output = SELF_TEST_CWD + b"/a.c", SELF_TEST_CWD + b"/a.o"
    job = Job(
        toolchain=digest,
        executable=driver,
        argv=(driver, b"-nostdinc", b"-O1", b"-c", b"a.c", b"-o", b"a.o"),
        cwd=SELF_TEST_CWD,
        environment=((b"LC_ALL", b"C"), (b"PATH", about.search_path)),
        manifest=Manifest(
            files=(FileInput(source, digest_of(SELF_TEST_SOURCE)),), directories=(SELF_TEST_CWD,)
        ),
        outputs=(output,),
    )
    return SelfTest(job, SELF_TEST_SOURCE, output)


def _driver(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"expected a path, found {value!r:.60}")
    path = os.fsencode(value)
    parts = path.split(b"/")
    if path and (parts[0] or any(part in (b"", b".", b"..") for part in parts[1:])):
        raise ValueError(f"expected an absolute path, found {value!r:.60}")
    return path


def _tree_bytes(directory: str) -> int:
    """What a tree takes on disk: see `size_on_disk`. A directory or a symlink takes a block."""
    total = BLOCK_BYTES
    for above, directories, names in os.walk(directory):
        total += BLOCK_BYTES * len(directories)
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(above, name))
                total += size_on_disk(status.st_size if stat.S_ISREG(status.st_mode) else 0)
    return total
