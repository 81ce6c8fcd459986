"""What a watcher knows of builds, jobs, runs and nodes. Pure data; `state.py` keeps it.

Times are Unix seconds. The records of an event are kept as they came.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from zcc.events import (
    BuildShown,
    HitServed,
    JobFinished,
    JobLeased,
    JobQueued,
    MemberShown,
    NodeShown,
    RequestRefused,
    ToolchainShown,
)

# How a job has ended, or a run.
OK, FAILED, UNPROVEN = "ok", "failed", "unproven"
HIT, REFUSED, CANCELLED, MERGED = "hit", "refused", "cancelled", "merged"
# Past jobs of a build that it is shown with; all are counted.
MAX_JOBS_OF_BUILD = 20_000
MAX_FILES_OF_BUILD = 256


@dataclass(slots=True, eq=False)
class RunView:
    """A job in the hands of a node. `slot` is the node's, from 0 on, from the start of the compiler to the end;
    -1 before. `ending` is empty while it lasts, ok, failed, unproven, or why it was lost."""

    job: JobView
    node: NodeView
    leased: JobLeased
    leased_s: float
    slot: int = -1
    started_s: float | None = None
    ended_s: float | None = None
    ending: str = ""
    detail: str = ""
    is_fault: bool = False


@dataclass(slots=True, eq=False)
class RequestView:
    """Somebody waits for a job."""

    member: MemberShown | None
    build: BuildView | None
    file: str

    @property
    def member_number(self) -> int:
        return self.member.member if self.member is not None else 0


@dataclass(slots=True, eq=False)
class JobView:
    """`requests` are those that wait for it, the first one first. `sending` is what it waits for: inputs,
    toolchain or nothing. `ending` is empty while it waits or runs, else ok, failed, unproven, hit, refused,
    cancelled or merged."""

    number: int
    queued: JobQueued
    queued_s: float
    toolchain: ToolchainShown | None
    requests: list[RequestView]
    sending: str = ""
    missing: int = 0
    sending_s: float = 0.0
    runs: list[RunView] = field(default_factory=list)
    ended_s: float | None = None
    ending: str = ""
    finished: JobFinished | None = None
    hit: HitServed | None = None
    refused: RequestRefused | None = None

    @property
    def build(self) -> BuildView | None:
        """The build of the first request."""
        return self.requests[0].build if self.requests else None

    @property
    def member(self) -> MemberShown | None:
        return self.requests[0].member if self.requests else None

    @property
    def file(self) -> str:
        return self.queued.file

    @property
    def run(self) -> RunView | None:
        """The run that has given its result; while none has, the first that lasts, else the last. A job may
        have a second copy, which is beaten or wins."""
        if self.finished is not None:
            lease = self.finished.lease
            return next((run for run in self.runs if run.leased.lease == lease), None)
        live = (run for run in self.runs if not run.ending)
        return next(live, self.runs[-1] if self.runs else None)

    @property
    def phase(self) -> str:
        """queued, sending, leased (its node fetches what it lacks), running, or how it ended."""
        if self.ending:
            return self.ending
        live = [run for run in self.runs if not run.ending]
        if any(run.started_s is not None for run in live):
            return "running"
        if live:
            return "leased"
        return "sending" if self.sending else "queued"


@dataclass(slots=True, eq=False)
class BuildView:
    """`live` are its jobs that wait or run, by number, `past` the last that have ended.

    `counts` has its requests by how they ended: ok, failed, unproven, hit, twin, refused, cancelled, merged;
    and local-hit and local, on its own machine. `local` are these by reason, `missed` why that machine's cache
    had no answer, `local_files` some of them: reason, file, milliseconds. CPU seconds are of what ran on the
    farm (`cpu_s`), and of what hits spared (`saved_s`).
    """

    shown: BuildShown
    member: MemberShown | None
    began_s: float
    last_s: float
    live: dict[int, JobView] = field(default_factory=dict)
    past: deque[JobView] = field(default_factory=lambda: deque(maxlen=MAX_JOBS_OF_BUILD))
    counts: Counter[str] = field(default_factory=Counter)
    local: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    local_files: deque[tuple[str, str, int]] = field(
        default_factory=lambda: deque(maxlen=MAX_FILES_OF_BUILD)
    )
    hits: deque[tuple[float, HitServed]] = field(
        default_factory=lambda: deque(maxlen=MAX_JOBS_OF_BUILD)
    )
    cpu_s: float = 0.0
    saved_s: float = 0.0

    @property
    def id(self) -> str:
        """Names it in every feed and every recording; in one stretch of this feed alone where its member is not
        known. Never another member's: hosts and ids are what an agent says."""
        shown = self.shown
        unknown = f"#{shown.member}@{shown.at_ms}"
        return f"{self.member.id if self.member is not None else unknown}/{shown.id}"

    @property
    def owner(self) -> str:
        """The id of its member; empty: not known."""
        return self.member.id if self.member is not None else ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.shown.name or self.shown.id


@dataclass(slots=True, eq=False)
class NodeView:
    """`runs` are what it holds, by lease; `slots` the runs whose compilers run, by slot (None: idle).
    `left_s`: when it has gone."""

    number: int
    shown: NodeShown
    came_s: float
    seen_s: float
    runs: dict[int, RunView] = field(default_factory=dict)
    slots: list[RunView | None] = field(default_factory=list)
    left_s: float | None = None
    left_why: str = ""

    def seat(self, run: RunView) -> None:
        """The compiler of this run begins: it has the first idle slot."""
        run.slot = next((at for at, each in enumerate(self.slots) if each is None), -1)
        if run.slot < 0:
            run.slot = len(self.slots)
            self.slots.append(run)
        else:
            self.slots[run.slot] = run

    def unseat(self, run: RunView) -> None:
        """The run is over."""
        self.runs.pop(run.leased.lease, None)
        if 0 <= run.slot < len(self.slots) and self.slots[run.slot] is run:
            self.slots[run.slot] = None


@dataclass(slots=True)
class SecondView:
    """What happened in one second, `at_s` its beginning. `counts` as of a build, and `local`; bytes and CPU
    seconds by their names."""

    at_s: int
    counts: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    running: int = 0
    slots: int = 0
