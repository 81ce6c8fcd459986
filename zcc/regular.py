"""Opening files that somebody else has named, without waiting for anybody."""

from __future__ import annotations

import errno
import os
import stat

_FLAGS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def opener(path: bytes | str, flags: int) -> int:
    """For `open(path, "rb", opener=opener)`: a FIFO would wait for a writer, a device may have no end.

    Raises:
        OSError: as os.open, and EINVAL for what is no regular file.
    """
    # Asked for first: merely to open some devices has an effect, and a FIFO's writer would hear of it.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    handle = os.open(path, flags | _FLAGS)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return handle
