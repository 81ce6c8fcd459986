"""What may not come back from a tier: what was found wrong or purged, and which results it goes for.

    STATE/tombstones    a line "list HEX", then "key HEX" (of a job), "keys HEX" (how keys begin), "node HEX" (a
                        name), "maker HEX" and "user HEX" (public keys), "toolchain HEX" (how its digest begins)

It is a marked list (`broker/results/marked_list.py`). What goes to a tier is sealed with the mark and number
of the lines that there are then (`cache/remote/seal.py`), and a line goes for all that was sealed before it. So
what is made again after a verdict may be kept; what was sealed before another list began is void, whatever it
is. It is read before anything of a tier is taken: `zcc-broker cache purge` adds to it too.

There is no such file before a broker has served with tiers, and nothing to be noted then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from broker.results.marked_list import Entry, MarkedList
from cache.digest import DIGEST_SIZE, Digest
from cache.remote.seal import Sealed, Stamp
from cache.selection import ALL, Selection

logger = logging.getLogger(__name__)

FILE_NAME = "tombstones"
# Some 7 MB of text, and 20 in memory. Beyond it a new list makes all that tiers hold void.
MOST_TOMBSTONES = 100_000


class Tombstones:
    """The list as the broker's loop asks it; other threads may ask for what was read last.

    `is_used` once there is a file: a broker without tiers goes on with the list of the one before, which had
    some, and begins none.
    """

    def __init__(self, state_dir: str) -> None:
        self._list = _list_in(state_dir)
        self._unwritten: list[Entry] = []
        self._last: dict[
            Entry, int
        ] = {}  # of what is named in full: the number behind its last line
        self._beginnings: list[tuple[bytes, bytes, int]] = []
        self._indexed: tuple[bytes, int] = (b"", 0)
        self.is_used = os.path.exists(self._list.path)

    def begin_use(self) -> None:
        """There are tiers now.

        Raises:
            OSError: the disk refuses.
        """
        self.is_used = True
        self.look()

    def add(self, key: Digest) -> None:
        """This result was found wrong. It counts from now on, and is written down at once."""
        if self.is_used:
            self._unwritten.append((b"key", key))
            self.tick()

    def tick(self) -> None:
        """Write down what could not be written before, and see what others have added."""
        if not self.is_used:
            return
        try:
            self._list.add(self._unwritten)
            self._unwritten = []
            self._index()
        except OSError as error:
            logger.warning(
                "cannot write down what tiers may not give back, trying again: %s", error
            )

    def look(self) -> None:
        """See what others have added.

        Raises:
            OSError: the disk refuses.
        """
        self._list.read()
        self._index()

    def close(self) -> None:
        if self.is_used and self._unwritten:
            self._list.add_surely(self._unwritten)

    def stamp(self) -> Stamp | None:
        """What is sealed now has heard of all of it; None: some is not written down, and nothing may be."""
        if self._unwritten or not self._list.marks:
            return None
        return Stamp(self._list.marks[-1], len(self._list.entries))

    def is_void(self, sealed: Sealed) -> bool:
        """Whether it was taken back since it was sealed, or sealed under another list."""
        stamp, record = sealed.stamp, sealed.record
        if not self._list.has(stamp.mark, stamp.number):
            return True
        if any(which == record.key for _, which in self._unwritten):
            return True
        source = record.source
        names: tuple[Entry, ...] = (
            (b"key", record.key),
            (b"node", os.fsencode(source.node)),
            (b"maker", source.node_key.encode()),
            (b"user", source.user.encode()),
        )
        if any(self._last.get(name, 0) > stamp.number for name in names):
            return True
        whole = {b"keys": record.key, b"toolchain": source.toolchain}
        return any(
            number > stamp.number and whole[kind].startswith(begins)
            for kind, begins, number in self._beginnings
        )

    def _index(self) -> None:
        """What the list says, to be found by what it says it of."""
        first, entries = self._list.marks[0], self._list.entries
        begun, number = self._indexed
        if begun != first:
            self._last, self._beginnings, number = {}, [], 0
        for at in range(number, len(entries)):
            kind, which = entries[at]
            if kind in (b"keys", b"toolchain"):
                self._beginnings.append((kind, which, at + 1))
            else:
                self._last[entries[at]] = at + 1
        self._indexed = first, len(entries)


def note_tombstone(state_dir: str, selection: Selection) -> None:
    """This is about to be purged: nothing of it may come from a tier, unless only its age is against it. Of
    several conditions one is noted, as more that is void costs misses only.

    Raises:
        OSError: the disk refuses.
    """
    listed = _list_in(state_dir)
    if not os.path.exists(listed.path):
        return
    if selection == ALL:
        listed.begin()
        return
    listed.add(list(_first_of(selection)))


def has_tombstones(state_dir: str) -> bool:
    """Whether there have been tiers here, which may hold what the near store does not."""
    return os.path.exists(_list_in(state_dir).path)


def _first_of(selection: Selection) -> Iterable[Entry]:
    found: tuple[Entry, ...] = (
        (b"keys", selection.key_prefix),
        (b"maker", selection.node_key.encode()),
        (b"node", os.fsencode(selection.node)),
        (b"user", selection.user.encode()),
        (b"toolchain", selection.toolchain_prefix),
    )
    return [entry for entry in found if entry[1]][:1]


def _list_in(state_dir: str) -> MarkedList:
    lengths = {
        b"key": DIGEST_SIZE,
        b"keys": None,
        b"node": None,
        b"maker": None,
        b"user": None,
        b"toolchain": None,
    }
    path = os.path.join(state_dir, FILE_NAME)
    return MarkedList(path, lengths, MOST_TOMBSTONES, MOST_TOMBSTONES)
