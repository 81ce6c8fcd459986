"""Values under keys that only their writers understand: what ccache keeps with a farm.

Unlike a blob's name, a key says nothing of its value, so the store keeps a digest beside each. Owns the disk, a
limit in bytes and the order of eviction; knows nothing of who may write, but notes the name of who did.

On disk: `DIR/ab/REST-OF-HEX` of the key, holding `zccval2\\n`, the BLAKE2b-256 digest of the value, 40 bytes of
its writer's name (ASCII, padded with NUL), and the value. A file with another beginning (`zccval1\\n` had no
writer) is a miss; arrivals in `DIR/tmp/`. A value appears by rename, whole or not at all. None is empty.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from cache.digest import Digest, Hasher
from cache.errors import BlobCorruptError, StoreError
from cache.eviction import StoreEntry, choose_victims, is_use_news, size_on_disk

# ccache's keys have 20 bytes; as hexadecimal digits all of these are valid file names.
MIN_KEY_BYTES = 8
MAX_KEY_BYTES = 64
# The largest that ccache stores are precompiled headers: tens of megabytes when compressed.
MAX_VALUE_BYTES = 128 << 20
# A CURVE key in Z85; the beginning of a token's hash is shorter.
MAX_WRITER_BYTES = 40
_MAGIC = b"zccval2\n"
_HEADER = struct.Struct("8s32s40s")


@dataclass(slots=True)
class Value:
    """One value, open for reading; what happens to its key meanwhile does not concern it."""

    digest: Digest
    size_bytes: int
    _handle: int

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes from `offset` on; fewer at the end. Raises OSError."""
        return os.pread(self._handle, size_bytes, _HEADER.size + offset)

    def close(self) -> None:
        os.close(self._handle)


class ValueArrival:
    """One value on its way in, of a size that was announced: feed its bytes in order, then finish."""

    def __init__(self, store: ValueStore, key: bytes, size_bytes: int, writer: bytes) -> None:
        self.key = key
        self._writer = writer
        self.size_bytes = size_bytes
        self.received_bytes = 0
        self._store = store
        self._hasher = Hasher()
        self._is_over = False
        handle, self._path = tempfile.mkstemp(dir=store.tmp_dir)
        self._file = os.fdopen(handle, "wb")
        self._file.write(bytes(_HEADER.size))

    @property
    def is_complete(self) -> bool:
        return self.received_bytes == self.size_bytes

    def feed(self, piece: bytes) -> None:
        """Raises StoreError when the disk refuses, there is no room, or more comes than was announced; it is
        dropped then."""
        try:
            if self.received_bytes + len(piece) > self.size_bytes:
                raise StoreError(f"more than the {self.size_bytes} bytes that were announced")
            self._store._charge(self._writer, len(piece))
            self.received_bytes += len(piece)
            self._hasher.update(piece)
            self._file.write(piece)
        except (OSError, StoreError) as error:
            self.drop()
            raise StoreError(f"cannot take a value: {error}") from error

    def finish(self, digest: Digest | None = None) -> None:
        """Make the value appear, in the place of the one that was there.

        Raises:
            BlobCorruptError: it is not complete, or not what `digest` says.
            StoreError: the disk refused. Nothing is stored in either case.
        """
        found = self._hasher.digest()
        if not self.is_complete or digest not in (None, found):
            self.drop()
            raise BlobCorruptError(f"not the {self.size_bytes} bytes that were announced")
        try:
            self._file.seek(0)
            self._file.write(_HEADER.pack(_MAGIC, found, self._writer))
            self._file.close()
            self._store._adopt(self.key, self._path)
        except OSError as error:
            self.drop()
            raise StoreError(f"cannot store a value: {error.strerror}") from error
        self._end()

    def drop(self) -> None:
        """Leave nothing behind; dropping what is over does nothing."""
        if self._is_over:
            return
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._store._discharge(self._writer, self.received_bytes)


