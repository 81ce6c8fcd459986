"""How far a status can be believed, by the kind of file system that it comes from. Pure.

Owns the lists of kinds. On a local file system the kernel stamps each change and nobody can set the time of
change; so a status that is what it was says that the file is. That is a promise of these kinds alone:

* A file server's client answers `stat` from what it has heard some time ago, `open` from what the server has
  now (close-to-open, as nfs(5) calls it). The time of change is kept by the server's kernel.
* FUSE, 9p, CIFS and AFS say what their servers say: sshfs, AFS and FAT give the time of modification, which
  anybody sets, for the time of change; and each may have a cache of its own that `open` goes round.

A kind that is in no list is taken for one of the last sort: that costs time, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum


class Trust(IntEnum):
    """What has to be done before what is remembered of a file is believed. More is more."""

    STATUS = 0  # look at its status
    OPENED = 1  # open it, and look at the status then
    READ = 2  # read it; and look for each name, as no directory is known to list all


OVERLAY = b"overlay"
# fuse-overlayfs shows its layers' own times, as overlay does; squashfuse what is written once.
_LOCAL = frozenset(
    b"ext2 ext3 ext4 xfs btrfs f2fs bcachefs zfs jfs nilfs2 reiserfs ubifs jffs2 ntfs3 hfsplus udf"
    b" tmpfs ramfs rootfs devtmpfs overlay squashfs erofs iso9660 romfs cramfs proc sysfs devpts"
    b" fuse.fuse-overlayfs fuse.squashfuse fuse.squashfuse_ll".split()
)
_OPENED = frozenset(b"nfs nfs4 ceph lustre".split())
# Of an overlay's options, those that name its layers (Documentation/filesystems/overlayfs.rst).
_LAYERS = (b"lowerdir", b"lowerdir+", b"datadir+", b"upperdir")


def trust_in(kind: bytes) -> Trust:
    """How far a file system of this kind, as mountinfo names it, is believed."""
    if kind in _LOCAL:
        return Trust.STATUS
    return Trust.OPENED if kind in _OPENED else Trust.READ


def layers_of(options: Iterable[bytes]) -> Iterator[bytes]:
    """The directories that an overlay is made of, where they can be told."""
    for option in options:
        name, _, value = option.partition(b"=")
        if name in _LAYERS:
            yield from filter(None, value.split(b":"))
