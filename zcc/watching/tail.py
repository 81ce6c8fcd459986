"""What held up the end of a build: the compiles that ran on while its slots fell idle, why, and what would have
helped. Pure.

    its slots    how many compiles ran at once for a tenth of the time at least
    the tail     from the last moment at which three quarters of its slots ran
    even end     when the compiles of the tail would have ended, spread over all its slots

What ended behind the even end held up the end. Each of those is explained by its own way: what it waited for,
how much longer its node took than the fastest one, and when the build came to it. Only what the farm compiled
is known; a link that waits for it is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Of the time for which a build ran as many at once as it has slots, at least.
_SLOTS_SHARE = 0.1
# Its slots are idle while fewer of them than this run.
_FULL_SHARE = 0.75
# What could have ended no sooner than this, or than so much of the build, is nothing to speak of.
_LEAST_MS = 1000
_LEAST_SHARE = 1 / 50
# What helps less is not told in a sentence.
_LEAST_TOLD_MS = 100
_LEAST_TOLD_SHARE = 1 / 20
MOST_HOLDERS = 20
_MOST_TOLD = 3

WAITED, SLOW_NODE, INPUTS, FETCH = "waited", "slow-node", "inputs", "fetch"
CAME_LATE, LONG = "came-late", "long"


@dataclass(frozen=True, slots=True)
class Compile:
    """One that has ended on a node: moments, and ms of its phases. `rate` and `fastest` as in `leased`."""

    file: str
    node: str
    queued_ms: int
    started_ms: int
    ended_ms: int
    wall_ms: int
    queue_ms: int
    send_ms: int
    fetch_ms: int
    rate: float
    fastest: float

    @property
    def on_fastest_ms(self) -> int:
        """What the compiler would have taken on the fastest node that might have run it."""
        if self.rate <= 0.0 or self.fastest <= 0.0:
            return self.wall_ms
        return round(self.wall_ms * min(1.0, self.fastest / self.rate))


@dataclass(frozen=True, slots=True)
class LateCompile:
    """A compile that held up the end. It ended `late_ms` behind the even end. `causes` are ms by which it would
    have ended sooner without each of them, `late_ms` at most; `why` is the first of them: waited (for a slot),
    slow-node, inputs (from the machine that builds), fetch (by its node), came-late (the build came to it after
    `came_after_ms`), long (longer than all the rest, anywhere)."""

    file: str
    node: str
    ended_ms: int
    late_ms: int
    why: str
    wall_ms: int
    on_fastest_ms: int
    came_after_ms: int
    causes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a build. `even_ms` is when it could have ended; `at_most` of its `slots` ran in it. `holders`
    are those that held it up, the last first, and so many more `left_out`. `helps` are ms by which it would
    have ended sooner without each cause."""

    began_ms: int
    ended_ms: int
    even_ms: int
    at_most: int
    slots: int
    holders: tuple[LateCompile, ...]
    left_out: int
    helps: tuple[tuple[str, int], ...]

    @property
    def lost_ms(self) -> int:
        return self.ended_ms - self.even_ms