class ValueStore:
    """Values below one directory. Any file may vanish or rot at any moment: that is a miss.

    All methods but `maintain` belong to one thread.

    Raises:
        StoreError: the directory cannot be made.
    """

    def __init__(self, directory: str, limit_bytes: int) -> None:
        self.directory = directory
        self.tmp_dir = os.path.join(directory, "tmp")
        # Of values that are not finished, in all and by writer: what has come, not what was announced.
        self.arriving_bytes = 0
        self._arriving: Counter[bytes] = Counter()
        self.limit_bytes = limit_bytes
        try:
            os.makedirs(self.tmp_dir, mode=0o700, exist_ok=True)
            for left in os.listdir(self.tmp_dir):
                # Whatever else somebody has put there stays, and is in nobody's way.
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.tmp_dir, left))
        except OSError as error:
            raise StoreError(f"cannot use {directory}: {error.strerror}") from error
        self._lock = threading.Lock()
        self._size_bytes: int | None = None  # unknown until the first `maintain` has counted
        self._changed_bytes = 0  # added and removed since the count began

    @property
    def known_bytes(self) -> int:
        """What all values take on disk; 0 until they have been counted."""
        return self._size_bytes or 0

    @property
    def needs_maintenance(self) -> bool:
        return self._size_bytes is None or self._size_bytes > self.limit_bytes

    def has(self, key: bytes) -> bool:
        return os.path.exists(self._path_of(key))

    def open(self, key: bytes) -> Value | None:
        """The value of this key, or None; whoever gets one closes it."""
        path = self._path_of(key)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(handle)
            magic, digest, _ = _HEADER.unpack(os.pread(handle, _HEADER.size, 0))
        except (OSError, struct.error):
            magic = b""
        if magic != _MAGIC or status.st_size <= _HEADER.size:
            os.close(handle)
            self.remove(key)
            return None
        if is_use_news(status.st_mtime, time.time()):
            with contextlib.suppress(OSError):
                os.utime(handle)
        return Value(Digest(digest), status.st_size - _HEADER.size, handle)

    def arrival(self, key: bytes, size_bytes: int, writer: str = "") -> ValueArrival:
        """Begin to take a value; of its writer's name 40 bytes are kept.

        Raises:
            StoreError: too large, too much under way, or the disk refuses.
        """
        if not 0 < size_bytes <= MAX_VALUE_BYTES:
            raise StoreError(f"a value of {size_bytes} bytes: 1 to {MAX_VALUE_BYTES} may be stored")
        name = writer.encode()[:MAX_WRITER_BYTES]
        self._require_room(name, size_bytes)
        try:
            return ValueArrival(self, key, size_bytes, name)
        except OSError as error:
            raise StoreError(f"cannot write to {self.directory}: {error.strerror}") from error

    def _require_room(self, writer: bytes, size_bytes: int) -> None:
        """One writer may have as much under way as is left for others: no number of writers takes it all."""
        free_bytes = self.limit_bytes - self.arriving_bytes - size_bytes
        if self._arriving[writer] + size_bytes > free_bytes:
            raise StoreError("too much of one writer's is under way for the store's limit")

    def _charge(self, writer: bytes, size_bytes: int) -> None:
        self._require_room(writer, size_bytes)
        self.arriving_bytes += size_bytes
        self._arriving[writer] += size_bytes

    def _discharge(self, writer: bytes, size_bytes: int) -> None:
        self.arriving_bytes -= size_bytes
        self._arriving[writer] -= size_bytes
        if not self._arriving[writer]:
            del self._arriving[writer]

    def remove(self, key: bytes) -> bool:
        """Whether there was one."""
        path = self._path_of(key)
        try:
            size_bytes = size_on_disk(os.stat(path).st_size)
            os.unlink(path)
        except OSError:
            return False
        self._add_size(-size_bytes)
        return True

    def maintain(self) -> int:
        """Count what is there and evict the least recently used beyond the limit; how many went.

        A stat a value: for a thread of its own.
        """
        with self._lock:
            self._changed_bytes = 0
        entries = list(self._entries())
        size_bytes = sum(entry.size_bytes for entry in entries)
        victims = choose_victims(entries, self.limit_bytes, time.time())
        with self._lock:
            # What came or went meanwhile may be counted twice: the next count corrects it.
            self._size_bytes = size_bytes + self._changed_bytes
        for victim in victims:
            self.remove(victim)
        return len(victims)

    def _path_of(self, key: bytes) -> str:
        assert MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES
        name = key.hex()
        return os.path.join(self.directory, name[:2], name[2:])

    def _adopt(self, key: bytes, path: str) -> None:
        place = self._path_of(key)
        size_bytes = size_on_disk(os.stat(path).st_size)
        with contextlib.suppress(OSError):
            size_bytes -= size_on_disk(os.stat(place).st_size)
        try:
            os.rename(path, place)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            os.rename(path, place)
        self._add_size(size_bytes)

    def _add_size(self, size_bytes: int) -> None:
        with self._lock:
            self._changed_bytes += size_bytes
            if self._size_bytes is not None:
                self._size_bytes += size_bytes

    def _entries(self) -> Iterator[StoreEntry[bytes]]:
        for shard in _scan(self.directory):
            if len(shard.name) != 2:
                continue
            for entry in _scan(shard.path):
                with contextlib.suppress(OSError, ValueError):
                    key = bytes.fromhex(shard.name + entry.name)
                    status = entry.stat(follow_symlinks=False)
                    if MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
                        yield StoreEntry(key, size_on_disk(status.st_size), status.st_mtime)


def writers_in(directory: str) -> Counter[str]:
    """Who has written the values below a store's directory, and how many each. A read of each's beginning."""
    return Counter(writer for _, writer in _written(directory))


def purge_written(directory: str, writer: str) -> int:
    """Remove what the writer of this name has stored below a store's directory; how many.

    May run beside the process whose store it is: what is taken away is a miss there. A read of each value's
    beginning.
    """
    gone = 0
    for path, name in _written(directory):
        if name == writer:
            with contextlib.suppress(OSError):
                os.unlink(path)
                gone += 1
    return gone


def _written(directory: str) -> Iterator[tuple[str, str]]:
    """The path and the writer of each value that names one."""
    for shard in _scan(directory):
        for entry in _scan(shard.path) if len(shard.name) == 2 else ():
            with contextlib.suppress(OSError):
                with open(entry.path, "rb") as file:
                    header = file.read(_HEADER.size)
                if len(header) == _HEADER.size and (writer := _writer_in(header)):
                    yield entry.path, writer


def _writer_in(header: bytes) -> str:
    magic, _, name = _HEADER.unpack(header)
    return bytes(name).rstrip(b"\0").decode("ascii", "replace") if magic == _MAGIC else ""


def _scan(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []
