"""The jobs of all calls, by their tickets: what the agent's core wants done with them, and what comes of that.

Owns the tickets. Must not decide what becomes of a call: that is the core's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import assert_never

from zcc.agent.analysis.outcome import Prepared
from zcc.agent.calls import Call, niceness_of
from zcc.agent.core.discrepancy import LocalRun
from zcc.agent.core.effects import (
    CancelJob,
    CompileInPlace,
    ConfirmResult,
    CountDiscrepancy,
    JobEffect,
    SubmitJob,
    VoidResult,
)
from zcc.agent.core.events import Event, PartPrepared
from zcc.agent.core.forecast import Forecast
from zcc.agent.farm.session import FarmSession
from zcc.agent.farm.uploads import InputUploads
from zcc.agent.history.recorder import Account
from zcc.agent.results.part import Part
from zcc.agent.results.results import Results
from zcc.messages import Finished, Submit

# Tickets of what is no call's first part: beyond any call's number.
FIRST_FURTHER_TICKET = 1 << 61


class Jobs:
    """`session` is None where there is no farm: then nothing is submitted."""

    def __init__(
        self,
        session: FarmSession | None,
        uploads: InputUploads,
        results: Results,
        account: Account,
        forecast: Forecast,
    ) -> None:
        self._session = session
        self._uploads = uploads
        self._results = results
        self._account = account
        self._forecast = forecast
        # A call's own number is the ticket of its first part.
        self._tickets: dict[int, tuple[Call, Part]] = {}
        self._further = iter(range(FIRST_FURTHER_TICKET, 2 * FIRST_FURTHER_TICKET))

    def enter(self, number: int, call: Call, jobs: Iterable[Prepared]) -> None:
        """Give the call its parts, each with a ticket."""
        for prepared in jobs:
            ticket = next(self._further) if call.parts else number
            part = Part(prepared, ticket)
            call.parts.append(part)
            self._tickets[ticket] = (call, part)

    def leave(self, call: Call) -> None:
        """Nothing will be asked of its tickets again."""
        for part in call.parts:
            self._tickets.pop(part.ticket, None)

    def local_run(self, ticket: int, ended_ns: int, other_input: str) -> LocalRun | None:
        """What the compile here has left of the part's main output; None if no compiler was let go."""
        call, part = self._tickets[ticket]
        if not call.ran_here_ns:
            return None
        written_ns = None
        with contextlib.suppress(OSError):
            written_ns = os.stat(part.prepared.job_in_place.outputs[0]).st_mtime_ns
        return LocalRun(written_ns, call.ran_here_ns, ended_ns, bool(other_input))

    def came(self, message: Finished) -> Event | None:
        """What a result is worth; None: nobody waits for it any more."""
        if message.ticket not in self._tickets:
            return None
        return self._results.came(*self._tickets[message.ticket], message)

    def do(self, effect: JobEffect, now: float) -> Event | None:
        """Carry it out; what is to be told of that at once."""
        match effect:
            case CancelJob(ticket):
                if self._session is not None:
                    self._session.cancel(ticket)
                return None
            case SubmitJob(ticket, is_fresh):
                self._submit(*self._tickets[ticket], is_fresh, now)
                return None
            case ConfirmResult(ticket):
                return self._results.confirm(*self._tickets[ticket])
            case VoidResult(ticket):
                self._results.void(*self._tickets[ticket], effect)
                return None
            case CompileInPlace(ticket):
                self._results.compile_in_place(self._tickets[ticket][1])
                return None
            case CountDiscrepancy(ticket, exit_status):
                self._results.count_discrepancy(*self._tickets[ticket], exit_status)
                return None
            case _:
                assert_never(effect)

    def _submit(self, call: Call, part: Part, is_fresh: bool, now: float) -> None:
        assert self._session is not None
        prepared = part.prepared
        self._uploads.offer(prepared.closure.manifest)
        self._uploads.offer_pack(prepared.toolchain.digest, prepared.toolchain.pack_path)
        hint = self._forecast.cost_s((prepared.cost_key,))
        frame, nice = prepared.frame(), niceness_of(call)
        self._account.submitted(part.ticket, self._session, now)
        key, build, traits = prepared.key, prepared.build, prepared.traits
        subject = self._account.subject_of(call.build, call.request, part, now - call.arrived_s)
        self._session.submit(
            Submit(part.ticket, key, hint, build, is_fresh, b"", traits, nice, frame, subject),
            prepared.job.manifest.files,
        )


def parts_of(call: Call) -> tuple[PartPrepared, ...]:
    """The call's parts as the core is told of them."""
    return tuple(
        PartPrepared(part.ticket, part.result is not None, part.prepared.is_moved)
        for part in call.parts
    )