def find_tail(compiles: Sequence[Compile]) -> Tail | None:
    """None: its compiles end about together."""
    if len(compiles) < 2:
        return None
    steps = list(_running(compiles))
    slots, began_build = _slots(steps), min(each.queued_ms for each in compiles)
    ended = max(each.ended_ms for each in compiles)
    full = max((at for at, running in steps if running >= _FULL_SHARE * slots), default=0)
    began = min((at for at, running in steps if at > full), default=ended)
    left_ms = sum(max(0, each.ended_ms - max(each.started_ms, began)) for each in compiles)
    even = began + -(-left_ms // slots)
    if ended - even < max(_LEAST_MS, (ended - began_build) * _LEAST_SHARE):
        return None
    late = sorted(
        (each for each in compiles if each.ended_ms > even), key=lambda each: -each.ended_ms
    )
    holders = tuple(_holder(each, even, began_build) for each in late)
    at_most = max((running for at, running in steps if at >= began), default=0)
    helps = _helps(holders, even, ended)
    left_out = max(0, len(holders) - MOST_HOLDERS)
    return Tail(began, ended, even, at_most, slots, holders[:MOST_HOLDERS], left_out, helps)


def _running(compiles: Sequence[Compile]) -> Iterator[tuple[int, int]]:
    """(moment, how many run from then on), each moment once, in order."""
    changes = Counter[int]()
    for each in compiles:
        changes[each.started_ms] += 1
        changes[each.ended_ms] -= 1
    running = 0
    for at in sorted(changes):
        running += changes[at]
        yield at, running


def _slots(steps: Sequence[tuple[int, int]]) -> int:
    """The most that ran at once, but for what lasted only a moment."""
    lasted = Counter[int]()
    for (at, running), (until, _) in pairwise(steps):
        lasted[running] += until - at
    least_ms = _SLOTS_SHARE * lasted.total()
    for running in sorted(lasted, reverse=True):
        least_ms -= lasted[running]
        if least_ms <= 0:
            return max(1, running)
    return 1


def _holder(each: Compile, even: int, began_build: int) -> LateCompile:
    late = each.ended_ms - even
    causes = {
        WAITED: each.queue_ms,
        SLOW_NODE: each.wall_ms - each.on_fastest_ms,
        INPUTS: each.send_ms,
        FETCH: each.fetch_ms,
    }
    own = max(0, each.ended_ms - each.queued_ms - sum(causes.values()))
    # Had it been served at once by the fastest node, it would have been as late still.
    causes[CAME_LATE if began_build + own <= even else LONG] = each.queued_ms + own - even
    told = {cause: min(gain, late) for cause, gain in causes.items() if gain > 0}
    ordered = tuple(sorted(told.items(), key=lambda cause: -cause[1]))
    return LateCompile(
        each.file,
        each.node,
        each.ended_ms,
        late,
        ordered[0][0] if ordered else LONG,
        each.wall_ms,
        each.on_fastest_ms,
        each.queued_ms - began_build,
        ordered,
    )


def _helps(holders: Sequence[LateCompile], even: int, ended: int) -> tuple[tuple[str, int], ...]:
    """By how much sooner the last of them had ended without each cause, the most first."""
    helps = {}
    for cause in {cause for each in holders for cause, _ in each.causes}:
        last = max(each.ended_ms - dict(each.causes).get(cause, 0) for each in holders)
        helps[cause] = ended - max(even, last)
    found = [(cause, ms) for cause, ms in helps.items() if ms > 0]
    return tuple(sorted(found, key=lambda help: (-help[1], help[0])))


_WHY = {
    WAITED: "it waited {gain} for a slot",
    SLOW_NODE: "that node took {wall}, the fastest would have taken {fastest}",
    INPUTS: "its inputs took {gain} to come from the machine that builds",
    FETCH: "its node took {gain} to fetch what it lacked",
    CAME_LATE: "the build came to it {came} after its beginning",
    LONG: "it takes {fastest} on any node, longer than the rest together",
}
_HELP = {
    WAITED: "a slot at once",
    SLOW_NODE: "the fastest node",
    INPUTS: "a faster line from the machine that builds",
    FETCH: "what it needs, already there",
    CAME_LATE: "an earlier place in the build's order",
    LONG: "smaller sources",
}


def sentences(tail: Tail) -> list[str]:
    """The same for people, a line each."""
    one = "1 compile" if tail.at_most == 1 else f"{tail.at_most} compiles"
    told = [
        f"For its last {_spoken(tail.ended_ms - tail.began_ms)} at most {one} ran at once, of"
        f" {tail.slots} before. Spread evenly it would have ended {_spoken(tail.lost_ms)} sooner."
    ]
    for each in tail.holders[:_MOST_TOLD]:
        why = _WHY[each.why].format(
            gain=_spoken(dict(each.causes).get(each.why, 0)),
            wall=_spoken(each.wall_ms),
            fastest=_spoken(each.on_fastest_ms),
            came=_spoken(each.came_after_ms),
        )
        file = each.file or "A file that is not told"
        told.append(f"{file} on {each.node} ended {_spoken(each.late_ms)} later than that: {why}.")
    others = len(tail.holders) + tail.left_out - _MOST_TOLD
    if others > 0:
        told.append(f"So did {others} more.")
    worth_ms = max(_LEAST_TOLD_MS, _LEAST_TOLD_SHARE * tail.lost_ms)
    helps = [f"{_HELP[cause]} ({_spoken(ms)} sooner)" for cause, ms in tail.helps if ms >= worth_ms]
    if helps:
        told.append(f"What would have helped: {', or '.join(helps)}.")
    elif len(tail.holders) > 1:
        told.append(
            "What would have helped: no one thing, as they were late for different reasons."
        )
    return told


def _spoken(ms: int) -> str:
    return f"{ms / 1000:.1f} s" if ms < 60_000 else f"{ms // 60_000} min {ms // 1000 % 60} s"
