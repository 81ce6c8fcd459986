"""What `zcc top` says of one line of a table, where Enter was pressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from zcc.cli.figures import duration, size_text
from zcc.printable import printable
from zcc.top.log import EventLine
from zcc.top.overview import NodeLine, QueueLine
from zcc.top.tables import clock, share
from zcc.watching.builds import BuildLine
from zcc.watching.state import FarmState
from zcc.watching.views import BuildView, JobView, RunView
from zcc.watching.words import WAITS

_MOST_ROWS = 200
_MOST_FILES = 15


def details(line: Any, state: FarmState) -> list[str]:
    """Title first; one fact a line."""
    match line:
        case NodeLine():
            return list(_node(line, state))
        case BuildLine():
            return list(_build(line, state))
        case QueueLine():
            return list(_queue(line, state))
        case EventLine():
            return ["event", "", f"{clock(line.at_ms)}  {line.text}"]
    raise AssertionError(line)


def _node(line: NodeLine, state: FarmState) -> Iterator[str]:
    yield f"node {line.name}"
    yield ""
    yield _fact("key", line.key or "not known")
    yield _fact("state", f"{line.state}{f': {line.reason}' if line.reason else ''}")
    yield _fact("lends", f"{line.slots} of {line.all_slots} slots, mode {line.mode}")
    yield _fact("runs", f"{line.running}, and fetches for {line.fetching}")
    yield _fact(
        "speed",
        f"{line.speed:.2f} times the average slot, times differ by a factor of {line.spread:.2f}",
    )
    yield _fact(
        "slowdown", f"{line.slowdown:.2f} s of wall time for 1 s of CPU; load {line.load:.1f}"
    )
    if line.memory_limit_bytes:
        yield _fact(
            "memory",
            f"{size_text(line.memory_reserved_bytes)} promised of {size_text(line.memory_usable_bytes)} now,"
            f" {size_text(line.memory_limit_bytes)} at most; waited for {line.pressure:.0f}% of the time",
        )
    yield _fact("jobs", f"{line.finished} done, {line.faults} faults")
    yield _fact("compilers", ", ".join(line.toolchains) or "none yet")
    yield _fact("release", line.version)
    node = state.nodes.get(line.number)
    if node is None:
        yield ""
        yield "It has gone."
        return
    for moving in state.shipping.values():
        if moving.node == line.number:
            known = state.toolchains.get(moving.toolchain)
            name = printable(known.name or known.digest) if known is not None else "a compiler"
            yield _fact(
                "comes",
                f"{name}, {size_text(moving.done_bytes)} of {size_text(moving.total_bytes)}",
            )
    yield ""
    for run in list(node.runs.values())[:_MOST_ROWS]:
        yield _run(run, state)


def _run(run: RunView, state: FarmState) -> str:
    slot = f"slot {run.slot}" if run.slot >= 0 else "fetches"
    since_s = run.started_s if run.started_s is not None else run.leased_s
    return (
        f"{slot:8} {_job(run.job)}  for {duration(max(0.0, state.now_s - since_s))}, expected"
        f" {duration(run.leased.expected_ms / 1000)}; {printable(run.leased.reason)}"
    )


def _build(line: BuildLine, state: FarmState) -> Iterator[str]:
    yield f"build {line.name}"
    yield ""
    yield _fact("of", f"{line.user or 'somebody'} on {line.host}; id {line.id}")
    ended = "over" if line.is_over else "going on"
    yield _fact("began", f"{clock(line.began_ms)}, took {duration(line.took_ms / 1000)}, {ended}")
    yield _fact("now", f"{line.running} run, {line.waiting} wait")
    yield _fact(
        "compiles",
        f"{line.compiles}: {line.compiled} on the farm ({line.failed} failed), {line.hits_here} hits here,"
        f" {line.hits_farm} hits of the farm, {line.twins} twins, {line.local} local; hits"
        f" {share(line.hit_rate)}",
    )
    yield _fact(
        "CPU", f"{duration(line.cpu_ms / 1000)} on the farm, {duration(line.saved_ms / 1000)} saved"
    )
    build = state.known_builds.get(_id_of(line, state))
    if build is None:
        return
    if build.local:
        yield _fact("local", _counted(build.local))
    if build.missed:
        yield _fact("no hit", _counted(build.missed))
    yield from _files(build, state)


def _id_of(line: BuildLine, state: FarmState) -> str:
    """The build's own id: the line has what of it can be shown."""
    if line.id in state.known_builds:
        return line.id
    return next((each for each in state.known_builds if printable(each) == line.id), "")


def _files(build: BuildView, state: FarmState) -> Iterator[str]:
    live = sorted(build.live.values(), key=lambda job: job.queued_s)
    if live:
        yield ""
        yield "under way, the oldest first:"
        for job in live[:_MOST_FILES]:
            yield f"  {job.phase:8} {_job(job)}  for {duration(max(0.0, state.now_s - job.queued_s))}"
    done = [(job.finished, job) for job in build.past if job.finished is not None]
    done.sort(key=lambda each: -each[0].wall_ms)
    if done:
        yield ""
        yield "slowest:"
        for finished, job in done[:_MOST_FILES]:
            run = job.run
            where = f" on {printable(run.node.shown.name)}" if run is not None else ""
            yield (
                f"  {duration(finished.wall_ms / 1000):8} {printable(job.file) or job.number}{where},"
                f" {size_text(finished.peak_bytes)}, {printable(finished.outcome)}"
            )
    if build.local_files:
        yield ""
        yield "compiled here:"
        for reason, file, took_ms in list(build.local_files)[-_MOST_FILES:]:
            yield f"  {duration(took_ms / 1000):8} {printable(file)}: {printable(reason)}"


def _queue(line: QueueLine, state: FarmState) -> Iterator[str]:
    yield f"{line.jobs} jobs of {line.build or 'a build'} wait"
    yield ""
    yield _fact("of", line.user or "somebody")
    yield _fact("place", f"{line.place}. in order of service")
    yield _fact("next", f"{WAITS.get(line.why, line.why)} ({line.why})")
    yield _fact(
        "jobs",
        f"{line.ready} ready for a slot, {line.sending} wait for inputs, {line.parked} for a compiler,"
        f" {line.queued} for their turn",
    )
    yield _fact("oldest", f"waits for {duration(line.oldest_ms / 1000)}")
    yield ""
    jobs = [
        job
        for job in state.waiting()
        if job.build is not None
        and printable(job.build.name) == line.build
        and job.member is not None
        and printable(job.member.name) == line.user
    ]
    for job in jobs[:_MOST_ROWS]:
        needs = f", needs {printable(job.queued.needs)}" if job.queued.needs else ""
        guess = "" if job.queued.is_known else " (a guess)"
        what = f"{printable(job.sending)}, {job.missing} to come" if job.sending else "a slot"
        yield (
            f"  {_job(job)}  waits for {what}, for {duration(max(0.0, state.now_s - job.queued_s))}; expected"
            f" {duration(job.queued.cost_ms / 1000)}{guess}, {size_text(job.queued.memory_bytes)}{needs}"
        )


def _job(job: JobView) -> str:
    user = f" of {printable(job.member.name)}" if job.member is not None else ""
    return f"{printable(job.file) or f'job {job.number}'}{user}"


def _fact(name: str, text: str) -> str:
    return f"{name:10} {text}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{printable(name)} {count}" for name, count in counts.most_common())
