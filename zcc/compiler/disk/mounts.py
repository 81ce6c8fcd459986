"""When something was mounted or unmounted, where the bytes of a whole file system may have been exchanged, and
how far what lies at a place is believed by its status.

Owns this process's view of its mounts. Must not know what is remembered of the files below them.

A file system whose times its maker wrote (squashfs, erofs, any image with times set) gives the file that
replaces another the same times, size, inode and device: nothing in a status tells them apart. But whoever
exchanges the image unmounts it, and the kernel says so: a poll of /proc/self/mountinfo, proc(5), in 0.6 us.
After that, what lies in an *image* is not believed. An image is a file system of a loop or network block
device, one that is read-only, a FUSE one, and an overlay, which shows the times of its layers. All others are
stamped by a clock, so that a machine where containers come and go has nothing to look at again. The file
system of this process's root is there for as long as the process is.

Without /proc nothing is heard, and everything is believed; so is what lies in no mount that it names, as in a
chroot.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterable
from dataclasses import dataclass

from zcc.compiler.disk.filesystems import OVERLAY, Trust, layers_of, trust_in

_MOUNTINFO = "/proc/self/mountinfo"
_READ_BYTES = 1 << 16
# Major numbers of loop and nbd: Linux, Documentation/admin-guide/devices.txt.
_EXCHANGED = (b"7:", b"43:")
# Where a file system of several devices (btrfs) has a number of its own, its source names one of them.
_EXCHANGED_SOURCES = (b"/dev/loop", b"/dev/nbd")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo; `options` are the file system's, not those of this one mount."""

    point: bytes
    device: bytes
    kind: bytes
    source: bytes
    options: tuple[bytes, ...]

    @property
    def is_image(self) -> bool:
        return (
            self.device.startswith(_EXCHANGED)
            or self.source.startswith(_EXCHANGED_SOURCES)
            or self.kind.startswith((OVERLAY, b"fuse"))
            or b"ro" in self.options
        )

    @property
    def layers(self) -> Iterable[bytes]:
        """What an overlay is made of."""
        return layers_of(self.options) if self.kind == OVERLAY else ()

    @property
    def number(self) -> int:
        """The device as `st_dev` has it. Some file systems give files another: btrfs to each subvolume."""
        major, _, minor = self.device.partition(b":")
        return os.makedev(int(major), int(minor))


def read_mounts(table: bytes) -> list[Mount]:
    """Every whole line, as in proc(5):

    `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD...] - KIND SOURCE OPTIONS`
    """
    mounts = []
    for line in table.splitlines():
        fields, _, rest = line.partition(b" - ")
        first, last = fields.split(b" "), rest.split(b" ")
        if len(first) >= 6 and len(last) >= 3:
            options = tuple(last[2].split(b","))
            mounts.append(Mount(_plain(first[4]), first[2], last[0], _plain(last[1]), options))
    return mounts


class Mounts:
    """`changes` moves with each time that `look` has found something mounted or unmounted."""

    def __init__(self, path: str = _MOUNTINFO) -> None:
        self.changes = 0
        # Where an image is or was mounted that may be another by now.
        self.exchangeable: frozenset[bytes] = frozenset()
        self._path = path
        self._handle = -1
        self._poll: select.poll | None = None
        self._exchangeable_now: frozenset[bytes] = frozenset()
        self._points: frozenset[bytes] = frozenset()
        self._lasting: frozenset[bytes] = frozenset()
        self._by_point: dict[bytes, Trust] = {}
        self._by_device: dict[int, Trust] = {}
        self._unbelieved: tuple[bytes, ...] = ()

    def look(self) -> int:
        """`changes`, as of now."""
        if self._poll is None:
            self._open()
        elif self._poll.poll(0):
            self.changes += 1
            self._read()
        return self.changes

    def may_be_exchanged(self, paths: Iterable[bytes]) -> bool:
        """Whether one of these lies where an image is or was, as of the last look."""
        return any(self._governing(path, self.exchangeable) for path in paths)

    def may_outlast(self, paths: Iterable[bytes]) -> bool:
        """Whether one of these lies in an image that another process may have seen exchanged.

        That goes for the root as well; but a container's, an overlay, mostly shows a disk's times.
        """
        return any(self._governing(path, self._lasting) for path in paths)

    def trust(self, device: int, path: bytes) -> Trust:
        """How far what has this `st_dev`, and lies at this path, is believed, as of the last look."""
        if self._poll is None:
            self._open()
        known = self._by_device.get(device)
        if known is None:
            known = self._by_device[device] = self._trust_at(os.path.realpath(path))
        return known

    def first_unstamped(self, paths: Iterable[bytes]) -> bytes | None:
        """The first of these physical paths where no time of change is known, as of the last look."""
        for path in paths:
            if path.startswith(self._unbelieved) and self._trust_at(path) is Trust.READ:
                return path
        return None

    def _trust_at(self, physical: bytes) -> Trust:
        at = physical
        while at not in self._by_point:
            if at in (b"/", b""):
                return Trust.STATUS
            at = os.path.dirname(at)
        return self._by_point[at]

    def _governing(self, path: bytes, wanted: frozenset[bytes]) -> bool:
        """Whether the mount that the path lies in is one of those wanted."""
        at = os.path.realpath(path)
        while at not in self._points and at not in wanted and at != b"/":
            at = os.path.dirname(at)
        return at in wanted

    def _open(self) -> None:
        self._poll = select.poll()
        try:
            self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        self._poll.register(self._handle, select.POLLPRI | select.POLLERR)
        self._read()

    def _read(self) -> None:
        """What changes while it is read is another event."""
        os.lseek(self._handle, 0, os.SEEK_SET)
        table = b""
        while piece := os.read(self._handle, _READ_BYTES):
            table += piece
        mounts = read_mounts(table)
        images = [mount for mount in mounts if mount.is_image]
        roots = {mount.device for mount in mounts if mount.point == b"/"}
        now = frozenset(mount.point for mount in images if mount.device not in roots)
        before, self._exchangeable_now = self._exchangeable_now, now
        self.exchangeable = before | now
        self._points = frozenset(mount.point for mount in mounts)
        self._lasting = frozenset(
            mount.point for mount in images if mount.device not in roots or mount.kind != OVERLAY
        )
        self._weigh(mounts)

    def _weigh(self, mounts: list[Mount]) -> None:
        """An overlay is believed as far as what it shows; a layer that cannot be told from here lies on its
        own root."""
        self._by_point = {mount.point: trust_in(mount.kind) for mount in mounts}
        trusts = [max([trust_in(each.kind), *map(self._trust_at, each.layers)]) for each in mounts]
        self._by_point = {mount.point: trust for mount, trust in zip(mounts, trusts, strict=True)}
        self._by_device = {mount.number: trust for mount, trust in zip(mounts, trusts, strict=True)}
        unbelieved = [point for point, trust in self._by_point.items() if trust is Trust.READ]
        self._unbelieved = tuple(point.rstrip(b"/") + b"/" for point in unbelieved)


def _plain(field: bytes) -> bytes:
    """Blanks and backslashes are written as three octal digits."""
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 8),)), field)


# Of this process: a poll that has fired does not fire again.
MOUNTS = Mounts()
