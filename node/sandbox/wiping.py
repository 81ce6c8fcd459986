"""Removing directory trees that foreign code has made: of any depth, size and modes.

Nothing recurses: what lies deeper than a few directories is moved up to the top and removed from there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import stat
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Directories that are open at a time on the way down.
_MAX_DEPTH = 32
# Trees that wait for the one thread that removes them. Beyond it whoever brings one removes it, and so brings
# no more than can be removed.
_MAX_WAITING = 64


def clear(scratch: bytes, written: list[tuple[bytes, bool]]) -> None:
    """Remove a run's scratch when all that was written is known (`node/sandbox/collect.py`): a few calls,
    where `wipe` looks for what there is. Nobody changes it any more, so that no directory named here is a
    symlink."""
    try:
        for path, is_directory in reversed(written):
            remove = os.rmdir if is_directory else os.unlink
            remove(scratch + b"/upper" + path)
        os.unlink(scratch + b"/log")
        for name in (b"/work/work", b"/work", b"/upper", b""):  # the first is overlayfs's own
            os.rmdir(scratch + name)
    except OSError:
        wipe(scratch)


def wipe(path: bytes) -> None:
    """Remove a directory tree, whatever modes its directories have; what cannot go stays, and is told of."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        top = _opened(path, None)
        try:
            _Wiping(top).run()
        finally:
            os.close(top)
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("%s cannot be removed: %s", os.fsdecode(path), error.strerror)


class _Wiping:
    """One directory, open as `top`, that is being emptied."""

    def __init__(self, top: int) -> None:
        self._top = top
        # Foreign code could have taken any name that it can guess.
        self._prefix = b".wipe-" + os.urandom(8).hex().encode()
        self._count = 0
        self._waiting: list[bytes] = []

    def run(self) -> None:
        self._waiting = _swept(self._top)
        while self._waiting:
            name = self._waiting.pop()
            with contextlib.suppress(OSError):
                self._remove(name)

    def _remove(self, name: bytes) -> None:
        """Remove a directory of the top one; what lies deep in it is brought up."""
        # Of each open directory its name, itself, and the directories in it.
        way: list[tuple[bytes, int, list[bytes]]] = [(name, _opened(name, self._top), [])]
        try:
            way[0][2].extend(_swept(way[0][1]))
            while way:
                name, at, below = way[-1]
                if below and len(way) < _MAX_DEPTH:
                    with contextlib.suppress(OSError):
                        inner = below.pop()
                        opened = _opened(inner, at)
                        way.append((inner, opened, []))
                        way[-1][2].extend(_swept(opened))
                elif below:
                    self._bring_up(below.pop(), at)
                else:
                    way.pop()
                    os.close(at)
                    with contextlib.suppress(OSError):
                        os.rmdir(name, dir_fd=way[-1][1] if way else self._top)
        finally:
            for _, at, _ in way:
                os.close(at)

    def _bring_up(self, name: bytes, at: int) -> None:
        self._count += 1
        fresh = self._prefix + b"-%d" % self._count

        def move() -> None:
            os.rename(name, fresh, src_dir_fd=at, dst_dir_fd=self._top)

        with contextlib.suppress(OSError):
            # A directory that moves gets another `..`, which takes the right to write in it.
            _forced(move, name, at)
            self._waiting.append(fresh)


def _swept(at: int) -> list[bytes]:
    """Unlink what is no directory; the directories that are there."""
    directories = []
    with os.scandir(at) as entries:
        found = [(os.fsencode(each.name), each.is_dir(follow_symlinks=False)) for each in entries]
    for name, is_directory in found:
        if is_directory:
            directories.append(name)
            continue
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=at)
    return directories


def _opened(name: bytes, at: int | None) -> int:
    """This directory, in which names may be removed from now on: to open it takes another right than that."""
    opened = []
    _forced(lambda: opened.append(os.open(name, _DIRECTORY, dir_fd=at)), name, at)
    with contextlib.suppress(
        PermissionError
    ):  # another's; what it has may be everybody's to remove
        os.fchmod(opened[0], 0o700)
    return opened[0]


def _forced(act: Callable[[], None], name: bytes, at: int | None) -> None:
    """Act on a directory; one without permissions (overlayfs leaves one; a command may) gets some."""
    try:
        act()
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=at)
        act()


class _Wiper:
    """The thread that removes what is brought to `wipe_later`, begun with the first."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[bytes] = queue.Queue(_MAX_WAITING)
        self._lock = threading.Lock()
        self._is_begun = False

    def take(self, path: bytes) -> None:
        with self._lock:
            if not self._is_begun:
                # Dies with the process: what is left lies where the next start removes it.
                threading.Thread(target=self._run, name="wipe", daemon=True).start()
                self._is_begun = True
        try:
            self._waiting.put_nowait(path)
        except queue.Full:
            wipe(path)

    def _run(self) -> None:
        while True:
            wipe(self._waiting.get())


_wiper = _Wiper()


def wipe_later(path: bytes) -> None:
    """Remove a directory tree that may be large, on a thread of its own; not to be called from the loop."""
    _wiper.take(path)
