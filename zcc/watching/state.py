"""The farm as a watcher has it: events in, the present and a bounded history to be read. Pure.

One model for all who show a farm: the page, the terminal, reports, traces, replays. What it is told comes from
`zcc/events.py`; a snapshot begins with `farm`, which sets the present anew and keeps the history.

    state = FarmState()
    for event in unpack_events(decompress(message.body)):
        state.apply(event)

An event that speaks of a job or node which is not known here (a watcher begins in the middle) is taken as far
as it says something by itself. None raises.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from zcc import events
from zcc.events import (
    FarmEvent,
    FarmPulse,
    FarmShown,
    JobQueued,
    LinksShown,
    MemberShown,
    NodeShown,
    QueueShown,
    TierShown,
    ToolchainMoving,
    ToolchainShown,
    ToolchainUploaded,
)
from zcc.watching import views
from zcc.watching.kept import Kept, first_of_most
from zcc.watching.views import BuildView, JobView, NodeView, RequestView, RunView, SecondView

# The history: jobs and runs that have ended, builds, seconds (an hour), and what is worth a line.
MAX_PAST_RUNS = 100_000
# Jobs and hits that builds are shown with, of all builds together: some 2 KiB each.
MAX_PAST_JOBS = 100_000
MAX_BUILDS = 1_000
# Members, toolchains and builds that have a number: as many as the broker knows of each.
MAX_NUMBERED = 4_096
MAX_SECONDS_KEPT = 3_600
MAX_LINES = 2_000
MAX_PAST_NODES = 500
# A build of which nothing has come for so long is over.
BUILD_GAP_S = 10.0
# What is worth a line of the log: rare, and about the farm.
_WORTH_A_LINE = (
    events.NodeLeft,
    events.NodeSuspended,
    events.LeaseLost,
    events.RequestRefused,
    events.MemberJoined,
    events.PeerRefused,
)


class FarmState:
    """`members`, `toolchains`, `builds`, `nodes` and `jobs` are by number, of the present feed; `known_builds`
    are all of the history by their `id`, the oldest first. `runs` are past ones in the order of their ends,
    `faults` those of them that a node lost by its own fault.
    `now_s` is the farm's time at the last event. Each has a bound: of more than that the oldest go."""

    def __init__(self) -> None:
        self.farm: FarmShown | None = None
        self.now_s = 0.0
        self.members: dict[int, MemberShown] = {}
        self.toolchains: dict[int, ToolchainShown] = {}
        self.builds: dict[int, BuildView] = {}
        self.nodes: dict[int, NodeView] = {}
        self.jobs: dict[int, JobView] = {}
        self.shipping: dict[tuple[int, int], ToolchainMoving] = {}
        self.uploading: dict[tuple[int, int], ToolchainUploaded] = {}
        self.links: LinksShown | None = None
        self.queue: QueueShown | None = None
        self.pulse: FarmPulse | None = None
        self.tiers: dict[str, TierShown] = {}
        self.known_builds: dict[str, BuildView] = {}
        self.past_nodes: deque[NodeView] = deque(maxlen=MAX_PAST_NODES)
        self.runs: deque[RunView] = deque(maxlen=MAX_PAST_RUNS)
        self.seconds: deque[SecondView] = deque(maxlen=MAX_SECONDS_KEPT)
        self.faults: deque[RunView] = deque(maxlen=MAX_LINES)
        self.lines: deque[tuple[float, FarmEvent]] = deque(maxlen=MAX_LINES)
        # Snapshots after the first: what happened before each of them may be lost.
        self.gaps: deque[float] = deque(maxlen=MAX_LINES)
        self.totals: Counter[str] = Counter()
        self._jobs_of: dict[int, dict[int, JobView]] = {}  # by toolchain and number
        self._kept = Kept(MAX_PAST_JOBS)

    def apply(self, event: FarmEvent) -> None:
        """Take one event in, in the feed's order."""
        if type(event) is not FarmShown:
            self.now_s = max(self.now_s, self.time_of(event))
        applier = _APPLIERS.get(type(event))
        if applier is not None:
            applier(self, event)
        if isinstance(event, _WORTH_A_LINE):
            self.lines.append((self.time_of(event), event))

    def time_of(self, event: FarmEvent) -> float:
        """Unix seconds at which it happened."""
        return (self.farm.began_s if self.farm is not None else 0.0) + event.at_ms / 1000

    def build_called(self, what: str) -> BuildView | None:
        """The build with this id or name, or the last whose id or name has this in it; an empty one: the
        last.
        """
        found = None
        for build in self.known_builds.values():
            if what in (build.id, build.shown.id):
                return build
            if what in build.name or what in build.id:
                found = build
        return found

    def is_over(self, build: BuildView) -> bool:
        return not build.live and self.now_s - build.last_s > BUILD_GAP_S

    def waiting(self) -> Iterator[JobView]:
        """Jobs that no node has, the oldest first."""
        return (job for job in self.jobs.values() if job.phase in ("queued", "sending"))

    # --- who and what -------------------------------------------------------------------------

    def _farm(self, event: FarmShown) -> None:
        """The present begins anew: what is live is told again."""
        if self.farm is not None:
            self.gaps.append(self.now_s)
        self.farm = event
        self.now_s = self.time_of(event)
        for build in self.builds.values():
            build.live.clear()
        for each in (self.members, self.toolchains, self.builds, self.nodes, self.jobs):
            each.clear()
        self._jobs_of.clear()
        self.shipping.clear()
        self.uploading.clear()
        self.links = None
        self.tiers.clear()
        self.queue = None

    def _member(self, event: MemberShown) -> None:
        self.members[event.member] = event
        _trim(self.members, MAX_NUMBERED)

    def _toolchain(self, event: ToolchainShown) -> None:
        self.toolchains[event.toolchain] = event
        _trim(self.toolchains, MAX_NUMBERED)
        for job in self._jobs_of.get(event.toolchain, {}).values():
            job.toolchain = event

    def _build(self, event: events.BuildShown) -> None:
        at_s = self.time_of(event)
        made = BuildView(event, self.members.get(event.member), at_s, at_s)
        known = self.known_builds.get(made.id)
        if known is None:
            known = self.known_builds[made.id] = made
            self._trim_known()
        known.shown, known.member = event, made.member
        self.builds[event.build] = known
        _trim(self.builds, MAX_NUMBERED)

    def _trim_known(self) -> None:
        """Of too many builds the oldest goes of whoever has the most of those that are not live."""
        if len(self.known_builds) > MAX_BUILDS:
            idle = [(key, each.owner) for key, each in self.known_builds.items() if not each.live]
            del self.known_builds[first_of_most(idle) if idle else next(iter(self.known_builds))]

    def _node(self, event: NodeShown) -> None:
        at_s = self.time_of(event)
        known = self.nodes.get(event.node)
        if known is None:
            self.nodes[event.node] = NodeView(event.node, event, at_s, at_s)
        else:
            known.shown, known.seen_s = event, at_s

    def _node_left(self, event: events.NodeLeft) -> None:
        node = self.nodes.pop(event.node, None)
        if node is not None:
            node.left_s, node.left_why = self.time_of(event), event.reason
            self.past_nodes.append(node)
        for place in [each for each in self.shipping if each[0] == event.node]:
            del self.shipping[place]

    def _moving(self, event: ToolchainMoving) -> None:
        place = event.node, event.toolchain
        if event.done_bytes >= event.total_bytes:
            self.shipping.pop(place, None)
        else:
            self.shipping[place] = event

    def _uploading(self, event: ToolchainUploaded) -> None:
        place = event.member, event.toolchain
        if event.done_bytes >= event.total_bytes:
            self.uploading.pop(place, None)
        else:
            self.uploading[place] = event
            _trim(self.uploading, MAX_NUMBERED)

    def _links(self, event: LinksShown) -> None:
        self.links = event
        second = self._second(self.time_of(event)).counts
        second["received_bytes"] += sum(each.received_bytes for each in event.links)
        second["sent_bytes"] += sum(each.sent_bytes for each in event.links)

    # --- jobs ---------------------------------------------------------------------------------

    def _queued(self, event: JobQueued) -> None:
        at_s = self.time_of(event)
        build = self.builds.get(event.build)
        request = RequestView(self.members.get(event.member), build, event.file)
        toolchain = self.toolchains.get(event.toolchain)
        job = JobView(event.job, event, at_s, toolchain, [request])
        self.jobs[event.job] = job
        self._jobs_of.setdefault(event.toolchain, {})[event.job] = job
        if build is not None:
            build.live[job.number] = job
            self._touch(build, at_s)

    def _twin(self, event: events.JobJoined) -> None:
        job = self.jobs.get(event.job)
        build = self.builds.get(event.build)
        if job is not None:
            job.requests.append(RequestView(self.members.get(event.member), build, event.file))
        if build is not None:
            self._touch(build, self.time_of(event))
            if job is not None:
                build.live[event.job] = job

    def _left(self, event: events.RequestLeft) -> None:
        job = self.jobs.get(event.job)
        if job is None:
            return
        build = self.builds.get(event.build)
        for at, request in enumerate(job.requests):
            if request.build is build and request.member_number == event.member:
                del job.requests[at]
                break
        if build is not None and all(each.build is not build for each in job.requests):
            build.live.pop(job.number, None)
            self._tally(build, views.CANCELLED)

    def _sending(self, event: events.JobSending) -> None:
        job = self.jobs.get(event.job)
        if job is not None:
            job.sending, job.missing = event.what, event.missing
            job.sending_s = self.time_of(event)

    def _leased(self, event: events.JobLeased) -> None:
        at_s = self.time_of(event)
        job = self.jobs.get(event.job) or self._unlisted(event.job, event.at_ms)
        node = self.nodes.get(event.node)
        if node is None:
            return
        job.sending = ""
        run = RunView(job, node, event, at_s)
        job.runs.append(run)
        node.runs[event.lease] = run

    def _unlisted(self, number: int, at_ms: int) -> JobView:
        """A job that a snapshot had no room for, as far as its number says."""
        blank = JobQueued(
            at_ms, number, "", 0, 0, "", "", 0, 0, False, 0, 0, 0, 0, 0, ""
        )  # fmt: skip
        job = self.jobs[number] = JobView(number, blank, self.time_of(blank), None, [])
        return job

    def _run_of(self, job: int, lease: int) -> RunView | None:
        known = self.jobs.get(job)
        if known is None:
            return None
        return next((run for run in known.runs if run.leased.lease == lease), None)

    def _started(self, event: events.RunStarted) -> None:
        run = self._run_of(event.job, event.lease)
        if run is not None and run.started_s is None:
            run.started_s = self.time_of(event)
            run.node.seat(run)

    def _unleased(self, event: events.LeaseLost) -> None:
        run = self._run_of(event.job, event.lease)
        if run is not None:
            run.detail, run.is_fault = event.detail, event.is_fault
            self._end_run(run, event.why, self.time_of(event))
            if event.is_fault:
                self.faults.append(run)

    def _finished(self, event: events.JobFinished) -> None:
        job = self.jobs.get(event.job)
        if job is None:
            return
        job.finished = event
        run = self._run_of(event.job, event.lease)
        if run is not None:
            self._end_run(run, event.outcome, self.time_of(event))
        if (build := job.build) is not None:
            build.cpu_s += event.cpu_ms / 1000
        second = self._second(self.time_of(event)).counts
        second["cpu_ms"] += event.cpu_ms
        second["output_bytes"] += event.output_bytes
        second["input_bytes"] += job.queued.input_bytes
        self._end_job(job, event.outcome, self.time_of(event))

    def _hit(self, event: events.HitServed) -> None:
        at_s = self.time_of(event)
        job = self.jobs.get(event.job)
        if job is not None:
            job.hit = event
            self._end_job(job, views.HIT, at_s)
            return
        build = self.builds.get(event.build)
        if build is not None:
            self._kept.add(build.owner, build.hits, (at_s, event))
            self._touch(build, at_s)
        self._tally(build, views.HIT, at_s)

    def _refused(self, event: events.RequestRefused) -> None:
        at_s = self.time_of(event)
        job = self.jobs.get(event.job)
        if job is not None:
            job.refused = event
            self._end_job(job, views.REFUSED, at_s)
        else:
            self._tally(self.builds.get(event.build), views.REFUSED, at_s)

    def _abandoned(self, event: events.JobAbandoned) -> None:
        job = self.jobs.get(event.job)
        if job is not None:
            self._end_job(job, event.why, self.time_of(event))

    def _end_job(self, job: JobView, ending: str, at_s: float) -> None:
        job.ending, job.ended_s, job.sending = ending, at_s, ""
        del self.jobs[job.number]
        alike = self._jobs_of.get(job.queued.toolchain, {})
        alike.pop(job.number, None)
        if not alike:
            self._jobs_of.pop(job.queued.toolchain, None)
        for run in job.runs:
            if not run.ending:
                self._end_run(run, views.CANCELLED, at_s)
        for place, request in enumerate(job.requests or [None]):
            build = request.build if request is not None else None
            self._tally(build, "twin" if place and ending != views.CANCELLED else ending, at_s)
            if build is not None:
                if build.live.pop(job.number, None) is not None:
                    self._kept.add(build.owner, build.past, job)
                self._touch(build, at_s)

    def _end_run(self, run: RunView, ending: str, at_s: float) -> None:
        if not run.ending:
            run.ending, run.ended_s = ending, at_s
            run.node.unseat(run)
            self.runs.append(run)

    # --- counts -------------------------------------------------------------------------------

    def _counted(self, event: events.AgentCounted) -> None:
        at_s = self.time_of(event)
        second = self._second(at_s).counts
        local = sum(count for _, count in event.local)
        told = {"local-hit": event.local_hits, "local": local, "saved_ms": event.saved_ms}
        told = {name: number for name, number in told.items() if number}
        second.update(told)
        self.totals.update(told)
        build = self.builds.get(event.build)
        if build is None:
            return
        told.pop("saved_ms", None)
        build.counts.update(told)
        build.saved_s += event.saved_ms / 1000
        for counts, said in ((build.local, event.local), (build.missed, event.missed)):
            for word, count in said:
                counts[word] += count
        build.local_files.extend(event.files)
        self._touch(build, at_s)

    def _queue(self, event: QueueShown) -> None:
        self.queue = event

    def _pulse(self, event: FarmPulse) -> None:
        self.pulse = event
        second = self._second(self.time_of(event))
        second.waiting, second.running, second.slots = event.waiting, event.running, event.slots

    def _tier(self, event: TierShown) -> None:
        self.tiers[event.name] = event

    def _touch(self, build: BuildView, at_s: float) -> None:
        build.began_s, build.last_s = min(build.began_s, at_s), max(build.last_s, at_s)

    def _tally(self, build: BuildView | None, ending: str, at_s: float | None = None) -> None:
        self.totals[ending] += 1
        self._second(self.now_s if at_s is None else at_s).counts[ending] += 1
        if build is not None:
            build.counts[ending] += 1

    def _second(self, at_s: float) -> SecondView:
        """The second of this moment: the last one, or a new one; what comes late counts in the last."""
        number = int(at_s)
        if not self.seconds or self.seconds[-1].at_s < number:
            self.seconds.append(SecondView(number))
        return self.seconds[-1]


