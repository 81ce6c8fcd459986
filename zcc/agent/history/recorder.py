"""What the agent keeps of each call: numbers for `zcc stats`, the last compile for `zcc why`.

One room for what the shell has to say of a call on its way. Must not decide anything: a call goes the same
way whatever is counted here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence

from zcc.agent.core.effects import CountOutcome
from zcc.agent.farm.session import FarmSession
from zcc.agent.farm.telling import Telling
from zcc.agent.history.builds import Build
from zcc.agent.history.database import FILE_NAME, Notebook
from zcc.agent.history.last_compiles import Lasts, cause_of_miss, sources_in
from zcc.agent.history.progress import Progress
from zcc.agent.history.stats import Stats
from zcc.agent.history.timing import Trip
from zcc.agent.launchers.wire import Request
from zcc.agent.results.disputed import Disputed
from zcc.agent.results.local_cache import CacheMode
from zcc.agent.results.part import Part
from zcc.job import Result
from zcc.messages import Finished
from zcc.reasons import reason_of
from zcc.subject import Subject


class Account:
    """Below `state_dir`. Times are the loop's; `checkout_of` as for `Builds`. `tells`: the farm's watchers are
    told of it."""

    def __init__(
        self, state_dir: str, checkout_of: Callable[[bytes], bytes | None], *, tells: bool = False
    ) -> None:
        self._notebook = Notebook(os.path.join(state_dir, FILE_NAME))
        self._lasts = Lasts(self._notebook)
        self.disputed = Disputed(self._notebook)
        self._trips: dict[int, Trip] = {}
        self._telling = Telling(is_on=tells)
        self.progress = Progress()
        self.stats = Stats(state_dir, self._notebook, checkout_of)

    def arrived(self, request: Request) -> None:
        """A call."""
        self.progress.arrived(_name_of(request))

    def subject_of(
        self, build: Build, request: Request, part: Part, scan_s: float
    ) -> Subject | None:
        """What a job is called for who watches the farm."""
        return self._telling.subject(build, request.environment, part.prepared, scan_s)

    def tell(self, session: FarmSession) -> None:
        """A second has passed: tell who watches what the broker does not see."""
        self._telling.is_watched = session.is_watched
        counts = self._telling.take()
        if counts is not None:
            session.ask(counts)

    def submitted(self, ticket: int, session: FarmSession, now_s: float) -> None:
        self._trips[ticket] = Trip(now_s, session.sending_s)

    def compiled(
        self,
        build: Build,
        part: Part,
        result: Result,
        message: Finished,
        session: FarmSession,
        now_s: float,
    ) -> float | None:
        """A node compiled this part, for this call or for an equal one under way; in the first case, the
        seconds from Submit to its result."""
        usage, size_bytes = result.usage, part.prepared.closure.size_bytes
        self.stats.count_remote(build, result.node, usage.cpu_s, size_bytes)
        trip = self._trips.get(part.ticket)
        if message.shared:
            self.stats.add("twin_runs", build)
        elif trip is not None:
            came_s = session.first_arrival(each.digest for each in result.outputs) or now_s
            split = trip.split(now_s, message.queued_s, usage.wall_s, session.sending_s, came_s)
            self.stats.count_split(build, split)
            return now_s - trip.submitted_s
        return None

    def settled(
        self,
        build: Build,
        request: Request,
        parts: Sequence[Part],
        mode: CacheMode,
        outcome: CountOutcome,
        took_s: float,
    ) -> None:
        """What becomes of a call is known."""
        recalled = [part.result for part in parts if part.result and part.is_recalled]
        saved_s = sum(result.usage.cpu_s for result in recalled)
        self.stats.count(build, outcome, took_s, saved_s)
        self.progress.settled(_name_of(request), outcome.outcome, saved_s)
        if mode is CacheMode.REFRESH and parts:
            self.stats.add("refreshes", build)
        causes = [cause_of_miss(mode, part.missed) for part in parts]
        sources = [part.prepared.source for part in parts] or sources_in(request)
        kinds = [str(cause.kind) for cause in causes if cause is not None]
        times_s = took_s, saved_s
        self._telling.counted(build, request.environment, outcome, sources, kinds, times_s)
        for part, missed in zip(parts, causes, strict=True):
            self._lasts.compiled(part.prepared, outcome.outcome, outcome.reason, missed)
        reason = reason_of(outcome.reason)
        if not parts and not (reason is not None and reason.is_choice):
            for source in sources_in(request):
                self._lasts.ran_here(source, outcome.reason, outcome.detail)

    def left(self, build: Build, request: Request, parts: Sequence[Part]) -> None:
        """The call's launcher, or the compiler that it became, is gone."""
        self.stats.leave(build)
        self.progress.left(_name_of(request))
        for part in parts:
            self._trips.pop(part.ticket, None)

    def counts(self) -> dict[str, float]:
        """What has happened to the notebook since it was opened, by the names of
        `zcc/agent/history/tally.py`."""
        return {"notebook_faults": self._notebook.faults}

    def wait_written(self) -> bool:
        """Wait until all that was remembered before is on disk; False when that takes too long."""
        return self._notebook.wait_written()

    async def settle(self, gauges: Mapping[str, float]) -> None:
        """Return when all that was counted is on disk, for whoever reads it there."""
        self.stats.follow(gauges)
        self.stats.save()
        self._lasts.flush()
        await asyncio.to_thread(self.wait_written)

    def close(self, gauges: Mapping[str, float]) -> None:
        self.stats.follow(gauges)
        self.stats.save()
        self._lasts.flush()
        self._notebook.close()


def _name_of(request: Request) -> bytes:
    """What tells the calls of a build that is watched from others."""
    return request.environment.get(b"ZCC_BUILD", b"")
