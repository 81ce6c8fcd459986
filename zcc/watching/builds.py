"""A build in a line: how far it is, and how its compiles were answered. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from zcc.watching.state import FarmState
from zcc.watching.views import BuildView

# How a request can have been answered.
HITS = ("local-hit", "hit", "twin")
COMPILED = ("ok", "failed", "unproven")
# A job that a node has.
_LIVE_PHASES = ("leased", "running")


@dataclass(frozen=True, slots=True)
class BuildLine:
    id: str
    name: str
    user: str
    host: str
    began_ms: int
    took_ms: int
    is_over: bool
    running: int
    waiting: int
    compiles: int
    compiled: int
    failed: int
    hits_here: int
    hits_farm: int
    twins: int
    local: int
    refused: int
    hit_rate: float | None
    cpu_ms: int
    saved_ms: int


def build_line(state: FarmState, build: BuildView) -> BuildLine:
    counts = build.counts
    running = sum(job.phase in _LIVE_PHASES for job in build.live.values())
    end_s = state.now_s if build.live else build.last_s
    hits, compiled = (sum(counts[name] for name in names) for names in (HITS, COMPILED))
    compiles = hits + compiled + counts["local"]
    return BuildLine(
        id=build.id,
        name=build.name,
        user=build.member.name if build.member is not None else "",
        host=build.shown.host,
        began_ms=round(build.began_s * 1000),
        took_ms=max(0, round((end_s - build.began_s) * 1000)),
        is_over=state.is_over(build),
        running=running,
        waiting=len(build.live) - running,
        compiles=compiles,
        compiled=compiled,
        failed=counts["failed"],
        hits_here=counts["local-hit"],
        hits_farm=counts["hit"],
        twins=counts["twin"],
        local=counts["local"],
        refused=counts["refused"],
        hit_rate=round(hits / compiles, 3) if compiles else None,
        cpu_ms=round(build.cpu_s * 1000),
        saved_ms=round(build.saved_s * 1000),
    )
