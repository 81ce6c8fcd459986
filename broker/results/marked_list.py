"""A list in a file, only ever added to, whose beginnings can be told from those of any other list.

    a line "list HEX", then lines "KIND HEX"

Lines are known by their number and by what they say: the *mark* of the first N is a digest of the mark of one
line fewer and of the Nth; that of none is HEX of the list. So who has kept a mark and its number knows whether
this list begins as the one that he knew. It may be begun anew at any time; who knew the old one knows nothing
of it then.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from hashlib import blake2b

from broker.membership.lines import add_lines, open_lines
from zcc.keys import save_private

logger = logging.getLogger(__name__)

MARK_BYTES = 16

Entry = tuple[bytes, bytes]  # the kind, and which


class MarkedList:
    """The file, in this process's eyes. `lengths` are in bytes, by kind; None: any.

    Beyond `most` entries, or `most_at_once` at a time, it is begun anew.

    Raises (all methods):
        OSError: the disk refuses.
    """

    def __init__(
        self, path: str, lengths: Mapping[bytes, int | None], most: int, most_at_once: int
    ) -> None:
        self.path = path
        self._lengths = {b"list": MARK_BYTES, **lengths}
        self._most = most
        self._most_at_once = most_at_once
        self._seen: tuple[int, ...] = ()
        self._text = b""
        self.entries: list[Entry] = []
        self.marks: list[bytes] = []  # by how many entries they are of; empty before it is read

    def has(self, mark: bytes, number: int) -> bool:
        """Whether so many of its entries are those that this mark is of."""
        return 0 <= number < len(self.marks) and self.marks[number] == mark

    def read(self) -> None:
        """See what another process has added; a list that is damaged, or none, is begun anew."""
        try:
            status = os.stat(self.path)
            seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if seen == self._seen:
                return
            with open(self.path, "rb") as file:
                text = file.read()
            # What has no newline yet is being written.
            self._take(text[: text.rfind(b"\n") + 1])
            self._seen = seen
        except FileNotFoundError:
            self.begin()
        except ValueError as error:
            logger.warning("%s: %s: beginning a new list", self.path, error)
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
            kind, first = self._parsed(lines.pop(0))
            if kind != b"list":
                raise ValueError("no list")
            entries, marks = [], [first]
        else:
            raise ValueError("an empty list")
        parsed = [self._parsed(line) for line in lines]
        for line in lines:
            marks.append(_mark(marks[-1], line))
        self.entries, self.marks, self._text = entries + parsed, marks, text

    def begin(self) -> None:
        """A new list, of which nobody has heard."""
        new = os.urandom(MARK_BYTES)
        save_private(self.path, f"list {new.hex()}\n")
        self._seen, self._text = (), b""
        self.entries, self.marks = [], [new]

    def add(self, entries: list[Entry]) -> None:
        self.read()
        if not entries:
            return
        if len(entries) > self._most_at_once or len(self.entries) + len(entries) > self._most:
            self.begin()
            return
        handle = open_lines(self.path)
        try:
            add_lines(
                handle, b"".join(b"%b %b\n" % (kind, it.hex().encode()) for kind, it in entries)
            )
        finally:
            os.close(handle)
        self.read()

    def add_surely(self, entries: list[Entry]) -> None:
        """Add these, or have everything void."""
        try:
            self.add(entries)
        except OSError:
            self.remove()

    def remove(self) -> None:
        """The next to read it begins anew: what works on a full disk."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _parsed(self, line: bytes) -> Entry:
        kind, _, which = line.partition(b" ")
        found = bytes.fromhex(which.decode("ascii"))
        if kind not in self._lengths or self._lengths[kind] not in (None, len(found)):
            raise ValueError(f"a line begins {line[:16]!r}")
        return kind, found


def _mark(before: bytes, line: bytes) -> bytes:
    return blake2b(before + line, digest_size=MARK_BYTES).digest()
