"""What can be said of a build: its page's document, and a line for the list. Pure.

All that is shown is plain data (`docs/reference/monitor.md`): the page, `zcc report` and scripts read the same.
Times are in ms, and Unix time where a moment is meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from zcc.watching.builds import COMPILED, build_line
from zcc.watching.state import FarmState
from zcc.watching.tail import Compile, find_tail, sentences
from zcc.watching.views import BuildView, JobView, RunView

# What a page lists of many.
MOST_ROWS = 3_000
MOST_SLOWEST = 15
MOST_LARGEST = 10
MOST_LISTED = 100
_BUCKETS = 400
# A name that was not given is the directory and when it began: `llvm 14:05:09`.
_TIME = re.compile(r" \d\d:\d\d:\d\d$")


def summary(state: FarmState, build: BuildView) -> dict[str, Any]:
    """A line of the list of builds."""
    more = {"project": project_of(build), "local_reasons": build.local.most_common()}
    return asdict(build_line(state, build)) | more


def document(state: FarmState, build: BuildView) -> dict[str, Any]:
    """All of a build's page."""
    jobs = [*build.past, *build.live.values()]
    now_ms = round(state.now_s * 1000)
    rows = [_row(job) for job in jobs if not job.hit]
    done = [row for row in rows if row["outcome"] in COMPILED and row["started_ms"]]
    began_ms = round(build.began_s * 1000)
    end_ms = now_ms if build.live else round(build.last_s * 1000)
    before = build_before(state, build)
    made_by = Counter(event.node for _, event in build.hits)
    made_by.update(job.hit.node for job in jobs if job.hit)
    return {
        **summary(state, build),
        "now_ms": now_ms,
        "end_ms": end_ms,
        "runs": _longest(rows, now_ms),
        "runs_left_out": max(0, len(rows) - MOST_ROWS),
        "cores": cores([row for row in rows if row["started_ms"]], began_ms, end_ms),
        "tail": None if build.live else tail(done),
        "phases": phases(done),
        "nodes": nodes(done),
        "slowest": sorted(done, key=lambda row: -row["wall_ms"])[:MOST_SLOWEST],
        "largest": sorted(done, key=lambda row: -row["peak_bytes"])[:MOST_LARGEST],
        "failures": [row for row in done if row["outcome"] != "ok"][:MOST_LISTED],
        "lost": [row for row in rows if row["losses"]][:MOST_LISTED],
        "refused_reasons": Counter(
            job.refused.reason for job in jobs if job.refused is not None
        ).most_common(),
        "missed": build.missed.most_common(),
        "local_files": [
            {"file": file, "reason": reason, "ms": took}
            for reason, file, took in sorted(build.local_files, key=lambda each: -each[2])
        ][:MOST_LISTED],
        "made_by": made_by.most_common(12),
        "before": summary(state, before) if before is not None else None,
    }


def project_of(build: BuildView) -> str:
    """What builds of the same thing have in common."""
    return _TIME.sub("", build.name)


def build_before(state: FarmState, build: BuildView) -> BuildView | None:
    """The same user's last build of the same thing before this one."""
    earlier = [
        each
        for each in state.known_builds.values()
        if each.began_s < build.began_s
        and _user_of(each) == _user_of(build)
        and project_of(each) == project_of(build)
    ]
    return max(earlier, key=lambda each: each.began_s, default=None)


