"""What agents count by themselves, as watchers are told it: by words that are known here. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from broker.watching.numbers import shown
from zcc.bounds import MAX_COUNT
from zcc.events import Row
from zcc.reasons import reason_of
from zcc.subject import BuildCounts

# What a reason is called that this release does not have.
OTHER = "other"


def counts_row(counts: BuildCounts, member: int, build: int, at_ms: int) -> Row:
    """The row of `counted`."""
    local, missed = _by_word(counts.local), _by_word(counts.missed)
    files = tuple((_word(one.reason), shown(one.file), one.waited_ms) for one in counts.files)
    told = counts.local_hits, counts.saved_ms, local, missed, files
    return "counted", at_ms, member, build, *told


def _word(code: str) -> str:
    return code if reason_of(code) is not None else OTHER


def _by_word(counts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    told = Counter[str]()
    for code, count in counts:
        word = _word(code)
        told[word] = min(MAX_COUNT, told[word] + count)
    return tuple(told.items())
