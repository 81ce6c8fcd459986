"""What a farm's watcher has heard, on disk: a bounded ring of files with the last hours, and their reader.

A file is `events-MILLISECONDS.zev`: a line that says so, then records. A record is its length (u32, little
endian), one byte for its kind, and a batch as it travels (a zstd frame of `zcc/events.py`'s events):

    0 snapshot   as the broker has sent it: before it there may be a gap
    1 batch      what happened then
    2 present    the state at the end of the file before, in one record or several: who reads that one, too,
                 passes over them

So each file can be read by itself, and the oldest may go. A torn end is passed over.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator

from cache.errors import BlobCorruptError
from cache.frame import compress, decompress
from zcc.errors import ConfigError, ProtocolError
from zcc.events import (
    MAX_BATCH_BYTES,
    MAX_EVENTS_BYTES,
    FarmEvent,
    pack_pieces,
    row_of,
    unpack_events,
)
from zcc.messages import MAX_FRAME_BYTES, Happened, Snapshot
from zcc.watching.present import present_events
from zcc.watching.state import FarmState

MAGIC = b"zcc events 1\n"
# At 500 jobs a second a file is some two minutes, on a quiet farm a quarter of an hour.
MAX_FILE_BYTES = 8 << 20
MAX_FILE_S = 900.0
_HEAD = struct.Struct("<IB")
_SNAPSHOT, _BATCH, _PRESENT = 0, 1, 2
_NAME = re.compile(r"events-(\d{1,16})\.zev")


class RecordingWriter:
    """Writes below `directory`, at most `limit_bytes` in all and `keep_s` back. To be told of each message
    after the state that is `state` has taken it in.

    Raises:
        OSError: the disk refuses it.
    """

    def __init__(
        self, directory: str, state: FarmState, limit_bytes: int, keep_s: float = 86_400.0
    ) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._directory = directory
        self._state = state
        self._limit_bytes = limit_bytes
        self._keep_s = keep_s
        self._file: int | None = None
        self._size_bytes = 0
        self._begun_s = 0.0
        # Of files, names tell the order: a clock that was set back must not put this one among the oldest.
        self._last_ms = max((_began_ms(path) for path in recording_files(directory)), default=0)

    def add(self, message: Snapshot | Happened) -> None:
        """A snapshot or a batch, as it came."""
        now_s = self._state.now_s
        is_full = self._size_bytes > MAX_FILE_BYTES or now_s - self._begun_s > MAX_FILE_S
        if isinstance(message, Snapshot):
            if self._file is None or is_full:
                self._begin(now_s)
            self._write(_SNAPSHOT, message.body)
            return
        self._write(_BATCH, message.body)
        if is_full:
            rows = [row_of(event) for event in present_events(self._state)]
            self._begin(now_s)
            for piece in pack_pieces(rows, MAX_BATCH_BYTES):
                self._write(_PRESENT, compress(piece))
            self._forget(now_s)
            self._size_bytes = 0  # a large present is no reason to begin the next file at once

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _begin(self, now_s: float) -> None:
        self.close()
        self._last_ms = max(int(now_s * 1000), self._last_ms + 1)
        path = os.path.join(self._directory, f"events-{self._last_ms:013d}.zev")
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._size_bytes, self._begun_s = 0, now_s
        self._write_all(MAGIC)
        self._forget(now_s)

    def _write(self, kind: int, body: bytes) -> None:
        self._write_all(_HEAD.pack(len(body), kind) + body)

    def _write_all(self, data: bytes) -> None:
        assert self._file is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self._size_bytes += len(data)

    def _forget(self, now_s: float) -> None:
        """The oldest files go, but for this one."""
        *older, this = recording_files(self._directory)
        left_bytes = self._limit_bytes - MAX_FILE_BYTES - os.path.getsize(this)
        for path in reversed(older):
            left_bytes -= os.path.getsize(path)
            if left_bytes < 0 or began_of(path) < now_s - self._keep_s:
                os.unlink(path)


def recording_files(directory: str) -> list[str]:
    """The files of a recording, the oldest first."""
    names = sorted(name for name in os.listdir(directory) if _NAME.fullmatch(name))
    return [os.path.join(directory, name) for name in names]


def began_of(path: str) -> float:
    """When a file of a recording begins, in Unix seconds."""
    return _began_ms(path) / 1000


def _began_ms(path: str) -> int:
    found = _NAME.fullmatch(os.path.basename(path))
    return int(found[1]) if found is not None else 0


def read_recording(path: str) -> Iterator[list[FarmEvent]]:
    """The batches in a file, or in all files of a directory, in order.

    Raises:
        ConfigError: there is none, or what is there is no recording.
    """
    if os.path.isdir(path):
        files = recording_files(path)
        if not files:
            raise ConfigError(f"no recording is in {path}: zcc events --record {path} makes one")
    elif os.path.exists(path):
        files = [path]
    else:
        raise ConfigError(f"no recording is at {path}: zcc events --record DIR makes one")
    for number, file in enumerate(files):
        for kind, body in _records(file):
            if kind == _PRESENT and number:
                continue
            try:
                yield unpack_events(decompress(body, MAX_EVENTS_BYTES))
            except (ProtocolError, BlobCorruptError) as error:
                raise ConfigError(f"{file} is damaged: {error}") from error


def _records(path: str) -> Iterator[tuple[int, bytes]]:
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ConfigError(f"{path} is no recording of events, or of another release")
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, kind = _HEAD.unpack(head)
            if length > MAX_FRAME_BYTES or kind > _PRESENT:
                raise ConfigError(f"{path} is damaged: a record of {length} bytes, kind {kind}")
            body = file.read(length)
            if len(body) < length:
                return  # it was being written
            yield kind, body


def replayed(path: str) -> FarmState:
    """The state at the end of a recording, with its history."""
    state = FarmState()
    for batch in read_recording(path):
        for event in batch:
            state.apply(event)
    return state