def cores(rows: Sequence[dict[str, Any]], began_ms: int, end_ms: int) -> dict[str, Any]:
    """How many of its jobs compiled at a time: the mean of each of equal stretches."""
    step = max(1000, (end_ms - began_ms) // _BUCKETS + 1)
    count = max(1, -(-(end_ms - began_ms) // step))
    busy = [0] * count
    for row in rows:
        begin, end = row["started_ms"] - began_ms, (row["ended_ms"] or end_ms) - began_ms
        for index in range(max(0, begin // step), min(count - 1, max(0, end) // step) + 1):
            busy[index] += max(0, min(end, (index + 1) * step) - max(begin, index * step))
    return {"step_ms": step, "means": [round(each / step, 2) for each in busy]}


def tail(done: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The end of a build in which its slots fell idle, what held it up, and the same in sentences.

    None: its jobs end together. `ms` is how long it was, `lost_ms` how much sooner it could have ended,
    `alone_ms` how long the last job ran alone, `on_fastest_ms` what that job would have taken on the fastest
    node that could have run it.
    """
    found = find_tail([_compile(row) for row in done])
    if found is None:
        return None
    *_, second, last = sorted(done, key=lambda row: row["ended_ms"])
    return {
        **asdict(found),
        "ms": found.ended_ms - found.began_ms,
        "lost_ms": found.lost_ms,
        "alone_ms": max(0, last["ended_ms"] - max(second["ended_ms"], last["started_ms"])),
        "last": last,
        "on_fastest_ms": found.holders[0].on_fastest_ms,
        "told": sentences(found),
    }


def _compile(row: dict[str, Any]) -> Compile:
    _, queue_ms, send_ms, fetch_ms, _, _ = row["phases"]
    return Compile(
        row["file"],
        row["node"],
        row["queued_ms"],
        row["started_ms"],
        row["ended_ms"],
        row["wall_ms"],
        queue_ms,
        send_ms,
        fetch_ms,
        row["rate"],
        row["fastest"],
    )


def phases(done: Sequence[dict[str, Any]]) -> dict[str, int]:
    """ms of all jobs together in each phase, in their order."""
    sums = dict.fromkeys(("scan", "queue", "send", "fetch", "compile", "return"), 0)
    for row in done:
        for name, took in zip(sums, row["phases"], strict=True):
            sums[name] += took
    return sums


def nodes(done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each node did of it: jobs, CPU, and its jobs' time over their cost (1: an average slot's)."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in done:
        found.setdefault(row["node"], []).append(row)
    told = []
    for name, rows in found.items():
        cost = sum(row["cost_ms"] for row in rows)
        told.append(
            {
                "node": name,
                "jobs": len(rows),
                "cpu_ms": sum(row["cpu_ms"] for row in rows),
                "per_cost": round(sum(row["wall_ms"] for row in rows) / cost, 3) if cost else None,
            }
        )
    return sorted(told, key=lambda row: -row["cpu_ms"])


def became_of(state: FarmState, text: str, most: int = 60) -> list[dict[str, Any]]:
    """What became of the compiles of files whose name has this text, the latest first."""
    wanted = text.casefold()
    found: list[dict[str, Any]] = []
    for build in reversed(state.known_builds.values()):
        about = {"build": build.id, "build_name": build.name, "user": _user_of(build)}
        here = [
            {**entry, **about}
            for entry in _entries(build)
            if wanted in entry["file"].casefold() or (wanted and entry["key"].startswith(wanted))
        ]
        found += sorted(here, key=lambda entry: -entry["at_ms"])
        if len(found) >= most:
            break
    return found[:most]


def _entries(build: BuildView) -> Iterator[dict[str, Any]]:
    for job in (*build.past, *build.live.values()):
        row = _row(job)
        yield {**row, "what": row["outcome"], "at_ms": row["ended_ms"] or row["queued_ms"]}
    for at_s, hit in build.hits:
        at_ms = round(at_s * 1000)
        yield {"what": "hit", "file": hit.file, "key": hit.key, "node": hit.node, "at_ms": at_ms}
    for reason, file, took in build.local_files:
        at_ms = round(build.last_s * 1000)
        yield {
            "what": "local",
            "file": file,
            "key": "",
            "reason": reason,
            "wall_ms": took,
            "at_ms": at_ms,
        }


def _user_of(build: BuildView) -> str:
    return build.member.name if build.member is not None else ""


def _row(job: JobView) -> dict[str, Any]:
    queued, run = job.queued, job.run
    row = {
        "file": job.file,
        "key": queued.key,
        "outcome": job.phase,
        "why": job.refused.reason if job.refused is not None else "",
        "queued_ms": _ms(job.queued_s),
        "leased_ms": 0,
        "started_ms": 0,
        "ended_ms": _ms(job.ended_s),
        "cost_ms": queued.cost_ms,
        "memory_bytes": queued.memory_bytes,
        "toolchain": job.toolchain.name if job.toolchain is not None else "",
        "losses": [_loss(each) for each in job.runs if _is_loss(each)],
    }
    return {**row, **_run_row(run), **_result_row(job)}


def _is_loss(run: RunView) -> bool:
    """Whether it gave no result that was waited for. A copy that comes second has cost nobody time."""
    is_late = run.ending == "beaten" and not run.leased.is_copy
    return run.is_fault or is_late or run.ending in ("node-lost", "node-left")


def _loss(run: RunView) -> str:
    told = f"{run.node.shown.name}: {run.ending}"
    if run.ending == "beaten" and run.ended_s is not None:
        told += f" by a second copy elsewhere after {run.ended_s - run.leased_s:.0f} s"
    return told + (f" ({run.detail})" if run.detail else "")


def _run_row(run: RunView | None) -> dict[str, Any]:
    if run is None:
        return {
            "node": "",
            "reason": "",
            "slots": 0,
            "idle": 0,
            "rate": 0.0,
            "fastest": 0.0,
            "expected_ms": 0,
        }
    leased = run.leased
    return {
        "node": run.node.shown.name,
        "leased_ms": _ms(run.leased_s),
        "started_ms": _ms(run.started_s),
        "reason": leased.reason,
        "slots": leased.slots,
        "idle": leased.idle,
        "rate": leased.rate,
        "fastest": leased.fastest,
        "expected_ms": leased.expected_ms,
    }


def _result_row(job: JobView) -> dict[str, Any]:
    result = job.finished
    if result is None:
        return {"status": 0, "cpu_ms": 0, "wall_ms": 0, "peak_bytes": 0, "output_bytes": 0, "twins": 0,
                "phases": (job.queued.scan_ms, 0, 0, 0, 0, 0)}  # fmt: skip
    return {
        "status": result.status,
        "cpu_ms": result.cpu_ms,
        "wall_ms": result.wall_ms,
        "peak_bytes": result.peak_bytes,
        "output_bytes": result.output_bytes,
        "twins": result.twins,
        "phases": (
            job.queued.scan_ms,
            result.queue_ms,
            result.send_ms,
            result.fetch_ms,
            result.wall_ms,
            result.return_ms,
        ),
    }


def _ms(moment_s: float | None) -> int:
    return round(moment_s * 1000) if moment_s is not None else 0


def _longest(rows: list[dict[str, Any]], now_ms: int) -> list[dict[str, Any]]:
    """At most MOST_ROWS, in the order of their beginning."""
    if len(rows) > MOST_ROWS:
        rows = sorted(
            rows, key=lambda row: (row["started_ms"] or now_ms) - (row["ended_ms"] or now_ms)
        )[:MOST_ROWS]
    return sorted(rows, key=lambda row: row["leased_ms"] or row["queued_ms"])
