"""How far builds are that somebody watches from the command line, by ZCC_BUILD. Pure.

What `zcc watch` shows while the command runs. Calls without ZCC_BUILD are not counted here.
"""

from __future__ import annotations

from dataclasses import dataclass

# Names that are remembered; of those with no call under way the oldest goes.
MAX_NAMES = 64


@dataclass(slots=True)
class Counted:
    """Calls of one name: `hits` were answered by a cache, which spared `saved_s` of CPU time, `local` ran
    here."""

    done: int = 0
    running: int = 0
    hits: int = 0
    remote: int = 0
    local: int = 0
    saved_s: float = 0.0


class Progress:
    """`name` is what a call has in ZCC_BUILD; empty: nothing."""

    def __init__(self) -> None:
        self._by_name: dict[bytes, Counted] = {}

    def arrived(self, name: bytes) -> None:
        """A call."""
        if not name:
            return
        counted = self._by_name.setdefault(name, Counted())
        counted.running += 1
        if len(self._by_name) > MAX_NAMES:
            over = (each for each, known in self._by_name.items() if not known.running)
            self._by_name.pop(next(over, b""), None)

    def settled(self, name: bytes, outcome: str, saved_s: float) -> None:
        """What becomes of it is known."""
        counted = self._by_name.get(name)
        if counted is None:
            return
        counted.hits += outcome in ("local_hit", "shared_hit")
        counted.remote += outcome == "remote"
        counted.local += outcome == "local"
        counted.saved_s += saved_s

    def left(self, name: bytes) -> None:
        """It is over, its compile here too."""
        counted = self._by_name.get(name)
        if counted is not None:
            counted.running -= 1
            counted.done += 1

    def of(self, name: bytes) -> Counted:
        return self._by_name.get(name) or Counted()
