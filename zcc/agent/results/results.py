"""What the results of a call's jobs are worth, from memory or from the farm, and what is learnt of them.

Whether a result is proven says `verdict.py`. Here is what follows: what is kept, which compile gets a second
chance, and what is counted when farm and machine do not agree.
"""

from __future__ import annotations

import asyncio
import logging
import os

from cache.digest import Digest
from cache.errors import CacheError
from cache.frame import decompress
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.analysis.pipeline import Analyser
from zcc.agent.calls import Call, why_not_taken
from zcc.agent.core.events import CompileFailed, Event, RecallRefused, ResultProven, ResultUnproven
from zcc.agent.core.forecast import Forecast
from zcc.agent.farm.session import FarmSession
from zcc.agent.history.recorder import Account
from zcc.agent.results.late_answers import first_outdated
from zcc.agent.results.local_cache import LocalResult, Missed, Recall
from zcc.agent.results.part import Part
from zcc.agent.results.verdict import (
    RECENT_S,
    SINCE,
    ProvenFailure,
    Taken,
    Unproven,
    as_asked,
    judge,
)
from zcc.agent.results.verifying import CLOCK_GRAIN_NS
from zcc.errors import ProtocolError
from zcc.job import MAX_RESULT_BYTES, Result, decode_result
from zcc.messages import Finished
from zcc.reasons import Reason

logger = logging.getLogger(__name__)

# Reasons that say nothing of what the next result for this command will be worth.
PASSING = SINCE | {Reason.DAMAGED_RESULT, Reason.DISPUTED, Reason.MIXED_STREAMS}


