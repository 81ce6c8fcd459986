"""What an entry of a store takes on disk, and which leave one that has grown over its limit. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Generic, TypeVar

Key = TypeVar("Key")

# A sweep empties down to this share of the limit, so that the next put does not sweep again.
LOW_WATER = 0.9
# What a file takes at the least, and in steps of: a block of nearly every file system.
BLOCK_BYTES = 4096
# Entries sorted in one go, during which no other thread runs: 1 ms.
_SORTED_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class Entry(Generic[Key]):
    key: Key
    size_bytes: int
    last_use_s: float


def size_on_disk(length_bytes: int) -> int:
    """What a file of this length takes: whole blocks, and one at the least.

    Not what the file system says (`st_blocks`): some say it only once it is written out, or less where they
    compress, and a store would subtract another number than it has added.
    """
    return max(1, -(-length_bytes // BLOCK_BYTES)) * BLOCK_BYTES


def choose_victims(entries: Iterable[Entry[Key]], limit_bytes: int) -> list[Key]:
    """The least recently used entries whose removal brings the sum to LOW_WATER of the limit.

    Returns an empty list while the sum is within `limit_bytes`. May run in a thread beside others.
    """
    rest = iter(entries)
    slices: list[list[Entry[Key]]] = []
    total = 0
    while part := list(islice(rest, _SORTED_AT_ONCE)):
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
