"""What `zcc top` shows of a farm's present, as plain data: its screen and `--once --json`. Pure.

The fields are those of docs/guide/top.md; a field keeps its name and its meaning, new ones may come. All text
is somebody's word, made printable here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from string import ascii_letters, digits
from typing import Any

from zcc.events import NodeShown, QueueRow
from zcc.printable import printable
from zcc.top.log import EventLine, WatchedFarm
from zcc.watching.builds import COMPILED, HITS, BuildLine, build_line
from zcc.watching.names import key_of, node_names
from zcc.watching.state import FarmState
from zcc.watching.troubles import NOTE, lent, troubles
from zcc.watching.views import NodeView

FORMAT = 1
# Of builds that are over.
MAX_PAST_BUILDS = 50
# Over how many seconds jobs a second are counted, and hits.
RATE_S, HITS_S = 10, 60
NO_LETTER = "*"
_LETTERS = ascii_letters + digits
_LIVE_PHASES = ("leased", "running")


@dataclass(frozen=True, slots=True)
class UserLine:
    letter: str
    name: str
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class NodeLine:
    number: int
    name: str
    state: str
    reason: str
    mode: str
    version: str
    running: int
    fetching: int
    slots: int
    all_slots: int
    users: tuple[tuple[str, int], ...]
    speed: float
    spread: float
    slowdown: float
    load: float
    memory_reserved_bytes: int
    memory_usable_bytes: int
    memory_limit_bytes: int
    pressure: float
    finished: int
    faults: int
    toolchains: tuple[str, ...]
    key: str
    label: str


@dataclass(frozen=True, slots=True)
class QueueLine:
    place: int
    user: str
    build: str
    jobs: int
    queued: int
    sending: int
    parked: int
    ready: int
    oldest_ms: int
    why: str


@dataclass(frozen=True)
class Overview:
    format: int
    farm: str
    version: str
    at_ms: int
    running: int
    fetching: int
    waiting: int
    slots: int
    all_slots: int
    agents: int
    watchers: int
    per_s: float | None
    hit_rate: float | None
    cache_bytes: int
    cache_limit_bytes: int
    troubles: tuple[str, ...]
    users: tuple[UserLine, ...]
    nodes: tuple[NodeLine, ...]
    builds: tuple[BuildLine, ...]
    queue: tuple[QueueLine, ...]
    queue_others: int
    events: tuple[EventLine, ...]

    @cached_property
    def letters(self) -> dict[str, str]:
        """A letter for each user that has jobs, by name."""
        return {user.name: user.letter for user in self.users}


def document(overview: Overview) -> dict[str, Any]:
    """For JSON."""
    return asdict(overview)


class Letters:
    """A letter for each user, kept while there are enough."""

    def __init__(self) -> None:
        self._by_name: dict[str, str] = {}

    def give(self, names: Iterable[str]) -> dict[str, str]:
        """Those of these users; NO_LETTER where all are taken."""
        present = list(names)
        new = [name for name in present if name not in self._by_name]
        if len(self._by_name) + len(new) > len(_LETTERS):
            self._by_name = {name: each for name, each in self._by_name.items() if name in present}
        for name in sorted(new):
            taken = set(self._by_name.values())
            own = [each for each in name.partition("@")[0].lower() if each in ascii_letters]
            wanted = [*own, *"".join(own).upper(), *_LETTERS]
            free = next((each for each in wanted if each not in taken), None)
            if free is not None:
                self._by_name[name] = free
        return {name: self._by_name.get(name, NO_LETTER) for name in present}


def overview_of(farm: WatchedFarm, letters: Letters) -> Overview:
    """The present, with what is remembered of builds and events."""
    state = farm.state
    names = node_names(state)
    nodes = tuple(_node(state, node, names[number]) for number, node in state.nodes.items())
    queue = tuple(_queue(state))
    pulse, shown = state.pulse, state.farm
    return Overview(
        format=FORMAT,
        farm=printable(shown.farm) if shown is not None else "",
        version=printable(shown.version) if shown is not None else "",
        at_ms=round(state.now_s * 1000),
        running=sum(node.running for node in nodes),
        fetching=sum(node.fetching for node in nodes),
        waiting=pulse.waiting if pulse is not None else sum(1 for _ in state.waiting()),
        slots=sum(lent(node.state, node.slots) for node in nodes),
        all_slots=sum(node.all_slots for node in nodes),
        agents=pulse.agents if pulse is not None else 0,
        watchers=pulse.watchers if pulse is not None else 0,
        per_s=_per_s(state),
        hit_rate=_share(_counts(state, HITS_S)),
        cache_bytes=pulse.cache_bytes if pulse is not None else 0,
        cache_limit_bytes=pulse.cache_limit_bytes if pulse is not None else 0,
        troubles=tuple(printable(each.text) for each in troubles(state) if each.level != NOTE),
        users=_users(state, letters),
        nodes=nodes,
        builds=tuple(_builds(state)),
        queue=queue,
        queue_others=state.queue.others if state.queue is not None else 0,
        events=tuple(reversed(farm.lines)),
    )


def _node(state: FarmState, node: NodeView, label: str) -> NodeLine:
    shown: NodeShown = node.shown
    users = Counter(
        printable(run.job.member.name) if run.job.member is not None else ""
        for run in node.slots
        if run is not None
    )
    running = users.total()
    names = [state.toolchains[each] for each in shown.toolchains if each in state.toolchains]
    return NodeLine(
        number=node.number,
        name=printable(shown.name),
        state=printable(shown.state),
        reason=printable(shown.reason),
        mode=printable(shown.mode),
        version=printable(shown.version),
        running=running,
        fetching=max(0, len(node.runs) - running),
        slots=shown.slots,
        all_slots=shown.all_slots,
        users=tuple(sorted(users.items())),
        speed=shown.speed,
        spread=shown.spread,
        slowdown=shown.slowdown,
        load=shown.load,
        memory_reserved_bytes=shown.memory_reserved_bytes,
        memory_usable_bytes=shown.memory_usable_bytes,
        memory_limit_bytes=shown.memory_limit_bytes,
        pressure=shown.pressure,
        finished=shown.finished,
        faults=shown.faults,
        toolchains=tuple(printable(each.name or each.digest) for each in names),
        key=printable(key_of(state, node)),
        label=printable(label),
    )


def _users(state: FarmState, letters: Letters) -> tuple[UserLine, ...]:
    """Who has jobs, the busiest first."""
    running, waiting = Counter[str](), Counter[str]()
    for job in state.jobs.values():
        has_node = job.phase in _LIVE_PHASES
        for request in job.requests:
            name = printable(request.member.name) if request.member is not None else ""
            (running if has_node else waiting)[name] += 1
    names = sorted(running | waiting, key=lambda name: (-running[name] - waiting[name], name))
    given = letters.give(names)
    return tuple(UserLine(given[name], name, running[name], waiting[name]) for name in names)


def _builds(state: FarmState) -> Iterator[BuildLine]:
    """Those that are not over, and the last that are; the last that began first."""
    past = 0
    for build in sorted(state.known_builds.values(), key=lambda each: -each.began_s):
        is_over = state.is_over(build)
        past += is_over
        if not is_over or past <= MAX_PAST_BUILDS:
            yield _printable(build_line(state, build))


def _printable(line: BuildLine) -> BuildLine:
    return replace(
        line,
        id=printable(line.id),
        name=printable(line.name),
        user=printable(line.user),
        host=printable(line.host),
    )


def _queue(state: FarmState) -> Iterator[QueueLine]:
    rows: tuple[QueueRow, ...] = state.queue.rows if state.queue is not None else ()
    for place, row in enumerate(rows, 1):
        member, build = state.members.get(row.member), state.builds.get(row.build)
        yield QueueLine(
            place=place,
            user=printable(member.name) if member is not None else "",
            build=printable(build.name) if build is not None else "",
            jobs=row.queued + row.sending + row.parked + row.ready,
            queued=row.queued,
            sending=row.sending,
            parked=row.parked,
            ready=row.ready,
            oldest_ms=row.oldest_ms,
            why=printable(row.why),
        )


def _counts(state: FarmState, last_s: int) -> Counter[str]:
    """How requests ended in the last whole seconds."""
    counts: Counter[str] = Counter()
    this_s = int(state.now_s)
    for second in reversed(state.seconds):
        if second.at_s < this_s - last_s:
            break
        if second.at_s < this_s:
            counts.update(second.counts)
    return counts


def _per_s(state: FarmState) -> float | None:
    """None: it was watched for too short a time."""
    watched_s = int(state.now_s) - state.seconds[0].at_s if state.seconds else 0
    if watched_s < 1:
        return None
    span_s = min(RATE_S, watched_s)
    counts = _counts(state, span_s)
    return round(sum(counts[name] for name in (*HITS, *COMPILED, "local")) / span_s, 1)


def _share(counts: Counter[str]) -> float | None:
    """Of hits among all compiles; None: there were none."""
    hits = sum(counts[name] for name in HITS)
    total = hits + sum(counts[name] for name in (*COMPILED, "local"))
    return round(hits / total, 3) if total else None
