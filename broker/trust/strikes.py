"""Who fails too often is put aside for a while, each time twice as long. Pure."""

from __future__ import annotations

from collections import Counter, deque

# Whose word a failure is, where he who failed says so or we have seen it. No key looks like this.
_ITSELF = "itself"


class Strikes:
    """`most` failures among the last `window` put aside, at first for `penalty_s`, at most for `most_s`.

    `until` is when that ends. A failure that others alone speak of counts only beside as many that further ones
    do: `recent` has whose word each is, nothing for what went well.
    """

    __slots__ = ("_first_s", "_most_s", "most", "penalty_s", "recent", "until")

    def __init__(self, window: int, most: int, penalty_s: float, most_s: float) -> None:
        self.recent: deque[str] = deque(maxlen=window)
        self.until = 0.0
        self.penalty_s = penalty_s
        self.most = most
        self._first_s = penalty_s
        self._most_s = most_s

    def note_good(self) -> None:
        self.recent.append("")
        if len(self.recent) == self.recent.maxlen and not any(self.recent):
            self.penalty_s = self._first_s

    def note_bad(self, now: float, shown_by: str = "") -> bool:
        """Count a failure; returns whether it was one too many. `shown_by`: it is this one's word alone."""
        self.recent.append(shown_by or _ITSELF)
        said = Counter(by for by in self.recent if by not in ("", _ITSELF))
        if sum(map(bool, self.recent)) - max(said.values(), default=0) < self.most:
            return False
        self.put_aside(now)
        return True

    def put_aside(self, now: float) -> None:
        self.recent.clear()
        self.until = now + self.penalty_s
        self.penalty_s = min(2 * self.penalty_s, self._most_s)


class Failings(Strikes):
    """The same for a key whose jobs fail, if several others say so. Of its last jobs `said_by` has the keys of
    the nodes that failed each; nothing for those that ran."""

    __slots__ = ("said_by",)

    def __init__(self, window: int, most: int, penalty_s: float, most_s: float) -> None:
        super().__init__(window, most, penalty_s, most_s)
        self.said_by: deque[frozenset[str]] = deque(maxlen=window)

    def note_good(self) -> None:
        super().note_good()
        self.said_by.append(frozenset())

    def note_failed(self, said_by: frozenset[str], now: float) -> str:
        """Count a failure. So many of them put the key aside, whichever one node key's word alone is taken
        away; returns that node key if it alone says as many. That is then between the two."""
        self.recent.append(_ITSELF)
        self.said_by.append(said_by)
        alone = Counter(key for keys in self.said_by if len(keys) == 1 for key in keys)
        accuser, by_one = max(alone.items(), key=lambda item: item[1], default=("", 0))
        if sum(map(bool, self.said_by)) - by_one >= self.most:
            self.said_by.clear()
            self.put_aside(now)
            return ""
        if by_one < self.most:
            return ""
        left = [keys for keys in self.said_by if keys != {accuser}]
        self.said_by = deque(left, maxlen=self.said_by.maxlen)
        return accuser
