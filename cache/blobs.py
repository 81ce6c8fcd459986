"""Files named by the digest of their contents.

A blob is stored in one of two forms: as a zstd frame (what travels; the broker's and the agent's
stores) or plain (what can be hard-linked into an input tree; the node's store). A blob always arrives
as a zstd frame, in pieces; its digest is that of the *uncompressed* bytes and is checked while the
pieces come in, so that the check of an 80 MB toolchain never stalls a loop.

On disk: `DIR/ab/REST-OF-HEX`; arrivals in `DIR/tmp/`. An entry appears by rename, whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from enum import Enum
from itertools import count
from types import TracebackType

from cache.digest import Digest, Hasher, digest_of
from cache.errors import BlobCorruptError, BlobMissingError
from cache.eviction import StoreEntry, choose_victims, is_use_news, size_on_disk
from cache.frame import Decoder, compress

# What a frame may hold beyond a share of its own size. An object or a header packs to a third or a tenth; an
# image that is padded with zeros packs to nothing and is smaller than this.
_FREE_BYTES = 64 << 20
_MAX_RATIO = 256
# Files of a plain store carry one fixed time, so that equal contents get equal times when linked.
PLAIN_MTIME_S = 1_000_000_000
_READ_BYTES = 1 << 20
# What was on its way in when its process was killed is removed when nobody has written to it for so long.
_LEFT_AFTER_S = 86_400.0


class Form(Enum):
    COMPRESSED = "compressed"
    PLAIN = "plain"


def pieces_of(directory: str, digest: Digest) -> Iterator[bytes]:
    """The bytes of a blob in the compressed store of this directory, not checked, and without a store.

    Raises:
        OSError: it is not there, or unreadable.
        BlobCorruptError: it is no zstd frame any more.
    """
    decoder = Decoder()
    with os.fdopen(open_stored(_place(directory, digest)), "rb") as file:
        while frame := file.read(_READ_BYTES):
            yield from decoder.feed(frame)
    decoder.finish()


def open_stored(path: str) -> int:
    """A descriptor to read what is stored there. A pipe or a device in its place, for which one would wait, or
    which has no end, is not opened.

    Raises:
        OSError: it is not there, unreadable, or no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "no regular file", path)
    return handle


def _place(directory: str, digest: Digest) -> str:
    name = digest.hex()
    return os.path.join(directory, name[:2], name[2:])


def _write_all(handle: int, data: bytes) -> None:
    written = os.write(handle, data)
    while written < len(data):  # a disk that is full, says so the next time
        written += os.write(handle, memoryview(data)[written:])


