"""Which entries leave a store that has grown over its limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

# A sweep empties down to this share of the limit, so that the next put does not sweep again.
LOW_WATER = 0.9


@dataclass(frozen=True, slots=True)
class Entry(Generic[Key]):
    key: Key
    size_bytes: int
    last_use_s: float


def choose_victims(entries: Iterable[Entry[Key]], limit_bytes: int) -> list[Key]:
    """The least recently used entries whose removal brings the sum to LOW_WATER of the limit.

    Returns an empty list while the sum is within `limit_bytes`.
    """
    ordered = sorted(entries, key=lambda entry: entry.last_use_s)
    total = sum(entry.size_bytes for entry in ordered)
    if total <= limit_bytes:
        return []
    target = int(limit_bytes * LOW_WATER)
    victims: list[Key] = []
    for entry in ordered:
        if total <= target:
            break
        victims.append(entry.key)
        total -= entry.size_bytes
    return victims
