"""Not to be root for a while, to whom no mode of a file means anything."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator

_SOMEBODY = 60606


@contextlib.contextmanager
def as_an_ordinary_user() -> Iterator[str]:
    """A directory of an ordinary user, as whom this thread goes by files meanwhile (setfsuid(2))."""
    libc = ctypes.CDLL(None)
    is_root = not os.geteuid()
    if is_root:
        libc.setfsuid(_SOMEBODY)
    try:
        with tempfile.TemporaryDirectory(prefix="zcc-user-", ignore_cleanup_errors=True) as place:
            try:
                yield place
            finally:
                if is_root:
                    libc.setfsuid(0)  # what a test could not remove goes all the same
    finally:
        if is_root:
            libc.setfsuid(0)
