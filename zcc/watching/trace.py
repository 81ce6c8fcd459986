"""A build as a trace for Perfetto and chrome://tracing: the JSON that their documents call Trace Event Format.
Pure.

Process 1 is the build: a track with what was submitted, one for each phase before a run (its slices may
overlap, so they are asynchronous ones), and counters. Each node is a process, each of its slots a track: there
a slice is a compiler that ran. An arrow leads from a job's submission to its run. Times are microseconds from
the build's beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zcc.watching.state import FarmState
from zcc.watching.views import BuildView, JobView, NodeView, RunView

_BUILD_PID = 1
_SUBMITS_TID = 1
_HITS_TID = 2
# Colours by names of chrome://tracing; Perfetto chooses its own by the slice's name.
_COLOURS = {"ok": "good", "failed": "terrible", "": "grey"}

Row = dict[str, Any]


def build_trace(state: FarmState, build: BuildView) -> dict[str, Any]:
    """The trace of one build, to be written as JSON."""
    jobs = sorted([*build.past, *build.live.values()], key=lambda job: job.queued_s)
    nodes: dict[int, tuple[int, NodeView]] = {}
    begin_s = min([job.queued_s for job in jobs], default=build.began_s)
    begin_s = min(begin_s, build.began_s)
    writer = _Writer(begin_s, state.now_s, nodes)
    rows = [row for job in jobs for row in writer.of_job(job)]
    rows += writer.of_hits(build)
    rows += writer.counters(jobs)
    rows.sort(key=lambda row: (row["ts"], -row.get("dur", 0)))
    return {
        "traceEvents": [*_names(build, nodes.values()), *rows],
        "displayTimeUnit": "ms",
        "otherData": {
            "build": build.name,
            "id": build.id,
            "member": build.member.name if build.member is not None else "",
            "began_s": begin_s,
            "requests": dict(build.counts),
            "local": dict(build.local),
        },
    }


class _Writer:
    def __init__(
        self, begin_s: float, end_s: float, nodes: dict[int, tuple[int, NodeView]]
    ) -> None:
        self._begin_s = begin_s
        self._end_s = end_s
        self._nodes = nodes

    def _us(self, at_s: float) -> int:
        return max(0, round((at_s - self._begin_s) * 1e6))

    def of_job(self, job: JobView) -> Iterator[Row]:
        at = self._us(job.queued_s)
        name = job.file or job.queued.key or "job"
        arguments = _of(job)
        yield _row("X", f"submit {name}", "submit", at, _BUILD_PID, _SUBMITS_TID, dur=1) | arguments
        yield _row("s", "run", "arrow", at, _BUILD_PID, _SUBMITS_TID, id=job.number)
        leased_s = job.runs[0].leased_s if job.runs else job.ended_s
        yield from self._waits(name, "queue", job.number, job.queued_s, leased_s)
        is_first = True
        for run in job.runs:
            yield from self._waits(name, "fetch", run.leased.lease, run.leased_s, run.started_s)
            if run.started_s is None:
                continue
            yield from self._of_run(run, name, is_first)
            is_first = False

    def _waits(
        self, name: str, phase: str, number: int, begin_s: float, end_s: float | None
    ) -> Iterator[Row]:
        """A phase before a run: those of many jobs overlap."""
        end_s = self._end_s if end_s is None else end_s
        for kind, at_s in (("b", begin_s), ("e", max(begin_s, end_s))):
            yield _row(kind, name, phase, self._us(at_s), _BUILD_PID, _SUBMITS_TID, id=number)

    def _of_run(self, run: RunView, name: str, is_first: bool) -> Iterator[Row]:
        assert run.started_s is not None
        pid, _ = self._nodes.setdefault(id(run.node), (_BUILD_PID + 1 + len(self._nodes), run.node))
        tid = 1 + max(0, run.slot)
        at = self._us(run.started_s)
        end = self._us(run.ended_s if run.ended_s is not None else self._end_s)
        row = _row("X", name, "compile", at, pid, tid, dur=max(0, end - at)) | _of_a_run(run)
        colour = _COLOURS.get(run.ending, "bad")
        yield row | {"cname": colour}
        if is_first:
            yield _row("f", "run", "arrow", at, pid, tid, id=run.job.number, bp="e")

    def of_hits(self, build: BuildView) -> Iterator[Row]:
        for at_s, hit in build.hits:
            name = f"hit {hit.file or hit.key}"
            yield _row("i", name, "hit", self._us(at_s), _BUILD_PID, _HITS_TID, s="t") | {
                "args": {"made by": hit.node}
            }

    def counters(self, jobs: Iterable[JobView]) -> Iterator[Row]:
        """How many jobs wait and run, where that changes."""
        steps: list[tuple[int, int, int]] = []
        for job in jobs:
            runs = [run for run in job.runs if run.started_s is not None]
            first_s = runs[0].started_s if runs else job.ended_s
            steps.append((self._us(job.queued_s), 1, 0))
            if first_s is not None:
                steps.append((self._us(first_s), -1, 0))
            for run in runs:
                assert run.started_s is not None
                steps.append((self._us(run.started_s), 0, 1))
                if run.ended_s is not None:
                    steps.append((self._us(run.ended_s), 0, -1))
        waiting = running = 0
        at_last: dict[int, tuple[int, int]] = {}
        for at, waits, runs_more in sorted(steps):
            waiting, running = waiting + waits, running + runs_more
            at_last[at] = waiting, running
        for at, (waits, runs_now) in at_last.items():
            row = _row("C", "jobs", "counter", at, _BUILD_PID, 0)
            yield row | {"args": {"waiting": max(0, waits), "running": max(0, runs_now)}}


def _row(
    phase: str, name: str, category: str, at: int, pid: int, tid: int, **more: str | int
) -> Row:
    return {"ph": phase, "name": name, "cat": category, "ts": at, "pid": pid, "tid": tid, **more}


def _of(job: JobView) -> Row:
    queued = job.queued
    return {
        "args": {
            "key": queued.key,
            "outcome": job.phase,
            "expected CPU s": queued.cost_ms / 1000,
            "inputs": queued.inputs,
            "scan ms": queued.scan_ms,
            "toolchain": job.toolchain.name if job.toolchain is not None else "",
        }
    }


def _of_a_run(run: RunView) -> Row:
    leased, finished = run.leased, run.job.finished
    told: dict[str, Any] = {
        "outcome": run.ending or "runs",
        "why this node": leased.reason,
        "idle slots": f"{leased.idle} of {leased.slots}",
        "expected s": leased.expected_ms / 1000,
    }
    if run.detail:
        told["detail"] = run.detail
    if finished is not None and finished.lease == leased.lease:
        told |= {
            "CPU s": finished.cpu_ms / 1000,
            "compile s": finished.wall_ms / 1000,
            "fetch s": finished.fetch_ms / 1000,
            "return s": finished.return_ms / 1000,
            "peak MiB": finished.peak_bytes >> 20,
            "outputs KiB": finished.output_bytes >> 10,
        }
    return {"args": told}


def _names(build: BuildView, nodes: Iterable[tuple[int, NodeView]]) -> Iterator[Row]:
    """What processes and tracks are called, and in which order they stand."""
    yield _name("process_name", _BUILD_PID, 0, name=f"build {build.name}")
    yield _name("process_sort_index", _BUILD_PID, 0, sort_index=0)
    yield _name("thread_name", _BUILD_PID, _SUBMITS_TID, name="submitted")
    yield _name("thread_name", _BUILD_PID, _HITS_TID, name="answered from the farm's cache")
    for pid, node in nodes:
        yield _name("process_name", pid, 0, name=f"node {node.shown.name}")
        yield _name("process_sort_index", pid, 0, sort_index=pid)
        for slot in range(max(len(node.slots), node.shown.slots)):
            yield _name("thread_name", pid, slot + 1, name=f"slot {slot}")


def _name(what: str, pid: int, tid: int, **arguments: str | int) -> Row:
    return {"ph": "M", "name": what, "ts": 0, "pid": pid, "tid": tid, "args": arguments}
