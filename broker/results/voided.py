"""What the farm takes back: results that agents' own caches have to forget as well.

    STATE/voided    a line "list HEX", then "key HEX" (of a job) and "node HEX" (all by a node of this name)

It is a marked list (`broker/results/marked_list.py`). Who has heard of lines that are the list's first is
told the rest; who has heard of others, or of more than there are, or has more than MOST_AT_ONCE before him,
forgets all that he has. So a list may be begun anew, or put back from a copy, at any time, at the price of
misses. It is begun anew when it has grown long, when everything is purged, and when the disk does not take a
line. The broker and `zcc-broker cache purge` both add to it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable

from broker.results.marked_list import MARK_BYTES, Entry, MarkedList
from broker.results.tombstones import note_tombstone
from cache.digest import DIGEST_SIZE, Digest
from cache.selection import ALL, Selection
from cache.stores import DiskStore
from zcc.errors import ProtocolError
from zcc.messages import MAX_VOIDED, AskVoided, Message, Voided

logger = logging.getLogger(__name__)

FILE_NAME = "voided"
# Of one purge, and in one message: beyond it agents forget everything, as to tell thousands of agents so many
# keys costs more (16,000: 10 ms of the loop and half a megabyte for each).
MOST_AT_ONCE = 1_000


class VoidedList(MarkedList):
    """The file in this state directory: b"key" or b"node", and which."""

    def __init__(self, state_dir: str) -> None:
        lengths = {b"key": DIGEST_SIZE, b"node": None}
        super().__init__(os.path.join(state_dir, FILE_NAME), lengths, MAX_VOIDED, MOST_AT_ONCE)


def note_purge(store: DiskStore, selection: Selection) -> Callable[[], None]:
    """What is about to be purged is void in agents' caches too, unless only its age is against it; to be said
    by calling the answer when it is gone here, as who has heard of it may ask for it again. Tiers are told
    before: what comes from them while it goes here would stay."""
    note_tombstone(store.directory, selection)
    listed = VoidedList(store.directory)
    if selection == ALL:
        return listed.begin
    only_node = Selection(node=selection.node, node_key=selection.node_key)
    named = selection.node or selection.node_key or selection.user
    if not (named or selection.toolchain_prefix or selection.key_prefix):
        return lambda: None
    entries: list[Entry]
    if selection == only_node:  # also what has left this store since
        names = {record.source.node for record in store.index.records(selection)}
        entries = [(b"node", os.fsencode(name)) for name in sorted(names)]
    else:
        entries = [(b"key", key) for key in store.index.keys(selection)]
    return lambda: listed.add_surely(entries)


class Crier:
    """Tells agents what is void: what they ask for after each Welcome, and what comes then.

    `say(route, message)` sends to an agent.
    """

    def __init__(self, state_dir: str, say: Callable[[bytes, Message], None]) -> None:
        self._list = VoidedList(state_dir)
        self._say = say
        self._told: dict[bytes, tuple[bytes, int]] = {}  # by route: the mark and number it has
        self._unwritten: list[Entry] = []

    def add(self, key: Digest) -> None:
        """This result was found wrong. That is written down at once, as the broker may be killed; agents hear
        of it with the next tick."""
        self._unwritten.append((b"key", key))
        self._write_down()

    def ask(self, route: bytes, message: AskVoided) -> None:
        """
        Raises:
            ProtocolError: it names no list.
        """
        if len(message.list_id) not in (0, MARK_BYTES):
            raise ProtocolError("a list's mark has 16 bytes")
        self._told[route] = (message.list_id, message.number)
        if self._list.marks:
            self._tell(route)

    def forget(self, route: bytes) -> None:
        self._told.pop(route, None)

    def tick(self, now: float) -> None:
        """Write down, and tell what is new. To be called about twice a second."""
        self._write_down()
        if self._list.marks:
            for route in tuple(self._told):
                self._tell(route, is_asked=False)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._list.add_surely(self._unwritten)

    def _write_down(self) -> None:
        try:
            self._list.add(self._unwritten)
            self._unwritten = []
        except OSError as error:
            logger.warning("cannot write down which results are void, trying again: %s", error)

    def _tell(self, route: bytes, is_asked: bool = True) -> None:
        known, number = self._told[route]
        last = len(self._list.entries)
        mark = self._list.marks[last]
        if (mark, last) == (known, number) and not is_asked:
            return
        # Another list's begins nowhere: at `last`, and has another mark where the number is the same.
        is_told = self._list.has(known, number) and last - number <= MOST_AT_ONCE
        since = number if is_told else last
        fresh = self._list.entries[since:]
        self._told[route] = (mark, last)
        keys, nodes = (tuple(_of(kind, fresh)) for kind in (b"key", b"node"))
        names = tuple(os.fsdecode(name) for name in nodes)
        self._say(route, Voided(mark, since, last, tuple(map(Digest, keys)), names))


def _of(kind: bytes, entries: Iterable[Entry]) -> Iterable[bytes]:
    return (which for each, which in entries if each == kind)
