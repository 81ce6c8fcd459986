"""Files of lines that are only ever added to: a line is there whole, or not at all.

A disk that is full takes the first bytes of a line, and a power cut leaves them. What is added next must not
become one line with them: that would be neither.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator


def open_lines(path: str) -> int:
    """A descriptor for `add_lines`, of a file that only its owner may read; it is made where there is none."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def add_lines(handle: int, lines: bytes) -> int:
    """Add whole lines, the last with its newline too; returns by how many bytes the file has grown.

    Raises:
        OSError: the disk does not take all of it; nothing was added.
    """
    with locked(handle, fcntl.LOCK_EX):
        size_bytes = os.fstat(handle).st_size
        is_torn = size_bytes > 0 and os.pread(handle, 1, size_bytes - 1) != b"\n"
        data = b"\n" + lines if is_torn else lines
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(handle, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, size_bytes)
            raise
    return len(data)


@contextlib.contextmanager
def locked(handle: int, how: int) -> Iterator[None]:
    """While others add, or read, in another process: for as long as a write takes."""
    fcntl.flock(handle, how)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)
