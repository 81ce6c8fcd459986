"""The way of each call through the agent: events in, effects out. Pure.

    analysing -> remote -> (result placed)
        |           |
        +-----------+--> waiting (for a slot) -> local -> (compiler ends)

A result that is remembered is placed at once, out of `analysing` or, by the farm, out of `remote`.
Whatever goes wrong on the way to the right leads down, never out: a call ends with outputs or with the
local compiler, and only a user who asked for it (ZCC_FALLBACK=never or forbid) sees an error of zcc's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from zcc.agent.effects import (
    CancelJob,
    CountOutcome,
    Effect,
    FailCall,
    ForgetCall,
    PlaceResult,
    RunHere,
    SubmitJob,
)
from zcc.agent.events import (
    CallArrived,
    CallClosed,
    CallIsLocal,
    CallPrepared,
    CheckWanted,
    CompileFailed,
    Event,
    FarmClosed,
    FarmOpened,
    JobRefused,
    RecallRefused,
    ResultProven,
    ResultRecalled,
    ResultUnproven,
    Ticked,
)
from zcc.agent.slots import Slots


class Stage(Enum):
    ANALYSING = "analysing"
    REMOTE = "remote"
    WAITING = "waiting"
    LOCAL = "local"
    ANSWERED = "answered"


@dataclass(slots=True)
class Call:
    is_nested: bool
    is_strict: bool
    is_forbidden: bool
    stage: Stage = Stage.ANALYSING
    way: str = ""
    is_fresh: bool = False
    is_checked: bool = False
    submitted_s: float = 0.0


@dataclass(slots=True)
class AgentMachine:
    """The state of all calls. A remote job is given up after `remote_timeout_s`.

    `is_farm_expected`: the agent has just started and dials; jobs wait for the first word on that.
    """

    slots: Slots
    remote_timeout_s: float
    calls: dict[int, Call] = field(default_factory=dict)
    is_farm_open: bool = False
    is_farm_expected: bool = False
    farm_reason: str = "no-farm"

    def handle(self, event: Event, now: float) -> list[Effect]:
        match event:
            case CallArrived(name, is_nested, is_strict, is_forbidden):
                self.calls[name] = Call(is_nested, is_strict, is_forbidden)
                return []
            case CheckWanted(name):
                call = self.calls.get(name)
                if call is not None and not call.is_forbidden:
                    call.is_checked = True
                return []
            case CallPrepared(name, way, is_fresh):
                return self._prepared(name, way, is_fresh, now)
            case ResultRecalled(name, way):
                return self._recalled(name, way)
            case CallIsLocal(name, reason, detail, is_choice, slots):
                return self._locally(name, reason, detail, is_choice, slots)
            case CallClosed(name):
                return self._closed(name)
            case FarmOpened():
                self.is_farm_open = True
                self.is_farm_expected = False
                return [SubmitJob(name, self.calls[name].is_fresh) for name in self._remote()]
            case FarmClosed(reason):
                self.is_farm_open = self.is_farm_expected = False
                self.farm_reason = reason
                return self._all_locally(self._remote(), reason)
            case Ticked():
                return self._give_up_late(now)
            case _:
                return self._verdict(event)

    def pending(self) -> list[int]:
        """The calls whose launchers wait for an answer."""
        waiting = (Stage.ANALYSING, Stage.REMOTE, Stage.WAITING)
        return [name for name, call in self.calls.items() if call.stage in waiting]

    def validate(self) -> None:
        """What holds between events; tests call it after each."""
        local = sum(call.stage is Stage.LOCAL for call in self.calls.values())
        waiting = sum(call.stage is Stage.WAITING for call in self.calls.values())
        assert local == self.slots.holders
        assert waiting == self.slots.waiting

    def _verdict(
        self, event: JobRefused | ResultProven | ResultUnproven | CompileFailed | RecallRefused
    ) -> list[Effect]:
        call = self.calls.get(event.call)
        if call is None or call.stage is not Stage.REMOTE:
            return []
        match event:
            case JobRefused(name, reason, detail) | ResultUnproven(name, reason, detail):
                return self._locally(name, reason, detail)
            case CompileFailed(name, exit_status):
                return self._repeat(name, call, exit_status)
            case RecallRefused(name, reason, detail) if call.is_fresh:
                return self._locally(name, reason, detail)
            case RecallRefused(name):
                call.is_fresh = True
                return [SubmitJob(name, is_fresh=True)]
            case ResultProven(name) if call.is_checked:
                return self._check_here(name)
            case ResultProven(name, is_recalled):
                call.stage = Stage.ANSWERED
                outcome = "shared_hit" if is_recalled else "remote"
                return [PlaceResult(name), CountOutcome(name, outcome, way=call.way)]
            case _:
                assert_never(event)

    def _recalled(self, name: int, way: str) -> list[Effect]:
        call = self.calls.get(name)
        if call is None or call.stage is not Stage.ANALYSING:
            return []
        if call.is_checked:
            return self._check_here(name)
        call.stage = Stage.ANSWERED
        return [PlaceResult(name), CountOutcome(name, "local_hit", way=way)]

    def _prepared(self, name: int, way: str, is_fresh: bool, now: float) -> list[Effect]:
        call = self.calls.get(name)
        if call is None or call.stage is not Stage.ANALYSING:
            return []
        if not self.is_farm_open and not self.is_farm_expected:
            return self._locally(name, self.farm_reason)
        call.stage = Stage.REMOTE
        call.way = way
        call.is_fresh = is_fresh
        call.submitted_s = now
        return [SubmitJob(name, is_fresh)] if self.is_farm_open else []

    def _repeat(self, name: int, call: Call, exit_status: int) -> list[Effect]:
        """The user must see the error from a run of his own; that is no fallback."""
        call.is_strict = False
        return self._locally(name, "compile-error", f"exit status {exit_status}", is_choice=True)

    def _check_here(self, name: int) -> list[Effect]:
        """The result is here and waits to be compared: that is no fallback."""
        return self._locally(name, "verify", is_choice=True)

    def _locally(
        self, name: int, reason: str, detail: str = "", is_choice: bool = False, slots: int = 1
    ) -> list[Effect]:
        call = self.calls.get(name)
        if call is None or call.stage not in (Stage.ANALYSING, Stage.REMOTE):
            return []
        counted = CountOutcome(name, "local", reason=reason, detail=detail)
        if call.is_forbidden or (call.is_strict and not is_choice):
            call.stage = Stage.ANSWERED
            why = f"{reason} ({detail})" if detail else reason
            message = f"ZCC_FALLBACK=never: this compile would have run locally: {why}"
            if call.is_forbidden:
                message = f"ZCC_FALLBACK=forbid: this would have run here: {why}"
            failed = CountOutcome(name, "failed", reason=reason, detail=detail)
            return [FailCall(name, message), failed]
        if self.slots.take(name, call.is_nested, slots):
            call.stage = Stage.LOCAL
            return [counted, RunHere(name)]
        call.stage = Stage.WAITING
        return [counted]

    def _all_locally(self, names: list[int], reason: str) -> list[Effect]:
        return [effect for name in names for effect in self._locally(name, reason)]

    def _closed(self, name: int) -> list[Effect]:
        call = self.calls.pop(name, None)
        if call is None:
            return []
        effects: list[Effect] = [CancelJob(name)] if call.stage is Stage.REMOTE else []
        effects.append(ForgetCall(name))
        for following in self.slots.release(name):
            self.calls[following].stage = Stage.LOCAL
            effects.append(RunHere(following))
        return effects

    def _give_up_late(self, now: float) -> list[Effect]:
        late = [
            name
            for name in self._remote()
            if now - self.calls[name].submitted_s > self.remote_timeout_s
        ]
        cancels: list[Effect] = [CancelJob(name) for name in late]
        return cancels + self._all_locally(late, "remote-timeout")

    def _remote(self) -> list[int]:
        return [name for name, call in self.calls.items() if call.stage is Stage.REMOTE]
