"""What the farm takes back: results that agents' own caches have to forget as well.

    STATE/voided    a line "list HEX", then "key HEX" (of a job) and "node HEX" (all by a node of this name)

A line is known by its number. Who has heard of the list, and up to which number, is told the rest; who has
heard of another, or of more than there is, forgets all that he has. So a list may be begun anew at any time, at
the price of misses. That is done when it has grown long, when everything is purged, and when the disk does not
take a line. The broker and `zcc-broker cache purge` both add to it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable

from broker.lines import add_lines, open_lines
from cache.digest import DIGEST_SIZE, Digest
from cache.selection import ALL, Selection
from cache.stores import DiskStore
from zcc.errors import ProtocolError
from zcc.keys import save_private
from zcc.messages import MAX_VOIDED, AskVoided, Message, Voided

logger = logging.getLogger(__name__)

FILE_NAME = "voided"
_LIST_BYTES = 16
# Of one purge: beyond it all agents forget everything, as to tell thousands of agents so many keys costs more.
MOST_AT_ONCE = 1_000

Entry = tuple[bytes, bytes]  # b"key" or b"node", and which


class VoidedList:
    """The file, in this process's eyes.

    Raises (all methods):
        OSError: the disk refuses.
    """

    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, FILE_NAME)
        self._seen: tuple[int, int] = (0, 0)
        self.id = b""
        self.entries: list[Entry] = []

    def read(self) -> None:
        """See what another process has added; a list that is damaged, or none, is begun anew."""
        try:
            status = os.stat(self._path)
            if (status.st_ino, status.st_size) == self._seen:
                return
            with open(self._path, "rb") as file:
                lines = file.read().split(b"\n")
            self._seen = (status.st_ino, status.st_size)
            head, *parsed = [_parsed(line) for line in lines if line]
            if head[0] != b"list" or len(head[1]) != _LIST_BYTES:
                raise ValueError("no list")
        except FileNotFoundError:
            self.begin()
        except ValueError as error:
            logger.warning("%s: %s: beginning a new list", self._path, error)
            self.begin()
        else:
            self.id, self.entries = head[1], parsed

    def begin(self) -> None:
        """A new list, of which nobody has heard: everybody forgets everything."""
        new = os.urandom(_LIST_BYTES)
        save_private(self._path, f"list {new.hex()}\n")
        self.id, self.entries, self._seen = new, [], (0, 0)

    def add(self, entries: list[Entry]) -> None:
        self.read()
        if not entries:
            return
        if len(entries) > MOST_AT_ONCE or len(self.entries) + len(entries) > MAX_VOIDED:
            self.begin()
            return
        handle = open_lines(self._path)
        try:
            add_lines(
                handle, b"".join(b"%b %b\n" % (kind, it.hex().encode()) for kind, it in entries)
            )
        finally:
            os.close(handle)
        self.read()

    def add_surely(self, entries: list[Entry]) -> None:
        """Add these, or have everybody forget everything."""
        try:
            self.add(entries)
        except OSError:
            self.remove()

    def remove(self) -> None:
        """The next to read it begins anew: what works on a full disk."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


def _parsed(line: bytes) -> Entry:
    kind, _, which = line.partition(b" ")
    found = bytes.fromhex(which.decode("ascii"))
    if kind not in (b"list", b"key", b"node") or (kind == b"key" and len(found) != DIGEST_SIZE):
        raise ValueError(f"a line begins {line[:16]!r}")
    return kind, found


def note_purge(store: DiskStore, selection: Selection) -> Callable[[], None]:
    """What is about to be purged is void in agents' caches too, unless only its age is against it; to be said
    by calling the answer when it is gone here, as who has heard of it may ask for it again."""
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
        self._told: dict[bytes, tuple[bytes, int]] = {}  # by route: the list and number it has
        self._unwritten: list[Entry] = []

    def add(self, key: Digest) -> None:
        """This result was found wrong; agents hear of it with the next tick."""
        self._unwritten.append((b"key", key))

    def ask(self, route: bytes, message: AskVoided) -> None:
        """
        Raises:
            ProtocolError: it names no list.
        """
        if len(message.list_id) not in (0, _LIST_BYTES):
            raise ProtocolError("a list's name has 16 bytes")
        self._told[route] = (message.list_id, message.number)
        if self._list.id:
            self._tell(route)

    def forget(self, route: bytes) -> None:
        self._told.pop(route, None)

    def tick(self, now: float) -> None:
        """Write down, and tell what is new. To be called about twice a second."""
        try:
            self._list.read()
            if self._unwritten:
                self._list.add(self._unwritten)
                self._unwritten = []
        except OSError as error:
            logger.warning("cannot write down which results are void, trying again: %s", error)
        if self._list.id:
            for route in tuple(self._told):
                self._tell(route, is_asked=False)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._list.add_surely(self._unwritten)

    def _tell(self, route: bytes, is_asked: bool = True) -> None:
        known, number = self._told[route]
        last = len(self._list.entries)
        is_same = known == self._list.id
        if is_same and number == last and not is_asked:
            return
        fresh = self._list.entries[number:] if is_same and number <= last else []
        self._told[route] = (self._list.id, last)
        since = number if is_same and number <= last else last
        keys, nodes = (tuple(_of(kind, fresh)) for kind in (b"key", b"node"))
        names = tuple(os.fsdecode(name) for name in nodes)
        self._say(route, Voided(self._list.id, since, last, tuple(map(Digest, keys)), names))


def _of(kind: bytes, entries: Iterable[Entry]) -> Iterable[bytes]:
    return (which for each, which in entries if each == kind)