class Results:
    """`session` is None where there is no farm."""

    def __init__(
        self,
        analyser: Analyser,
        recall: Recall,
        account: Account,
        session: FarmSession | None,
        forecast: Forecast,
    ) -> None:
        self._analyser = analyser
        self._recall = recall
        self._account = account
        self._stats = account.stats
        self._session = session
        self._forecast = forecast
        self._loop = asyncio.get_running_loop()

    def recall(self, call: Call) -> None:
        """Take what this machine remembers of the call's results."""
        for part in call.parts:
            found: LocalResult | Missed | Taken = self._recall.find(
                part.prepared, self._analyser.disk
            )
            if isinstance(found, LocalResult):
                found = as_asked(found, part.prepared, call.request)
                if isinstance(found, Missed):
                    self._recall.refused += 1
            if isinstance(found, Taken):
                part.result, part.files, part.is_recalled = found.result, found.files, True
            else:
                part.missed = found

    def came(self, number: int, call: Call, part: Part, message: Finished) -> Event | None:
        """A result has come for this part of the call; None when it is good and others are to come."""
        event: Event | None
        try:
            result = decode_result(decompress(message.body, MAX_RESULT_BYTES))
            event = self._judged(number, call, part, message, result)
        except CacheError as error:
            event = ResultUnproven(number, Reason.DAMAGED_RESULT, str(error))
        except ProtocolError as error:
            is_moved = part.prepared.is_moved
            reason = Reason.NAMES_NEUTRAL_PLACE if is_moved else Reason.DAMAGED_RESULT
            event = ResultUnproven(number, reason, str(error))
        if isinstance(event, ResultUnproven):
            event = self._second_chance(message, call, part, event)
        return event

    def _judged(
        self, number: int, call: Call, part: Part, message: Finished, came: Result
    ) -> Event | None:
        """What a part's result is worth; None when it is good and others are to come.

        Raises:
            ProtocolError, CacheError: its outputs did not come whole.
        """
        disk, frames = self._analyser.disk, self._frames(came)
        disk.begin(self._loop.time(), None)
        match judge(came, frames, part.prepared, call.request, disk):
            case ProvenFailure(exit_status, stderr):
                call.failed, call.failed_with = part, exit_status
                logger.debug("exit %d on the farm: %s", exit_status, stderr[-1000:])
                return CompileFailed(number, exit_status)
            case Unproven(reason, detail):
                return ResultUnproven(number, reason, detail)
            case Taken(result, files):
                part.result, part.files, part.is_recalled = result, files, message.is_recalled
        if not message.is_recalled:
            self._remember_cost(call, part, came, message)
        if call.check is None and part.prepared.key in self._account.disputed:
            # It was submitted before a check of the same job (ZCC_VERIFY).
            return ResultUnproven(
                number, Reason.DISPUTED, "a check has shown its result to be wrong"
            )
        if call.check is not None:
            call.check.came.append((part.prepared, came, frames))
        elif call.cache_mode.keeps:
            self._recall.remember(part.prepared, came, frames, disk)
        why = why_not_taken(call)
        if why is not None:
            return ResultUnproven(number, why.reason, why.detail)
        if not all(each.result for each in call.parts):
            return None
        if gone := first_outdated(call, disk, self._loop.time(), part):
            return ResultUnproven(number, gone.reason, gone.detail)
        return ResultProven(number, all(each.is_recalled for each in call.parts))

    def _second_chance(
        self, message: Finished, call: Call, part: Part, event: ResultUnproven
    ) -> Event:
        """What was remembered and does not hold here, or did not come whole, is compiled anew: that is no
        fault of this job, nor of the scanner."""
        if event.reason in SINCE:
            return event  # the job is one of files that are no more
        if message.is_recalled:
            self._stats.add("recalls_refused", call.build)
        elif event.reason is Reason.PROOF and self._analyser.plugins.distrust(
            part.prepared.job_in_place, event.detail
        ):
            return ResultUnproven(event.call, Reason.PLUGIN, event.detail)
        elif event.reason is Reason.PROOF and not part.prepared.is_moved:
            self._note_proof_failure(call, part.prepared, event.detail)
        part.result = None  # else it would not be submitted again
        # What is only damaged is asked for anew, so that the broker looks for what is rotten.
        if part.prepared.is_moved and event.reason is not Reason.DAMAGED_RESULT:
            logger.debug("compiling in place: %s %s", event.reason, event.detail)
            self._analyser.keep_in_place(part.prepared)
            part.prepared = part.prepared.in_place()
            return RecallRefused(event.call, event.reason, event.detail)
        if len(call.parts) == 1 and (message.is_recalled or event.reason is Reason.DAMAGED_RESULT):
            return RecallRefused(event.call, event.reason, event.detail)
        return event

    def _note_proof_failure(self, call: Call, prepared: Prepared, path: str) -> None:
        self._stats.add("proof_failures", call.build)
        self._stats.note(f"proof failed: {path}, compiling {os.fsdecode(prepared.source)}")

    def compare_verdicts(self, call: Call, other_input: str, ended_ns: int) -> None:
        """Count a compile that failed on the farm and succeeded here, unless it may have read something else.

        The launcher has become the compiler, whose exit status only its parent sees; but a compiler that
        fails leaves no output, and one that succeeds has just written it. What was written longer before its
        end was heard of (`ended_ns`) may be another's: of an agent that was held, or of a busy machine.
        """
        if call.failed is None or other_input:
            return
        output = call.failed.prepared.job_in_place.outputs[0]
        try:
            written_ns = os.stat(output).st_mtime_ns
        except OSError:
            return
        begun_ns = max(call.ran_here_ns, ended_ns - int(RECENT_S * 1e9))
        if written_ns >= begun_ns - CLOCK_GRAIN_NS:
            self._stats.add("discrepancies", call.build)
            self._analyser.keep_in_place(call.failed.prepared)
            source = os.fsdecode(call.failed.prepared.source)
            self._stats.note(f"exit {call.failed_with} on the farm, success here: {source}")

    def _frames(self, result: Result) -> dict[Digest, bytes]:
        """The outputs that came."""
        assert self._session is not None
        held = ((each.digest, self._session.outputs.take(each.digest)) for each in result.outputs)
        return {digest: frame for digest, frame in held if frame is not None}

    def _remember_cost(self, call: Call, part: Part, result: Result, message: Finished) -> None:
        assert self._session is not None
        now, usage = self._loop.time(), result.usage
        took_s = self._account.compiled(call.build, part, result, message, self._session, now)
        if took_s is not None:
            key, trip_s = part.prepared.cost_key, took_s - message.queued_s - usage.wall_s
            self._forecast.ran_there(key, usage.cpu_s, usage.wall_s, trip_s)
