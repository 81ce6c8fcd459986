"""The way of each call through the agent: events in, effects out. Pure.

    analysing -> remote -> (result placed)
        |           |
        +-----------+--> waiting (for a slot) -> local -> (compiler ends, or is stopped)

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

from zcc.agent.core.call_state import CallStage, CallState
from zcc.agent.core.effects import (
    CancelJob,
    CountOutcome,
    Effect,
    FailCall,
    ForgetCall,
    PlaceResult,
    RaceHere,
    RunHere,
    StopRace,
    SubmitJob,
)
from zcc.agent.core.events import (
    CallArrived,
    CallClosed,
    CallIsLocal,
    CallPrepared,
    CallStopped,
    CheckWanted,
    CompileFailed,
    Event,
    FarmClosed,
    FarmOpened,
    JobBegan,
    JobRefused,
    JobWaits,
    Looked,
    RaceLost,
    RaceWon,
    RecallRefused,
    ResultProven,
    ResultRecalled,
    ResultUnproven,
    TimePassed,
)
from zcc.agent.core.forecast import Forecast
from zcc.agent.core.homeward import TAIL_S, Homeward
from zcc.agent.core.slots import Slots
from zcc.reasons import Reason

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
            case CallClosed(name):
                return self._closed(name, now)
            case CallStopped(name):
                return self._stopped(name, now)
            case FarmOpened():
                return self._opened(now)
            case FarmClosed(reason):
                self.is_farm_open = self.is_farm_expected = False
                self.farm_reason = reason
                return self._all_locally(self._remote(), reason, now)
            case JobWaits(name, expected_s):
                self._note_start(name, now + expected_s)
                self.homeward.told(name, expected_s, now)
                return []
            case JobBegan(name):
                self._note_start(name, now)
                self.homeward.begun(name, now)
                return []
            case RaceWon() | RaceLost():
                return self._race_ended(event, now)
            case Looked():
                return []
            case TimePassed():
                return self._give_up_late(now)
            case _:
                return self._verdict(event, now)

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

    def _verdict(
        self,
        event: JobRefused | ResultProven | ResultUnproven | CompileFailed | RecallRefused,
        now: float,
    ) -> list[Effect]:
        call = self.calls.get(event.call)
        if call is None or call.stage is not CallStage.REMOTE:
            return []
        match event:
            case JobRefused(name, reason, detail) | ResultUnproven(name, reason, detail):
                return self._locally(name, reason, now, detail)
            case CompileFailed(name, exit_status):
                return self._repeat(name, call, exit_status, now)
            case RecallRefused(name, reason, detail) if call.is_fresh:
                return self._locally(name, reason, now, detail)
            case RecallRefused(name):
                call.is_fresh = True
                self._send(name, call, now)
                return [SubmitJob(name, is_fresh=True)]
            case ResultProven(name) if call.is_checked:
                return self._check_here(name, now)
            case ResultProven(name, is_recalled):
                outcome = "shared_hit" if is_recalled else "remote"
                return self._answer(name, CountOutcome(name, outcome, way=call.way))
            case _:
                assert_never(event)

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
        if not self.is_farm_open and not self.is_farm_expected:
            return self._locally(name, self.farm_reason, now)
        if self._is_small(call):
            return self._locally(name, Reason.SMALL, now)
        call.stage = CallStage.REMOTE
        call.due_s = now
        self._send(name, call, now)
        submit: list[Effect] = [SubmitJob(name, event.is_fresh)] if self.is_farm_open else []
        if self.slots.has_idle and self.homeward.is_better_here(name, now):
            return self._take_back(name, submit, now)
        return submit

    def _opened(self, now: float) -> list[Effect]:
        self.is_farm_open = True
        self.is_farm_expected = False
        for name in self._remote():
            self._send(name, self.calls[name], now)
        return [SubmitJob(name, self.calls[name].is_fresh) for name in self._remote()]

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
        return [RunHere(name)]

    def _all_locally(self, names: list[int], reason: str, now: float) -> list[Effect]:
        return [effect for name in names for effect in self._locally(name, reason, now)]

    def _closed(self, name: int, now: float) -> list[Effect]:
        call = self.calls.get(name)
        if call is None:
            return []
        self._ended_s = now
        if call.began_s is not None and call.keys and self.wants_ends:
            self.forecast.ran_here(call.keys, now - call.began_s)
        self.homeward.gone(name)
        effects: list[Effect] = [CancelJob(name)] if call.stage is CallStage.REMOTE else []
        is_racing = call.is_raced and call.stage is not CallStage.ANSWERED
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

    def _note_start(self, name: int, at: float) -> None:
        call = self.calls.get(name)
        if call is not None:
            call.due_s = at

    def _give_up_late(self, now: float) -> list[Effect]:
        """The broker's own limits end what hangs on a node: this is for a broker that does not."""
        late = [
            name for name in self._remote() if now - self.calls[name].due_s > self.remote_timeout_s
        ]
        cancels: list[Effect] = [CancelJob(name) for name in late]
        return cancels + self._all_locally(late, Reason.REMOTE_TIMEOUT, now)

    def _remote(self) -> list[int]:
        return [name for name, call in self.calls.items() if call.stage is CallStage.REMOTE]

    # ---- what comes home -------------------------------------------------------------------------

    def _should_look(self, event: Event, now: float) -> bool:
        if not self.homeward or not self.slots.has_idle:
            return False
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
        submits = [each for each in effects if isinstance(each, SubmitJob) and each.call == name]
        for each in submits:
            effects.remove(each)
        called_off: list[Effect] = [] if submits else [CancelJob(name)]
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
            call.stage = CallStage.ANSWERED
            self.homeward.gone(name)
            if not is_remote:
                return [PlaceResult(name)]  # it was counted when the farm gave it up
            return [
                CancelJob(name),
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
