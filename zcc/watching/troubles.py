"""What is wrong on a farm, a sentence each: what the page and `zcc top` say. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from zcc.watching.names import node_names
from zcc.watching.state import FarmState
from zcc.watching.views import FAILED, OK, UNPROVEN

BAD, WARN, NOTE = "bad", "warn", "note"
_ORDER = (BAD, WARN, NOTE)
# What a node in one of these states lends is given to nobody.
GIVEN_NOTHING = ("quarantined", "paused", "draining", "resting")
# What is worth a word: percent of the time, times the average slot, milliseconds, seconds.
_MEMORY_PRESSURE, _SLOW, _LONG_WAIT_MS, _LATELY_S = 10.0, 0.5, 60_000, 300.0
# Of so many last jobs of a node, at least so many (and the most of them) ended by a copy elsewhere.
_LAST_JOBS, _LEAST_BEATEN = 6, 3
# Runs that are looked at for that, and sentences that are told.
_MOST_RUNS, _MOST = 20_000, 50


@dataclass(frozen=True, slots=True)
class Trouble:
    """`level` is bad, warn or note."""

    level: str
    text: str


def lent(state: str, slots: int) -> int:
    """How many of the slots that a node in this state lends jobs may come to."""
    return 0 if state in GIVEN_NOTHING else slots


def troubles(state: FarmState) -> list[Trouble]:
    """The worst first; nothing before the farm was told."""
    if state.farm is None:
        return []
    names = node_names(state)

    def called(number: int, otherwise: str) -> str:
        return names.get(number, otherwise)

    found = [
        *_of_nodes(state, names),
        *_of_queue(state),
        *_of_tiers(state),
        *_of_departures(state),
        *_of_faults(state, called),
        *_of_copies(state, called),
    ]
    return sorted(found, key=lambda each: _ORDER.index(each.level))[:_MOST]


_Called = Callable[[int, str], str]


def _of_nodes(state: FarmState, names: dict[int, str]) -> Iterator[Trouble]:
    if not state.nodes:
        yield Trouble(
            BAD, "No node is connected: every compile runs on the machine that asks for it."
        )
    elif not any(lent(each.shown.state, each.shown.slots) for each in state.nodes.values()):
        yield Trouble(BAD, "No node lends a slot at present.")
    for number, node in state.nodes.items():
        shown, name = node.shown, names[number]
        lends = lent(shown.state, shown.slots)
        because = f": {shown.reason}" if shown.reason else ""
        slots = _plural(shown.all_slots, "slot")
        if shown.state == "quarantined":
            yield Trouble(BAD, f"{name} is in quarantine{because}. Its {slots} are missing.")
        elif shown.pressure >= _MEMORY_PRESSURE:
            share = f"{shown.pressure:.0f}% of the time"
            yield Trouble(
                WARN, f"{name} is short of memory: its processes waited for some {share}."
            )
        elif shown.state in ("limited", "resting", "paused", "draining"):
            yield Trouble(NOTE, f"{name} lends {lends} of {slots}{because}.")
        if 0 < shown.speed < _SLOW and lends:
            speed = f"{shown.speed:.2f} times the speed of the farm's average slot"
            yield Trouble(
                WARN, f"{name} is slow: {speed}. A long job there holds up a build's end."
            )


def _of_queue(state: FarmState) -> Iterator[Trouble]:
    for row in state.queue.rows if state.queue is not None else ():
        member = state.members.get(row.member)
        who = member.name.partition("@")[0] or member.name if member is not None else "somebody"
        jobs = _plural(row.queued + row.sending + row.parked + row.ready, "job")
        if row.why == "no-node-fits":
            yield Trouble(BAD, f"No node may run {jobs} of {who}.")
        elif row.oldest_ms > _LONG_WAIT_MS:
            yield Trouble(WARN, f"A job of {who} has waited for {_span(row.oldest_ms)}.")


def _of_tiers(state: FarmState) -> Iterator[Trouble]:
    for tier in state.tiers.values():
        ways = [
            way
            for way, its_state in (("looks up", tier.state), ("writes", tier.writes))
            if its_state in ("open", "half-open")
        ]
        if ways:
            done = " or ".join(ways)
            yield Trouble(
                WARN, f"The tier {tier.name} fails: nobody {done} anything there for now."
            )


def _of_departures(state: FarmState) -> Iterator[Trouble]:
    for node in reversed(state.past_nodes):
        if node.left_s is None or node.left_s < state.now_s - _LATELY_S:
            break
        if node.left_why != "bye":
            yield Trouble(WARN, f"{node.shown.name} is gone: {node.left_why}.")


def _of_faults(state: FarmState, called: _Called) -> Iterator[Trouble]:
    times: Counter[str] = Counter()
    last: dict[str, str] = {}
    for run in reversed(state.faults):
        if (run.ended_s or 0.0) < state.now_s - _LATELY_S:
            break
        name = called(run.node.number, run.node.shown.name)
        times[name] += 1
        last.setdefault(name, run.ending)
    for name, count in times.items():
        jobs = _plural(count, "job")
        yield Trouble(
            WARN,
            f"{name} failed at {jobs} in the last five minutes, the last time for: {last[name]}.",
        )


def _of_copies(state: FarmState, called: _Called) -> Iterator[Trouble]:
    """Nodes of whose last jobs a copy elsewhere has ended most sooner."""
    found: dict[str, list[bool]] = {}
    for run in islice(reversed(state.runs), _MOST_RUNS):
        if (run.ended_s or 0.0) <= state.now_s - _LATELY_S:
            break
        if run.leased.is_copy or run.ending not in ("beaten", OK, FAILED, UNPROVEN):
            continue
        jobs = found.setdefault(called(run.node.number, run.node.shown.name), [])
        if len(jobs) < _LAST_JOBS:
            jobs.append(run.ending == "beaten")
    for name, jobs in found.items():
        beaten, last = sum(jobs), _plural(len(jobs), "job")
        if beaten >= _LEAST_BEATEN and 2 * beaten > len(jobs):
            lost = f"{name} lost {beaten} of its last {last} to second copies"
            yield Trouble(WARN, f"{lost}: it is slow or stuck.")


def _plural(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"


def _span(ms: int) -> str:
    seconds = round(ms / 1000)
    return f"{seconds} s" if seconds < 100 else f"{seconds // 60}:{seconds % 60:02} min"
