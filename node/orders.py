"""What this node is told while it serves, by files in its state directory: `mode`, `drain`, and `serving`.

`zcc-node mode` and `zcc-node drain` write them, the node looks at them with each of its beats. `mode` holds the
mode for this and every later `serve`; `drain` is there until the node has taken it; a lock on `serving` is held
for as long as one node serves. No process number is written down: a command in another container, or after a
crash, would signal a stranger.

Root's commands write into a directory that the node's user owns: only beside, by descriptor, and by rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile

from node.core.lending import MODES, LendingMode
from node.errors import NodeError

MODE_FILE = "mode"
DRAIN_FILE = "drain"
LOCK_FILE = "serving"
_MODE_BYTES = 64

logger = logging.getLogger(__name__)


def parse_mode(word: str, said_by: str) -> LendingMode:
    """The mode of this name.

    Raises:
        NodeError: there is none.
    """
    try:
        return LendingMode(word)
    except ValueError:
        expected = f"{', '.join(MODES[:-1])} or {MODES[-1]}"
        raise NodeError(f"{said_by} {word!r}: expected {expected}") from None


def kept_mode(state: str) -> LendingMode:
    """The mode of a node that is given none: the kept one, else dedicated.

    Raises:
        NodeError: what is kept is none, or cannot be read.
    """
    path = os.path.join(state, MODE_FILE)
    try:
        word = _read(path)
    except FileNotFoundError:
        return LendingMode.DEDICATED
    except OSError as error:
        raise NodeError(f"cannot read this node's mode in {path}: {error.strerror}") from error
    return parse_mode(word, path)


def keep_mode(state: str, mode: LendingMode) -> None:
    """Write the mode down; a node that serves follows within a second or two.

    Raises:
        NodeError: there is no such state directory.
    """
    _write(state, MODE_FILE, mode.value + "\n")


def ask_to_drain(state: str, *, waits: bool) -> None:
    """Have the node that serves with this state leave; with `waits` return when it has left.

    Raises:
        NodeError: none serves with it.
    """
    handle = _opened_lock(state)
    try:
        if handle < 0 or _is_free(handle):
            raise NodeError(f"no node serves with --state {state}")
        _write(state, DRAIN_FILE, "")
        if waits:
            fcntl.flock(handle, fcntl.LOCK_SH)
    finally:
        if handle >= 0:
            os.close(handle)


def is_serving(state: str) -> bool:
    """Whether a node serves with this state."""
    handle = _opened_lock(state)
    if handle < 0:
        return False
    try:
        return not _is_free(handle)
    finally:
        os.close(handle)


class Orders:
    """The reading end, of the one node that serves with this state."""

    def __init__(self, state: str) -> None:
        """Hold the state directory for this process.

        Raises:
            NodeError: another node serves with it.
        """
        self._state = state
        self._stamp: tuple[int, int] | None = None
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        path = os.path.join(state, LOCK_FILE)
        try:
            self._lock = os.open(path, flags, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise NodeError(
                f"another node serves with --state {state}: stop it, or give this one a --state of its own"
            ) from error
        except OSError as error:
            raise NodeError(f"cannot lock {path}: {error.strerror}") from error
        self.take_drain()  # of a node before this one, which has left without it

    def changed_mode(self) -> LendingMode | None:
        """The mode that has been written since the last call; none: all is as it was."""
        path = os.path.join(self._state, MODE_FILE)
        try:
            found = os.stat(path)
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp == self._stamp:
                return None
            mode = parse_mode(_read(path), path)
        except FileNotFoundError:
            return None
        except (OSError, NodeError) as error:
            # Not told again each second.
            if not isinstance(error, OSError) and self._stamp != stamp:
                logger.error("%s: the mode stays as it is", error)
                self._stamp = stamp
            return None
        self._stamp = stamp
        return mode

    def take_drain(self) -> bool:
        """Whether the node was asked to leave."""
        try:
            os.unlink(os.path.join(self._state, DRAIN_FILE))
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.close(self._lock)


def _opened_lock(state: str) -> int:
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(os.path.join(state, LOCK_FILE), flags)
    except FileNotFoundError:
        return -1


def _is_free(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(handle, fcntl.LOCK_UN)
    return True


def _read(path: str) -> str:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags), "rb") as file:
        return file.read(_MODE_BYTES).decode(errors="replace").strip()


def _write(state: str, name: str, text: str) -> None:
    """A file of the directory's owner, whole or not at all."""
    try:
        owner = os.stat(state)
    except FileNotFoundError as error:
        raise NodeError(f"there is no node's state in {state}: say --state DIR") from error
    handle, temporary = tempfile.mkstemp(prefix=f"{name}.", dir=state)  # 0600
    try:
        with os.fdopen(handle, "w") as file:
            if not os.geteuid():
                os.fchown(handle, owner.st_uid, owner.st_gid)
            file.write(text)
        os.rename(temporary, os.path.join(state, name))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
