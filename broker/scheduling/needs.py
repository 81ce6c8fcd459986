"""How much memory a job is taken to need, by what nodes have said. Pure.

The nodes of one key are one voice (`broker/trust/opinions.py`), here too. A job that needs more than any other
key's node can give goes to nodes of that key alone, or to none: so that is believed only when somebody else
has said it, or nobody else is there to be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryClaim:
    """What nodes of the key `by` say: it has had `peak_bytes`, and cannot do with less than `least_bytes`."""

    by: str
    peak_bytes: int
    least_bytes: int = 0


def believed(
    words: Iterable[MemoryClaim], reach: Callable[[str], float | None]
) -> MemoryClaim | None:
    """The largest need that is to be believed; None where there is none.

    `reach` tells what nodes of other keys than this can give at the most; None: there are none. Those that
    cannot give what is believed already are not to be asked.
    """
    found: MemoryClaim | None = None
    for word in sorted(words, key=lambda each: each.least_bytes):
        most_bytes, least_bytes = reach(word.by), 0 if found is None else found.least_bytes
        if most_bytes is None or word.least_bytes <= most_bytes or most_bytes < least_bytes:
            found = word
    return found
