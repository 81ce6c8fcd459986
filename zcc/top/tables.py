"""The four tables of `zcc top`, and its lines about the farm."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

from zcc.cli.figures import duration, size_text
from zcc.top.columns import Column, Spans, TableOf, number, words
from zcc.top.log import BAD, WARNING, EventLine
from zcc.top.overview import NO_LETTER, NodeLine, Overview, QueueLine
from zcc.watching.builds import BuildLine
from zcc.watching.troubles import lent

# Of the terminal's own palette, so that they are read on its dark and its light.
_COLOURS = (
    "cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta",
)  # fmt: skip
_STYLES = {BAD: "bold red", WARNING: "yellow"}
_STATES = {"quarantined": "bold red", "ready": "green"}
FETCHING, IDLE, NOT_LENT = ":", ".", "-"


def colour_of(name: str) -> str:
    """Of a user, on every screen the same."""
    return _COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]


def clock(at_ms: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_ms / 1000))


def share(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.0f}%"


def bar(node: NodeLine, width: int, overview: Overview) -> Spans:
    """A node's slots, a letter each: its user's. A node with more slots than that has them to scale, and who
    has any has one."""
    parts = [
        (overview.letters.get(name, NO_LETTER), count, f"bold {colour_of(name)}")
        for name, count in node.users
    ]
    held, lends = node.running + node.fetching, lent(node.state, node.slots)
    parts += [
        (FETCHING, min(node.fetching, max(0, node.all_slots - node.running)), ""),
        (IDLE, lends - held, "dim"),
        (NOT_LENT, node.all_slots - max(lends, held), "dim"),
    ]
    parts = [part for part in parts if part[1] > 0]
    total = sum(count for _, count, _ in parts)
    if total <= width:
        return [(letter * count, style) for letter, count, style in parts]
    spans, done, cells = Spans(), 0, 0
    for others, (letter, count, style) in zip(reversed(range(len(parts))), parts, strict=True):
        done += count
        until = max(cells + 1, min(done * width // total, width - others))
        until = min(until, width)
        spans.append((letter * (until - cells), style))
        cells = until
    return spans


def _span(took_ms: int) -> str:
    return duration(took_ms // 1000)


def _user(line: BuildLine | QueueLine, width: int, overview: Overview) -> Spans:
    letter = overview.letters.get(line.user)
    mark = (letter, f"bold {colour_of(line.user)}") if letter else (" ", "")
    return [mark, (f" {line.user or '-'}", "")]


def _state(node: NodeLine, width: int, overview: Overview) -> Spans:
    return [(node.state, _STATES.get(node.state, "yellow"))]


def _slots(node: NodeLine, width: int, overview: Overview) -> Spans:
    return [(f"{node.running}/{lent(node.state, node.slots)}", "")]


def _hits(build: BuildLine, width: int, overview: Overview) -> Spans:
    return [(share(build.hit_rate), "")]


def _memory(node: NodeLine, width: int, overview: Overview) -> Spans:
    """Promised to jobs, of what they may have now."""
    if not node.memory_limit_bytes:
        return [("-", "")]
    return [(f"{_gib(node.memory_reserved_bytes)}/{_gib(node.memory_usable_bytes)}", "")]


def _gib(size_bytes: int) -> str:
    gib = size_bytes / 2**30
    return f"{gib:.1f}" if gib < 10 else f"{gib:.0f}"


def _event(line: EventLine, width: int, overview: Overview) -> Spans:
    mark = "! " if line.level == BAD else ""
    return [(mark, "bold red"), (line.text, _STYLES.get(line.level, ""))]


def _fixed(digits: int, unit: str = "") -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}f}{unit}"


NODES = TableOf(
    "nodes",
    (
        words("NODE", 12, lambda line: line.label, "bold", grows=1),
        Column("STATE", 11, _state, lambda line: line.state),
        Column("SLOTS", 7, _slots, lambda line: line.running, is_right=True),
        Column("IN USE", 16, bar, lambda line: line.running / (line.all_slots or 1), grows=2, rank=1),
        number("SPEED", 5, lambda line: line.speed, _fixed(2), rank=2),
        number("LOAD", 5, lambda line: line.load, _fixed(1), rank=3),
        Column("MEM GiB", 8, _memory, lambda line: line.memory_reserved_bytes, True, rank=4),
        number("FAULTS", 6, lambda line: line.faults, rank=5),
        number("JOBS", 7, lambda line: line.finished, str, rank=6),
        number("PSI", 4, lambda line: line.pressure, _fixed(0, "%"), rank=7),
        words("WHY", 20, lambda line: line.reason, grows=1, rank=8),
    ),
    lambda overview: sorted(overview.nodes, key=lambda line: line.label),
    lambda line: str(line.number),
    lambda line: (
        line.name, line.key, line.state, line.mode, line.reason, *dict(line.users), *line.toolchains,
    ),
    "no node is connected: zcc-node join TOKEN, then zcc-node serve, on a machine that is to lend",
)  # fmt: skip

BUILDS = TableOf(
    "builds",
    (
        words("BUILD", 18, lambda line: line.name, "bold", grows=3),
        Column("USER", 12, _user, lambda line: line.user, grows=1),
        number("TOOK", 9, lambda line: line.took_ms, _span),
        number("RUN", 4, lambda line: line.running),
        number("WAIT", 5, lambda line: line.waiting),
        number("DONE", 6, lambda line: line.compiles, str),
        Column("HITS", 4, _hits, lambda line: line.hit_rate or 0.0, True, rank=1),
        number("HERE", 5, lambda line: line.local, rank=2),
        number("FAIL", 4, lambda line: line.failed, rank=3),
        number("CPU", 11, lambda line: line.cpu_ms, _span, rank=4),
        number("SAVED", 11, lambda line: line.saved_ms, _span, rank=5),
        number("BEGAN", 8, lambda line: line.began_ms, clock, rank=6),
    ),
    lambda overview: overview.builds,
    lambda line: str(line.id),
    lambda line: (line.name, line.user, line.host, line.id),
    "no build since this began to watch",
)

QUEUE = TableOf(
    "queue",
    (
        words("QUEUE", 5, lambda line: f"{line.place}."),
        Column("USER", 12, _user, lambda line: line.user, grows=1),
        words("BUILD", 18, lambda line: line.build, "bold", grows=2),
        number("JOBS", 5, lambda line: line.jobs),
        number("OLDEST", 9, lambda line: line.oldest_ms, _span),
        words("NEXT WAITS FOR", 16, lambda line: line.why, grows=1),
        number("READY", 5, lambda line: line.ready, rank=1),
        number("SENDING", 7, lambda line: line.sending, rank=2),
    ),
    lambda overview: overview.queue,
    lambda line: f"{line.user}/{line.build}",
    lambda line: (line.user, line.build, line.why),
    "nobody waits",
)

EVENTS = TableOf(
    "events",
    (
        number("AT", 8, lambda line: line.at_ms, clock),
        Column("EVENT", 30, _event, lambda line: line.text, grows=1),
    ),
    lambda overview: overview.events,
    lambda line: f"{line.at_ms} {line.text}",
    lambda line: (line.text,),
    "nothing since this began to watch",
)

TABLES = (NODES, BUILDS, QUEUE, EVENTS)


def summary(overview: Overview) -> str:
    """The farm in a line."""
    rate = "" if overview.per_s is None else f"  {overview.per_s:.1f}/s"
    hits = "" if overview.hit_rate is None else f"  hits {share(overview.hit_rate)}"
    cache = f"  cache {size_text(overview.cache_bytes)}" if overview.cache_bytes else ""
    return (
        f"{overview.running}/{overview.slots} slots  {overview.waiting} wait{rate}{hits}"
        f"  {overview.agents} agent{'' if overview.agents == 1 else 's'}{cache}"
    )


def people(overview: Overview) -> Spans:
    """Who has jobs, with their letters: a letter stands for its user in the bars."""
    spans: Spans = []
    for user in overview.users:
        spans += [
            (user.letter, f"bold {colour_of(user.name)}"),
            (f" {user.name or 'somebody'} {user.running}+{user.waiting}  ", ""),
        ]
    return spans or [("nobody compiles", "dim")]


def trouble(overview: Overview) -> str:
    """What is wrong, in a line; empty: nothing."""
    if not overview.troubles:
        return ""
    more = len(overview.troubles) - 1
    return f"! {f'(and {more} more) ' if more else ''}{overview.troubles[0]}"