class Arrival:
    """One blob on its way in: feed it the frame's bytes in order, then finish.

    Leaves nothing behind unless `finish` returned.
    """

    def __init__(self, store: BlobStore, digest: Digest, limit_bytes: int) -> None:
        self.digest = digest
        self.received_bytes = 0
        self.plain_bytes = 0  # uncompressed, so far
        self._store = store
        self._limit_bytes = limit_bytes
        self._hasher = Hasher()
        self._decoder = Decoder()
        handle, self._path = store.begin()
        self._file = os.fdopen(handle, "wb")

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next bytes of the frame.

        Raises:
            BlobCorruptError: not zstd, or larger than the limit; the arrival is dropped.
        """
        try:
            for plain in self._decoder.feed(piece):
                self._take(plain)
        except BlobCorruptError:
            self.drop()
            raise
        if self._store.form is Form.COMPRESSED:
            self._file.write(piece)

    def _take(self, plain: bytes) -> None:
        self.received_bytes = self._decoder.received_bytes
        self.plain_bytes = self._decoder.plain_bytes
        limit_bytes = min(self._limit_bytes, _FREE_BYTES + _MAX_RATIO * self.received_bytes)
        if self.plain_bytes > limit_bytes:
            raise BlobCorruptError(f"a blob of more than {limit_bytes} bytes")
        self._hasher.update(plain)
        if self._store.form is Form.PLAIN:
            self._file.write(plain)

    def finish(self) -> None:
        """Check the digest and make the blob appear.

        Raises:
            BlobCorruptError: the bytes are not those that the digest names.
            OSError: the disk refused; nothing is stored.
        """
        self.check()
        self.keep()

    def check(self) -> None:
        """All bytes are here: check the digest. The blob waits, outside of the store, for `keep`.

        Raises:
            BlobCorruptError: the bytes are not those that the digest names.
            OSError: the disk refused; nothing is left.
        """
        try:
            self._decoder.finish()
            if self._hasher.digest() != self.digest:
                raise BlobCorruptError(f"bytes do not match their digest {self.digest.hex()}")
        except BlobCorruptError:
            self.drop()
            raise
        del self._decoder  # and its window: the blob may wait long for `keep`
        try:
            self._file.close()
        except OSError:
            self.drop()
            raise

    def keep(self) -> None:
        """Make a blob that was checked appear.

        Raises:
            OSError: the disk refused; nothing is stored.
        """
        try:
            self._store._adopt(self.digest, self._path)
        except OSError:
            self.drop()
            raise

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def __enter__(self) -> Arrival:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.drop()


class BlobStore:
    """Blobs below one directory, with a size limit in bytes on disk (`size_on_disk`).

    Any file may vanish or rot at any moment: what is read is checked, and what fails is a miss.
    """

    def __init__(self, directory: str, limit_bytes: int, form: Form = Form.COMPRESSED) -> None:
        self.directory = directory
        self.form = form
        self.tmp_dir = os.path.join(directory, "tmp")
        self._limit_bytes = limit_bytes
        os.makedirs(self.tmp_dir, mode=0o700, exist_ok=True)
        self._remove_left()
        # Other processes may write to the same store. (tempfile takes four times as long to find a name.)
        self._next_path = os.path.join(self.tmp_dir, os.urandom(8).hex() + "-")
        self._numbers = count()
        self._lock = threading.Lock()  # of the size: sweeps may run in a thread of their own
        self._size_bytes = 0  # what was added and removed since the start, until it is counted
        self._is_counted = False

    @property
    def known_bytes(self) -> int:
        """The same without a look at the disk; 0 where it has not been counted yet."""
        return self._size_bytes if self._is_counted else 0

    @property
    def size_bytes(self) -> int:
        """Bytes on disk: counted when first asked for (a stat a blob), and kept up since."""
        if not self._is_counted:
            before = self._size_bytes
            counted = sum(entry.size_bytes for entry in self.entries())
            with self._lock:
                # What came or went meanwhile may be counted twice: less than a sweep corrects.
                self._size_bytes += counted - before
                self._is_counted = True
        return self._size_bytes

    def recount(self) -> None:
        """Another process has removed blobs: count them when the size is asked for the next time."""
        with self._lock:
            self._size_bytes = 0
            self._is_counted = False

    def path_of(self, digest: Digest) -> str:
        """Where this blob lies if the store holds it. Never write there."""
        return _place(self.directory, digest)

    def has(self, digest: Digest) -> bool:
        return os.path.exists(self.path_of(digest))

    def begin(self) -> tuple[int, str]:
        """A new file for what is on its way in: a descriptor to write to, and its path.

        Raises:
            OSError: the disk refused.
        """
        path = f"{self._next_path}{next(self._numbers)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600), path
        except FileNotFoundError:  # whoever cleans up has taken the directory away
            os.makedirs(self.tmp_dir, mode=0o700, exist_ok=True)
            with self._lock:
                self._size_bytes, self._is_counted = 0, False
            return os.open(path, flags, 0o600), path

    def arrival(self, digest: Digest, limit_bytes: int) -> Arrival:
        return Arrival(self, digest, limit_bytes)

    def put(self, data: bytes) -> Digest:
        """Store these (uncompressed) bytes; storing what is there already is a look-up only."""
        digest = digest_of(data)
        if not self.has(digest):
            handle, path = self.begin()
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data if self.form is Form.PLAIN else compress(data))
                self._adopt(digest, path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                raise
        return digest

    def adopt(self, digest: Digest, frame: bytes) -> None:
        """Store one whole zstd frame whose content the caller has checked; a compressed store only.

        Raises:
            OSError: the disk refused; nothing is stored.
        """
        if not self.has(digest):
            self.write(digest, frame)

    def write(self, digest: Digest, frame: bytes) -> None:
        """The same without a look for what may be there.

        Raises:
            OSError: the disk refused; nothing is stored.
        """
        assert self.form is Form.COMPRESSED
        handle, path = self.begin()
        try:
            try:
                _write_all(handle, frame)
            finally:
                os.close(handle)
            self._adopt(digest, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise

    def put_frame(self, digest: Digest, frame: bytes, limit_bytes: int) -> None:
        """Store one whole zstd frame.

        Raises:
            BlobCorruptError: its content is not what the digest names.
        """
        with self.arrival(digest, limit_bytes) as arrival:
            arrival.feed(frame)
            arrival.finish()

    def read(self, digest: Digest) -> bytes:
        """The blob's uncompressed bytes, checked.

        Raises:
            BlobMissingError: not there, unreadable or rotten; a rotten one is removed.
        """
        try:
            data = b"".join(self._checked(digest))
        except OSError as error:
            raise BlobMissingError(digest.hex()) from error
        except BlobCorruptError as error:
            self.remove(digest)
            raise BlobMissingError(f"{digest.hex()} is rotten: {error}") from error
        self.touch(digest)
        return data

    def check(self, digest: Digest) -> None:
        """Read the blob, in pieces, and do nothing else.

        Raises:
            OSError: it is not there, or unreadable.
            BlobCorruptError: it is rotten.
        """
        for _ in self._checked(digest):
            pass

    def _checked(self, digest: Digest) -> Iterator[bytes]:
        hasher = Hasher()
        for piece in self._pieces(digest):
            hasher.update(piece)
            yield piece
        if hasher.digest() != digest:
            raise BlobCorruptError(f"bytes do not match their digest {digest.hex()}")

    def _pieces(self, digest: Digest) -> Iterator[bytes]:
        if self.form is Form.COMPRESSED:
            yield from pieces_of(self.directory, digest)
            return
        with os.fdopen(open_stored(self.path_of(digest)), "rb") as file:
            while piece := file.read(_READ_BYTES):
                yield piece

    def read_stored(self, digest: Digest) -> bytes:
        """The blob as it lies on disk, in the store's form, not checked.

        Raises:
            OSError: it is not there, or unreadable.
        """
        with os.fdopen(open_stored(self.path_of(digest)), "rb") as file:
            return file.read()

    def touch(self, digest: Digest) -> None:
        """Note that the blob was used."""
        if self.form is Form.PLAIN:
            return  # linking a file renews its ctime, which is what eviction reads for this form
        path = self.path_of(digest)
        with contextlib.suppress(OSError):
            if is_use_news(os.stat(path).st_mtime, time.time()):
                os.utime(path)

    def remove(self, digest: Digest) -> bool:
        """Whether it is gone."""
        path = self.path_of(digest)
        try:
            size = size_on_disk(os.stat(path).st_size)
            os.unlink(path)
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        self._add_size(-size)
        return True

    def sweep(self) -> int:
        """Remove the least recently used blobs beyond the limit; returns how many left."""
        return self.trim(self._limit_bytes)

    def trim(self, limit_bytes: int) -> int:
        """As `sweep`, down from another limit. May run in a thread beside puts and reads."""
        self._remove_left()
        if self.size_bytes <= limit_bytes:
            return 0
        victims = choose_victims(self.entries(), limit_bytes, time.time())
        if not victims:
            self.recount()  # another process has removed some
        for victim in victims:
            self.remove(victim)
        return len(victims)

    def _remove_left(self) -> None:
        """What killed processes have left in `tmp`. Others may be writing there at this moment: whoever looks
        at a store that is in use (`zcc-broker cache show`) opens it as well."""
        for entry in _scan(self.tmp_dir):
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_ctime < time.time() - _LEFT_AFTER_S:
                    os.unlink(entry.path)

    def _adopt(self, digest: Digest, path: str) -> None:
        """Make a checked file the blob's. A frame that is there stays: it may be on its way to somebody, who
        would get the rest of another one; and who sends it again does not choose what the store holds."""
        if self.form is Form.PLAIN:
            os.chmod(path, 0o444)
            os.utime(path, (PLAIN_MTIME_S, PLAIN_MTIME_S))
        place = self.path_of(digest)
        size = size_on_disk(os.stat(path).st_size)
        replaced = _length_at(place)
        if replaced and self.form is Form.COMPRESSED:  # an empty file is no frame
            os.unlink(path)
            self.touch(digest)
            return
        try:
            os.rename(path, place)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            os.rename(path, place)
        self._add_size(size if replaced is None else size - size_on_disk(replaced))

    def _add_size(self, size_bytes: int) -> None:
        with self._lock:
            self._size_bytes += size_bytes

    def entries(self) -> Iterator[StoreEntry[Digest]]:
        """All blobs with their sizes on disk and last uses, in no order."""
        for shard in _scan(self.directory):
            if len(shard.name) != 2:
                continue
            for entry in _scan(shard.path):
                with contextlib.suppress(OSError, ValueError):
                    digest = Digest(bytes.fromhex(shard.name + entry.name))
                    status = entry.stat(follow_symlinks=False)
                    used = status.st_ctime if self.form is Form.PLAIN else status.st_mtime
                    yield StoreEntry(digest, size_on_disk(status.st_size), used)


def _length_at(path: str) -> int | None:
    """Bytes in the file there; None where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _scan(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []
