"""What the farm takes back: results that agents' own caches have to forget as well.

    STATE/voided    a line "list HEX", then "key HEX" (of a job) and "node HEX" (all by a node of this name)

Lines are known by their number and by what they say: the *mark* of the first N is a digest of the mark of one
line fewer and of the Nth; that of none is HEX of the list. Who has heard of lines that are the list's first is
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
from hashlib import blake2b

from broker.membership.lines import add_lines, open_lines
from cache.digest import DIGEST_SIZE, Digest
from cache.selection import ALL, Selection
from cache.stores import DiskStore
from zcc.errors import ProtocolError
from zcc.keys import save_private
from zcc.messages import MAX_VOIDED, AskVoided, Message, Voided

logger = logging.getLogger(__name__)

FILE_NAME = "voided"
_MARK_BYTES = 16
# Of one purge, and in one message: beyond it agents forget everything, as to tell thousands of agents so many
# keys costs more (16,000: 10 ms of the loop and half a megabyte for each).
MOST_AT_ONCE = 1_000

Entry = tuple[bytes, bytes]  # b"key" or b"node", and which
_LENGTHS = {b"list": _MARK_BYTES, b"key": DIGEST_SIZE, b"node": None}


class VoidedList:
    """The file, in this process's eyes.

    Raises (all methods):
        OSError: the disk refuses.
    """

    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, FILE_NAME)
        self._seen: tuple[int, ...] = ()
        self._text = b""
        self.entries: list[Entry] = []
        self.marks: list[bytes] = []  # by how many entries they are of; empty before it is read

    def has(self, mark: bytes, number: int) -> bool:
        """Whether so many of its entries are those that this mark is of."""
        return number < len(self.marks) and self.marks[number] == mark

    def read(self) -> None:
        """See what another process has added; a list that is damaged, or none, is begun anew."""
        try:
            status = os.stat(self._path)
            seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if seen == self._seen:
                return
            with open(self._path, "rb") as file:
                text = file.read()
            # What has no newline yet is being written.
            self._take(text[: text.rfind(b"\n") + 1])
            self._seen = seen
        except FileNotFoundError:
            self.begin()
        except ValueError as error:
            logger.warning("%s: %s: beginning a new list", self._path, error)
            self.begin()

    def _take(self, text: bytes) -> None:
        """
        Raises:
            ValueError: this is no list.
        """
        is_longer = bool(self._text) and text.startswith(self._text)
        fresh = text[len(self._text) :] if is_longer else text
        lines = [line for line in fresh.split(b"\n") if line]
        if is_longer:
            entries, marks = self.entries, self.marks
        elif lines:
            kind, first = _parsed(lines.pop(0))
            if kind != b"list":
                raise ValueError("no list")
            entries, marks = [], [first]
        else:
            raise ValueError("an empty list")
        parsed = [_parsed(line) for line in lines]
        for line in lines:
            marks.append(_mark(marks[-1], line))
        self.entries, self.marks, self._text = entries + parsed, marks, text

    def begin(self) -> None:
        """A new list, of which nobody has heard: everybody forgets everything."""
        new = os.urandom(_MARK_BYTES)
        save_private(self._path, f"list {new.hex()}\n")
        self._seen, self._text = (), b""
        self.entries, self.marks = [], [new]

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


def _mark(before: bytes, line: bytes) -> bytes:
    return blake2b(before + line, digest_size=_MARK_BYTES).digest()


def _parsed(line: bytes) -> Entry:
    kind, _, which = line.partition(b" ")
    found = bytes.fromhex(which.decode("ascii"))
    if kind not in _LENGTHS or _LENGTHS[kind] not in (None, len(found)):
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
        if len(message.list_id) not in (0, _MARK_BYTES):
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
