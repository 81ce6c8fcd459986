"""What is said of a peer of another release: which it is, and what of its words is passed over."""

from __future__ import annotations

import logging

from zcc import __version__
from zcc.printable import printable

logger = logging.getLogger(__name__)

# Kinds that are told of, each once.
MAX_TOLD = 32


class NewerPeer:
    """`who` is the peer, as a line of the log has it."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._release = __version__
        self._told: set[bytes] = set()

    def note(self, kind: bytes) -> None:
        """A message of this kind was passed over."""
        if kind not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(kind)
            name = printable(kind.decode(errors="replace"))
            logger.warning(
                "%s says %s, which zcc %s does not know: passed over", self._who, name, __version__
            )

    def note_release(self, release: str) -> None:
        """It has said of which release it is."""
        if release != self._release:
            self._release = release
            logger.info("%s is of zcc %s, this is %s", self._who, printable(release), __version__)
