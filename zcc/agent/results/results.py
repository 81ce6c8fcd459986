"""What the results of a call's jobs are worth, from memory or from the farm, and what is learnt of them.

`verdict.py` says whether a result is proven, and the agent's core what follows for the call. Here is what is
kept, and what is counted.
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
from zcc.agent.core.effects import VoidResult
from zcc.agent.core.events import PartFailed, PartTaken, PartUnproven, ResultConfirmed
from zcc.agent.core.forecast import Forecast
from zcc.agent.farm.session import FarmSession
from zcc.agent.history.recorder import Account
from zcc.agent.results.late_answers import first_outdated
from zcc.agent.results.local_cache import LocalResult, Missed, Recall
from zcc.agent.results.part import Part
from zcc.agent.results.verdict import (
    ProvenFailure,
    Taken,
    Unproven,
    as_asked,
    judge,
)
from zcc.errors import ProtocolError
from zcc.job import MAX_RESULT_BYTES, Result, decode_result
from zcc.messages import Finished
from zcc.reasons import Reason

logger = logging.getLogger(__name__)


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

    def came(
        self, call: Call, part: Part, message: Finished
    ) -> PartTaken | PartFailed | PartUnproven:
        """What the result that has come for this part is worth."""
        try:
            result = decode_result(decompress(message.body, MAX_RESULT_BYTES))
            verdict = self._judged(call, part, message, result)
        except CacheError as error:
            verdict = Unproven(Reason.DAMAGED_RESULT, str(error))
        except ProtocolError as error:
            is_moved = part.prepared.is_moved
            reason = Reason.NAMES_NEUTRAL_PLACE if is_moved else Reason.DAMAGED_RESULT
            verdict = Unproven(reason, str(error))
        match verdict:
            case Taken():
                return PartTaken(part.ticket, message.is_recalled)
            case ProvenFailure(exit_status):
                return PartFailed(part.ticket, exit_status)
            case Unproven(reason, detail):
                reason = self._blamed(reason, detail, part, message)
                return PartUnproven(part.ticket, reason, detail, message.is_recalled)

    def confirm(self, call: Call, part: Part) -> ResultConfirmed | PartUnproven:
        """Whether all that has come for the call holds now, where this part's result was judged just now."""
        gone = first_outdated(call, self._analyser.disk, self._loop.time(), part)
        if gone is None:
            return ResultConfirmed(part.ticket)
        return PartUnproven(part.ticket, gone.reason, gone.detail, part.is_recalled)

    def _judged(
        self, call: Call, part: Part, message: Finished, came: Result
    ) -> Taken | ProvenFailure | Unproven:
        """What a part's result is worth, by itself and beside those that came before.

        Raises:
            ProtocolError, CacheError: its outputs did not come whole.
        """
        disk, frames = self._analyser.disk, self._frames(came)
        disk.begin(self._loop.time(), None)
        verdict = judge(came, frames, part.prepared, call.request, disk)
        if isinstance(verdict, ProvenFailure):
            logger.debug("exit %d on the farm: %s", verdict.exit_status, verdict.stderr[-1000:])
        if not isinstance(verdict, Taken):
            return verdict
        part.result, part.files = verdict.result, verdict.files
        part.is_recalled = message.is_recalled
        if not message.is_recalled:
            self._remember_cost(call, part, came, message)
        if call.check is None and part.prepared.key in self._account.disputed:
            # It was submitted before a check of the same job (ZCC_VERIFY).
            return Unproven(Reason.DISPUTED, "a check has shown its result to be wrong")
        if call.check is not None:
            call.check.came.append((part.prepared, came, frames))
        elif call.cache_mode.keeps:
            self._recall.remember(part.prepared, came, frames, disk)
        why = why_not_taken(call)
        return verdict if why is None else Unproven(why.reason, why.detail)

    def _blamed(self, reason: Reason, detail: str, part: Part, message: Finished) -> Reason:
        """What a plugin does beyond what its command declares is no scanner's bug."""
        if reason is not Reason.PROOF or message.is_recalled:
            return reason
        is_plugins = self._analyser.plugins.distrust(part.prepared.job_in_place, detail)
        return Reason.PLUGIN if is_plugins else reason

    def void(self, call: Call, part: Part, effect: VoidResult) -> None:
        part.result = None
        if effect.was_recalled:
            self._stats.add("recalls_refused", call.build)
        if effect.unproven:
            self._note_proof_failure(call, part.prepared, effect.unproven)

    def compile_in_place(self, part: Part) -> None:
        self._analyser.keep_in_place(part.prepared)
        part.prepared = part.prepared.in_place()

    def _note_proof_failure(self, call: Call, prepared: Prepared, path: str) -> None:
        self._stats.add("proof_failures", call.build)
        self._stats.note(f"proof failed: {path}, compiling {os.fsdecode(prepared.source)}")

    def count_discrepancy(self, call: Call, part: Part, exit_status: int) -> None:
        """What failed on the farm has succeeded here."""
        self._stats.add("discrepancies", call.build)
        self._analyser.keep_in_place(part.prepared)
        source = os.fsdecode(part.prepared.source)
        self._stats.note(f"exit {exit_status} on the farm, success here: {source}")

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
