"""When each member was last heard, and from which address: for `zcc-broker keys`. Pure.

Members beat each second. What is written down of that is bounded: each write takes the loop's time.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.core.limits import MAX_SEEN_WRITES, SEEN_EVERY_S


@dataclass(slots=True)
class _Seen:
    at_unix_s: float
    address: str
    is_changed: bool
    due_s: float


class Attendance:
    """Keeps one entry a key that has been admitted, so as many as the registry has at most."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def connected(self, key: str, address: str, at_unix_s: float, now: float) -> None:
        """A connection was made with this key."""
        found = self._seen.get(key)
        if found is None:
            self._seen[key] = _Seen(at_unix_s, address, True, now)
        else:
            found.address, found.at_unix_s, found.is_changed = address, at_unix_s, True

    def heard(self, key: str, at_unix_s: float) -> None:
        """A message came from this key."""
        found = self._seen.get(key)
        if found is not None:
            found.at_unix_s, found.is_changed = at_unix_s, True

    def due(self, now: float, is_last: bool = False) -> list[tuple[str, float, str]]:
        """(key, Unix seconds, address) to be written down now: each key seldom, not many at a time.

        `is_last`: all that has not been written down, since the broker stops.
        """
        rows: list[tuple[str, float, str]] = []
        for key, seen in self._seen.items():
            if not seen.is_changed or (now < seen.due_s and not is_last):
                continue
            if len(rows) >= MAX_SEEN_WRITES and not is_last:
                break
            rows.append((key, seen.at_unix_s, seen.address))
            seen.is_changed, seen.due_s = False, now + SEEN_EVERY_S
        return rows
