"""The bytes of files that a sandbox's processes hold and that have no name any more, which no walk finds.

A file that was removed stays on disk for as long as a process has it open or mapped. A process that has ended
holds nothing; one that lives and does not let itself be looked at is not taken for such a one.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator

from node.errors import HoldsTooMuchError

# What one look goes through at most; a compiler's processes have a hundredth. Who has more is stopped.
_MAX_DESCRIPTORS = 20_000
_MAX_MAPS_BYTES = 4 << 20
_STAT_BLOCK_BYTES = 512
# A mapping in /proc/PID/maps of a file that was removed: its addresses, offset, device and inode.
_REMOVED = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) .*\(deleted\)$",
    re.MULTILINE,
)


def nameless_bytes(place: str, pids: Iterable[int], but_on: int) -> int:
    """The bytes on disk of all that these processes of the /proc at `place` hold without a name.

    Those on the device `but_on` are not counted. A file that is open and mapped may count twice: its mapping
    names the file below an overlay.

    Raises:
        HoldsTooMuchError: they have too many files open, or mapped.
        OSError: one of them cannot be looked at.
    """
    look = _Look(but_on)
    for pid in pids:
        tasks: list[str] = []
        with unless_ended(f"{place}/{pid}"):
            tasks = [f"{place}/{pid}/task/{task}" for task in os.listdir(f"{place}/{pid}/task")]
        # A thread may have descriptors of its own, and shows no mapping when it has ended before others.
        has_maps = False
        for task in tasks:
            with unless_ended(task):
                look.at_open(f"{task}/fd")
                has_maps = has_maps or look.at_mapped(f"{task}/maps")
    return sum(look.open.values()) + sum(look.mapped.values())


@contextlib.contextmanager
def unless_ended(place: str) -> Iterator[None]:
    """What is read here of a process or thread, by its directory in /proc, may be cut short by its end.

    Raises:
        OSError: it cannot be looked at, though it has not ended.
    """
    try:
        yield
    except OSError:
        if not has_ended(place):
            raise


def has_ended(place: str) -> bool:
    """Whether a process or thread, by its directory in /proc, runs no code any more: it has no memory, and
    gives up, or has given up, all else. Everything of it but this belongs to root then.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        with open(f"{place}/statm", "rb") as file:
            if not file.read().startswith(b"0 "):
                return False
        # What is said of a process is said of its first thread, which may end before the others.
        threads = os.listdir(f"{place}/task")
    except (FileNotFoundError, ProcessLookupError):
        return True  # or a thread, which has none of its own
    return all(has_ended(f"{place}/task/{thread}") for thread in threads)


class _Look:
    """What was seen so far, by device and inode."""

    def __init__(self, but_on: int) -> None:
        self.open: dict[tuple[int, int], int] = {}
        self.mapped: dict[tuple[int, int], int] = {}
        self._but_on = but_on
        self._descriptors = 0
        self._maps_bytes = 0

    def at_open(self, directory: str) -> None:
        for name in os.listdir(directory):
            self._descriptors += 1
            if self._descriptors > _MAX_DESCRIPTORS:
                raise HoldsTooMuchError(f"more than {_MAX_DESCRIPTORS} open files")
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                seen = os.stat(f"{directory}/{name}")
                if stat.S_ISREG(seen.st_mode) and not seen.st_nlink and seen.st_dev != self._but_on:
                    self.open[seen.st_dev, seen.st_ino] = seen.st_blocks * _STAT_BLOCK_BYTES

    def at_mapped(self, path: str) -> bool:
        """Whether there was anything to see."""
        with open(path, "rb") as file:
            maps = file.read(_MAX_MAPS_BYTES)
        self._maps_bytes += len(maps)
        if self._maps_bytes >= _MAX_MAPS_BYTES:
            raise HoldsTooMuchError("too many mapped files")
        for found in _REMOVED.finditer(maps) if b"(deleted)" in maps else ():
            start, end, offset, major, minor = (int(number, 16) for number in found.groups()[:5])
            file_id = os.makedev(major, minor), int(found[6])
            if file_id[0] != self._but_on:
                size_bytes = offset + end - start
                self.mapped[file_id] = max(size_bytes, self.mapped.get(file_id, 0))
        return bool(maps)
