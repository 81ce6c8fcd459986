"""What an entry of a store takes on disk, and which leave one that has grown over its limit. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter
from typing import Generic, TypeVar

Key = TypeVar("Key")

# A sweep empties down to this share of the limit, so that the next put does not sweep again.
LOW_WATER = 0.9
# What a file takes at the least, and in steps of: a block of nearly every file system.
BLOCK_BYTES = 4096
# A use is written down again after so long.
NOTED_EVERY_S = 3600.0
# So far a file server's clock may be ahead of ours.
CLOCKS_DIFFER_S = 3600.0
# Entries sorted in one go, during which no other thread runs: 1 ms.
_SORTED_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class StoreEntry(Generic[Key]):
    key: Key
    size_bytes: int
    last_use_s: float


def is_use_news(last_use_s: float, now_s: float, after_s: float = NOTED_EVERY_S) -> bool:
    """Whether a use now is worth a write: the last one is long ago, or a clock that was wrong wrote it."""
    return abs(now_s - last_use_s) > after_s


def size_on_disk(length_bytes: int) -> int:
    """What a file of this length takes: whole blocks, and one at the least.

    Not what the file system says (`st_blocks`): some say it only once it is written out, or less where they
    compress, and a store would subtract another number than it has added.
    """
    return max(1, -(-length_bytes // BLOCK_BYTES)) * BLOCK_BYTES


def choose_victims(entries: Iterable[StoreEntry[Key]], limit_bytes: int, now_s: float) -> list[Key]:
    """The least recently used entries whose removal brings the sum to LOW_WATER of the limit.

    A use that lies ahead of `now_s` (Unix seconds, as the uses) by more than CLOCKS_DIFFER_S is of a clock that
    was wrong: such entries go first, or they would stay for as long as it was ahead, and what is new would go.

    Returns an empty list while the sum is within `limit_bytes`. May run in a thread beside others.
    """
    latest_s = now_s + CLOCKS_DIFFER_S
    rest = iter(entries)
    slices: list[list[StoreEntry[Key]]] = []
    total = 0
    while part := list(islice(rest, _SORTED_AT_ONCE)):
        for at, entry in enumerate(part):
            if entry.last_use_s > latest_s:
                part[at] = replace(entry, last_use_s=0.0)
        slices.append(part)
        total += sum(entry.size_bytes for entry in part)
    if total <= limit_bytes:
        return []
    last_use = attrgetter("last_use_s")
    for part in slices:
        part.sort(key=last_use)
    target = int(limit_bytes * LOW_WATER)
    victims: list[Key] = []
    for entry in heapq.merge(*slices, key=last_use):
        if total <= target:
            break
        victims.append(entry.key)
        total -= entry.size_bytes
    return victims
