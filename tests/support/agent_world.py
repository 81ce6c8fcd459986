"""The agent's core as its shell drives it: calls of one part, and results that hold."""

from __future__ import annotations

from zcc.agent.core.effects import ConfirmResult, Effect, ForgetRefusals
from zcc.agent.core.events import CallPrepared, PartPrepared, PartTaken, ResultConfirmed
from zcc.agent.core.forecast import Keys
from zcc.agent.core.machine import AgentMachine


def prepared(
    call: int,
    way: str = "scanned",
    *,
    is_fresh: bool = False,
    keys: Keys = (),
    can_race: bool = False,
) -> CallPrepared:
    """A command of one source: its ticket is the call's number."""
    return CallPrepared(call, way, (PartPrepared(call),), is_fresh, tuple(keys), can_race)


def prove(agent: AgentMachine, call: int, now: float, *, is_recalled: bool = False) -> list[Effect]:
    """The result of a call of one part comes, and holds; what is done with it."""
    effects = agent.handle(PartTaken(call, is_recalled), now)
    if not effects:
        return []  # the call is over
    assert effects == [ConfirmResult(call)]
    first, *effects = agent.handle(ResultConfirmed(call), now)
    assert first == ForgetRefusals(call)
    return effects