Key = TypeVar("Key")


def _trim(things: dict[Key, Any], most: int) -> None:
    """Of more than so many the oldest goes, of builds the oldest that is not live, if there is one."""
    if len(things) > most:
        gone = (key for key, each in things.items() if not getattr(each, "live", None))
        del things[next(gone, next(iter(things)))]


_APPLIERS: dict[type[FarmEvent], Callable[[FarmState, Any], None]] = {
    events.FarmShown: FarmState._farm,
    events.MemberShown: FarmState._member,
    events.ToolchainShown: FarmState._toolchain,
    events.BuildShown: FarmState._build,
    events.NodeShown: FarmState._node,
    events.NodeLeft: FarmState._node_left,
    events.ToolchainMoving: FarmState._moving,
    events.ToolchainUploaded: FarmState._uploading,
    events.LinksShown: FarmState._links,
    events.JobQueued: FarmState._queued,
    events.JobJoined: FarmState._twin,
    events.RequestLeft: FarmState._left,
    events.JobSending: FarmState._sending,
    events.JobLeased: FarmState._leased,
    events.RunStarted: FarmState._started,
    events.LeaseLost: FarmState._unleased,
    events.JobFinished: FarmState._finished,
    events.HitServed: FarmState._hit,
    events.RequestRefused: FarmState._refused,
    events.JobAbandoned: FarmState._abandoned,
    events.AgentCounted: FarmState._counted,
    events.QueueShown: FarmState._queue,
    events.FarmPulse: FarmState._pulse,
    events.TierShown: FarmState._tier,
}
