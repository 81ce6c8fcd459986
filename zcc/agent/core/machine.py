"""The way of each call through the agent: events in, effects out. Pure.

    analysing -> remote -> (result placed)
        |           |
        +-----------+--> waiting (for a slot) -> local -> (compiler ends, or is stopped)

A call has a part for each of its sources, and is answered when all are good and hold still (`ConfirmResult`).
A result that is remembered is placed at once, out of `analysing` or, by the farm, out of `remote`.
With `is_sharing` a remote compile that this machine would end sooner (`homeward.py`) comes here while a slot is
idle: one that has not begun there is taken back, and one that has is done here too. That one is `remote` until
either has ended, or `beside` once the farm has given it up; it holds a slot as a local one does.
Whatever goes wrong on the way to the right leads down, never out: a call ends with outputs or with the
local compiler, and only a user who asked for it (ZCC_FALLBACK=never or forbid) sees an error of zcc's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import assert_never

from zcc.agent.core.call_state import CallStage, CallState, PartState
from zcc.agent.core.chances import PASSING, Chance, chance_of, is_final
from zcc.agent.core.discrepancy import LocalRun
from zcc.agent.core.effects import (
    CompileInPlace,
    ConfirmResult,
    CountOutcome,
    Effect,
    FailCall,
    ForgetCall,
    ForgetRefusals,
    NoteRefusal,
    PlaceResult,
    RaceHere,
    RunHere,
    StopRace,
    VoidResult,
)
from zcc.agent.core.events import (
    CallArrived,
    CallClosed,
    CallIsLocal,
    CallPrepared,
    CallStopped,
    CheckWanted,
    Event,
    FarmClosed,
    FarmOpened,
    JobBegan,
    JobEvent,
    JobRefused,
    JobWaits,
    Looked,
    PartFailed,
    PartTaken,
    PartUnproven,
    RaceLost,
    RaceWon,
    ResultConfirmed,
    ResultRecalled,
    TimePassed,
)
from zcc.agent.core.forecast import Forecast
from zcc.agent.core.homeward import TAIL_S, Homeward
from zcc.agent.core.slots import Slots
from zcc.messages import WRONG_JOB
from zcc.reasons import Reason, reason_of

# Idle slots look for work so often, besides when something happens; where all that is away has begun, so often.
LOOK_S = 0.02
LOOK_AT_BEGUN_S = 0.1


@dataclass(slots=True)
class AgentMachine:
    """The state of all calls. A remote job is given up `remote_timeout_s` after it has begun there, or
    was to begin by what the broker said.

    `is_farm_expected`: the agent has just started and dials; jobs wait for the first word on that.
    `is_sharing`: idle slots take from the farm what they would end sooner.
    """

    slots: Slots
    remote_timeout_s: float
    is_sharing: bool = False
    forecast: Forecast = field(default_factory=Forecast)
    calls: dict[int, CallState] = field(default_factory=dict)
    is_farm_open: bool = False
    is_farm_expected: bool = False
    farm_reason: Reason = Reason.NO_FARM
    homeward: Homeward = field(init=False)
    _tickets: dict[int, int] = field(default_factory=dict, init=False)  # the calls they belong to
    # When the last call came, when the last one ended, and when idle slots looked for work.
    _arrived_s: float = field(default=-math.inf, init=False)
    _ended_s: float = field(default=-math.inf, init=False)
    _looked_s: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        self.homeward = Homeward(self.forecast)

    def handle(self, event: Event, now: float) -> list[Effect]:
        effects = self._handled(event, now)
        if self._should_look(event, now):
            effects += self._bring_home(effects, now)
        return effects

    def _handled(self, event: Event, now: float) -> list[Effect]:
        match event:
            case CallArrived(name, is_nested, is_strict, is_forbidden):
                self.calls[name] = CallState(is_nested, is_strict, is_forbidden)
                self._arrived_s = now
                return []
            case CheckWanted(name):
                call = self.calls.get(name)
                if call is not None and not call.is_forbidden:
                    call.is_checked = True
                return []
            case CallPrepared():
                return self._prepared(event, now)
            case ResultRecalled(name, way):
                return self._recalled(name, way, now)
            case CallIsLocal(name, reason, detail, slots):
                return self._locally(name, reason, now, detail, slots)
            case CallClosed(name, run):
                return self._closed(name, run, now)
            case CallStopped(name):
                return self._stopped(name, now)
            case FarmOpened():
                return self._opened(now)
            case FarmClosed(reason):
                self.is_farm_open = self.is_farm_expected = False
                self.farm_reason = reason
                return self._all_locally(self._remote(), reason, now)
            case RaceWon() | RaceLost():
                return self._race_ended(event, now)
            case Looked():
                return []
            case TimePassed():
                return self._give_up_late(now)
            case _:
                return self._of_job(event, now)

    def pending(self) -> list[int]:
        """The calls whose launchers wait for an answer."""
        waiting = (CallStage.ANALYSING, CallStage.REMOTE, CallStage.BESIDE, CallStage.WAITING)
        return [name for name, call in self.calls.items() if call.stage in waiting]

    @property
    def wants_ends(self) -> bool:
        """Whether the end of a local compile matters at once: somebody waits for its slot, or would use it."""
        return self.slots.waiting > 0 or len(self.homeward) > 0

    @property
    def look_again_s(self) -> float | None:
        """After how long a Looked is due; None while there is nothing to look for."""
        if not self.homeward or not self.slots.has_idle:
            return None
        return LOOK_S if self.homeward.has_queued else LOOK_AT_BEGUN_S

    def may_begin_here(self, name: int) -> bool:
        """Whether a slot is idle for a call whose job would be long in coming."""
        is_shared = self.is_sharing and (self.is_farm_open or self.is_farm_expected)
        call = self.calls.get(name)
        return is_shared and self.slots.has_idle and call is not None and call.may_come_here

    def awaited(self, name: int) -> int | None:
        """The ticket of what failed on the farm, if the compile here is to confirm that."""
        call = self.calls.get(name)
        return None if call is None or call.failed is None else call.failed.ticket

    def running_here(self) -> list[int]:
        """The calls whose launchers have become compilers, and hold slots."""
        return [name for name, call in self.calls.items() if call.stage is CallStage.LOCAL]

    def validate(self) -> None:
        """What holds between events; tests call it after each."""
        calls = self.calls.values()
        local = sum(call.stage is CallStage.LOCAL for call in calls)
        waiting = sum(call.stage is CallStage.WAITING for call in calls)
        assert local + sum(call.is_raced for call in calls) == self.slots.holders
        assert waiting == self.slots.waiting
        assert all(call.is_raced for call in calls if call.stage is CallStage.BESIDE)
        assert len(self.homeward) <= len(self._remote())
        tickets = {part.ticket: name for name, call in self.calls.items() for part in call.parts}
        assert tickets == self._tickets

    # ---- what comes of the jobs ------------------------------------------------------------------

    def _of_job(self, event: JobEvent, now: float) -> list[Effect]:
        name = self._tickets.get(event.ticket)
        if name is None:
            return []  # its call is over
        call = self.calls[name]
        part = next(each for each in call.parts if each.ticket == event.ticket)
        match event:
            case JobWaits(_, expected_s):
                call.due_s = now + expected_s
                self.homeward.told(name, expected_s, now)
                return []
            case JobBegan():
                call.due_s = now
                self.homeward.begun(name, now)
                return []
            case PartTaken(ticket, is_recalled):
                part.is_known, part.is_recalled = True, is_recalled
                return [] if call.open_tickets else [ConfirmResult(ticket)]
            case ResultConfirmed():
                return [ForgetRefusals(name), *self._confirmed(name, call, now)]
            case JobRefused(_, reason, detail):
                return self._refused(name, call, part, reason, detail, now)
            case PartFailed(_, exit_status):
                call.failed = event
                others = call.cancels(but=part)
                return others + self._repeat(name, call, exit_status, now)
            case PartUnproven():
                return self._unproven(name, call, part, event, now)
            case _:
                assert_never(event)

    def _confirmed(self, name: int, call: CallState, now: float) -> list[Effect]:
        if call.stage is not CallStage.REMOTE:
            return []
        if call.is_checked:
            return self._check_here(name, now)
        is_recalled = all(part.is_recalled for part in call.parts)
        outcome = "shared_hit" if is_recalled else "remote"
        return self._answer(name, CountOutcome(name, outcome, way=call.way))

    def _refused(
        self, name: int, call: CallState, part: PartState, reason: str, detail: str, now: float
    ) -> list[Effect]:
        effects = call.cancels(but=part)
        known = reason_of(reason)
        if known is not None and known in WRONG_JOB:
            effects.append(NoteRefusal(name, known, detail, is_clear=True))
        return effects + self._sent_home(name, call, reason, detail, now)

    def _unproven(
        self, name: int, call: CallState, part: PartState, event: PartUnproven, now: float
    ) -> list[Effect]:
        reason, detail, is_recalled = event.reason, event.detail, event.is_recalled
        chance = chance_of(
            reason, is_recalled=is_recalled, is_moved=part.is_moved, is_alone=len(call.parts) == 1
        )
        effects = call.cancels(but=part)
        if not is_final(reason):
            part.is_known = False
            is_bug = reason is Reason.PROOF and not part.is_moved and not is_recalled
            effects.append(VoidResult(event.ticket, is_recalled, detail if is_bug else ""))
        if chance is Chance.NONE:
            if reason not in PASSING:
                effects.append(NoteRefusal(name, reason, detail))
            return effects + self._sent_home(name, call, reason, detail, now)
        if chance is Chance.IN_PLACE:
            part.is_moved = False
            effects.append(CompileInPlace(event.ticket))
        if call.is_fresh or call.stage is not CallStage.REMOTE:
            return effects + self._sent_home(name, call, reason, detail, now)
        call.is_fresh = True
        self._send(name, call, now)
        return effects + call.submits()

    def _sent_home(
        self, name: int, call: CallState, reason: str, detail: str, now: float
    ) -> list[Effect]:
        """The farm gives it up."""
        if call.stage is not CallStage.REMOTE:
            return []
        return self._locally(name, reason, now, detail)

    def _answer(self, name: int, counted: CountOutcome) -> list[Effect]:
        """The result is here; its slot, if it holds one, it gives back when its launcher has it."""
        call = self.calls[name]
        call.stage = CallStage.ANSWERED
        self.homeward.gone(name)
        stop: list[Effect] = [StopRace(name)] if call.is_raced else []
        return [*stop, PlaceResult(name), counted]

    def _recalled(self, name: int, way: str, now: float) -> list[Effect]:
        call = self.calls.get(name)
        if call is None or call.stage is not CallStage.ANALYSING:
            return []
        if call.is_checked:
            return self._check_here(name, now)
        call.stage = CallStage.ANSWERED
        return [PlaceResult(name), CountOutcome(name, "local_hit", way=way)]

    def _prepared(self, event: CallPrepared, now: float) -> list[Effect]:
        name = event.call
        call = self.calls.get(name)
        if call is None or call.stage is not CallStage.ANALYSING:
            return []
        call.way, call.is_fresh = event.way, event.is_fresh
        call.keys, call.can_race = event.keys, event.can_race
        for each in event.parts:
            self._tickets[each.ticket] = name
            call.parts.append(PartState(each.ticket, each.is_moved, each.is_known, each.is_known))
        if not self.is_farm_open and not self.is_farm_expected:
            return self._locally(name, self.farm_reason, now)
        if self._is_small(call):
            return self._locally(name, Reason.SMALL, now)
        call.stage = CallStage.REMOTE
        call.due_s = now
        self._send(name, call, now)
        submit = call.submits() if self.is_farm_open else []
        if self.slots.has_idle and self.homeward.is_better_here(name, now):
            return self._take_back(name, submit, now)
        return submit

    def _opened(self, now: float) -> list[Effect]:
        self.is_farm_open = True
        self.is_farm_expected = False
        for name in self._remote():
            self._send(name, self.calls[name], now)
        return [each for name in self._remote() for each in self.calls[name].submits()]

    def _send(self, name: int, call: CallState, now: float) -> None:
        if self.is_sharing and self.is_farm_open and call.may_come_here:
            self.homeward.sent(name, call.keys, call.can_race, now)

    def _is_small(self, call: CallState) -> bool:
        """Whether it is over here before the farm could have begun and answered, and a slot is idle."""
        if not self.is_sharing or not call.may_come_here or not self.slots.has_idle:
            return False
        is_known = self.forecast.cost_s(call.keys) > 0
        return is_known and self.forecast.here_s(call.keys) < self.forecast.trip_s

    def _repeat(self, name: int, call: CallState, exit_status: int, now: float) -> list[Effect]:
        """The user must see the error from a run of his own; that is no fallback."""
        if call.stage is not CallStage.REMOTE:
            return []
        call.is_strict = False
        stopped = self._stop_race(name, now)
        detail = f"exit status {exit_status}"
        return stopped + self._locally(name, Reason.COMPILE_ERROR, now, detail)

    def _check_here(self, name: int, now: float) -> list[Effect]:
        """The result is here and waits to be compared: that is no fallback."""
        return self._locally(name, Reason.VERIFY, now)

    def _locally(
        self,
        name: int,
        reason: str,
        now: float,
        detail: str = "",
        slots: int = 1,
    ) -> list[Effect]:
        """`reason` is one of ours, or the broker's word: that is never a choice."""
        call = self.calls.get(name)
        if call is None or call.stage not in (CallStage.ANALYSING, CallStage.REMOTE):
            return []
        self.homeward.gone(name)
        is_choice = isinstance(reason, Reason) and reason.is_choice
        counted = CountOutcome(name, "local", reason=reason, detail=detail)
        if call.is_forbidden or (call.is_strict and not is_choice):
            call.stage = CallStage.ANSWERED
            why = f"{reason} ({detail})" if detail else reason
            message = f"ZCC_FALLBACK=never: this compile would have run locally: {why}"
            if call.is_forbidden:
                message = f"ZCC_FALLBACK=forbid: this would have run here: {why}"
            failed = CountOutcome(name, "failed", reason=reason, detail=detail)
            return [FailCall(name, message), failed]
        if call.is_raced:
            call.stage = CallStage.BESIDE
            return [counted]
        return [counted, *self._run(name, call, now, slots)]

    def _run(self, name: int, call: CallState, now: float, slots: int = 1) -> list[Effect]:
        """Let its launcher become the compiler, now or when it has its slots."""
        if not self.slots.take(name, call.is_nested, slots):
            call.stage = CallStage.WAITING
            return []
        return self._let_go(name, now)

    def _let_go(self, name: int, now: float) -> list[Effect]:
        call = self.calls[name]
        call.stage = CallStage.LOCAL
        call.began_s = now if self.wants_ends else None
        return [RunHere(name, is_compared=call.is_checked or call.failed is not None)]

    def _all_locally(self, names: list[int], reason: str, now: float) -> list[Effect]:
        return [effect for name in names for effect in self._locally(name, reason, now)]

    def _closed(self, name: int, run: LocalRun | None, now: float) -> list[Effect]:
        call = self.calls.get(name)
        if call is None:
            return []
        self._ended_s = now
        if call.began_s is not None and call.keys and self.wants_ends:
            self.forecast.ran_here(call.keys, now - call.began_s)
        self.homeward.gone(name)
        effects = call.cancels() + call.compared(name, run)
        is_racing = call.is_raced and call.stage is not CallStage.ANSWERED
        for part in call.parts:
            del self._tickets[part.ticket]
        del self.calls[name]
        if is_racing:
            effects.append(StopRace(name))
        return [*effects, ForgetCall(name), *self._release(name, now)]

    def _stopped(self, name: int, now: float) -> list[Effect]:
        call = self.calls.get(name)
        if call is None or call.stage is not CallStage.LOCAL:
            return []
        call.stage = CallStage.STOPPED
        call.began_s = None  # how long it takes says nothing any more
        return self._release(name, now)

    def _release(self, name: int, now: float) -> list[Effect]:
        return [
            effect
            for following in self.slots.release(name)
            for effect in self._let_go(following, now)
        ]

    def _give_up_late(self, now: float) -> list[Effect]:
        """The broker's own limits end what hangs on a node: this is for a broker that does not."""
        late = [
            name for name in self._remote() if now - self.calls[name].due_s > self.remote_timeout_s
        ]
        cancels = [each for name in late for each in self.calls[name].cancels()]
        return cancels + self._all_locally(late, Reason.REMOTE_TIMEOUT, now)

    def _remote(self) -> list[int]:
        return [name for name, call in self.calls.items() if call.stage is CallStage.REMOTE]

    # ---- what comes home -------------------------------------------------------------------------

    def _should_look(self, event: Event, now: float) -> bool:
        if not self.homeward or not self.slots.has_idle:
            return False
        if isinstance(event, PartTaken):
            return False  # it may be the last one, and is about to be confirmed
        return isinstance(event, Looked) or now - self._looked_s >= LOOK_S

    def _bring_home(self, effects: list[Effect], now: float) -> list[Effect]:
        """Give idle slots what they would end sooner than the farm; `effects` are those of this event."""
        self._looked_s = now
        brought: list[Effect] = []
        while self.slots.has_idle and (name := self.homeward.to_take(now)) is not None:
            brought += self._take_back(name, effects, now)
        # A build tool has nothing left to start.
        is_tail = self._ended_s > self._arrived_s and now - self._ended_s > TAIL_S
        while self.slots.has_idle and (name := self.homeward.to_race(now, is_tail)) is not None:
            if self.homeward.can_race(name):
                brought += self._race(name)
            else:
                brought += self._take_back(name, effects, now)
        return brought

    def _take_back(self, name: int, effects: list[Effect], now: float) -> list[Effect]:
        call = self.calls[name]
        submits = [each for each in effects if each in call.submits()]
        for each in submits:
            effects.remove(each)
        called_off = [] if submits else call.cancels()
        late_s = self.homeward.ends_there_s(name, now) - now
        detail = f"there in {late_s:.1f} s"
        return called_off + self._locally(name, Reason.SOONER_HERE, now, detail)

    def _race(self, name: int) -> list[Effect]:
        self.slots.take(name)
        self.calls[name].is_raced = True
        self.homeward.is_beside(name)
        return [RaceHere(name)]

    def _race_ended(self, event: RaceWon | RaceLost, now: float) -> list[Effect]:
        name = event.call
        call = self.calls.get(name)
        if call is None or not call.is_raced or call.stage is CallStage.ANSWERED:
            return []
        is_remote = call.stage is CallStage.REMOTE
        if isinstance(event, RaceWon):
            called_off = call.cancels()
            call.stage = CallStage.ANSWERED
            self.homeward.gone(name)
            if not is_remote:
                return [PlaceResult(name)]  # it was counted when the farm gave it up
            return [
                *called_off,
                PlaceResult(name),
                CountOutcome(name, "local", reason=Reason.RACED),
            ]
        call.is_raced = False
        self.homeward.cannot_race(name)
        freed = self._release(name, now)
        return freed if is_remote else freed + self._run(name, call, now)

    def _stop_race(self, name: int, now: float) -> list[Effect]:
        """Nothing is gained by the compile beside."""
        call = self.calls[name]
        if not call.is_raced:
            return []
        call.is_raced = False
        return [StopRace(name), *self._release(name, now)]
