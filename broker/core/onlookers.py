"""Who only looks on at the core: what each is told, and that its mistakes end nobody's session. Pure.

The core has one only while somebody wants to know (`Farm.watch`, `Farm.tally`). It goes the same way without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from broker.core.effects import Effect
    from broker.core.events import JobSubmitted, Recalled, ResultArrived
    from broker.core.jobs import Execution, Lease, Phase, Waiter
    from broker.core.nodes import Node
    from broker.core.sessions import Session
    from broker.scheduling.placement import Choice
    from zcc.messages import LocalCounts


class Onlooker(Protocol):
    """`failure` is a mistake of ours while it looked on: what it has may lack something since."""

    failure: Exception | None


class FarmWatch(Protocol):
    """Is told what happens to jobs, nodes and members, where it happens."""

    # ---- requests ----

    def answered(self, session: Session, event: JobSubmitted, recalled: Recalled) -> None: ...
    def not_taken(self, session: Session, event: JobSubmitted | None, reason: str) -> None: ...
    def joined(self, execution: Execution, waiter: Waiter) -> None: ...
    def left(self, execution: Execution, waiter: Waiter) -> None: ...

    # ---- jobs ----

    def queued(self, execution: Execution) -> None: ...
    def opened(self, execution: Execution, *, is_merged: bool) -> None: ...
    def phase_changed(self, execution: Execution, before: Phase) -> None: ...
    def recalled(self, execution: Execution, recalled: Recalled) -> None: ...
    def refused(self, execution: Execution, reason: str) -> None: ...
    def abandoned(self, execution: Execution) -> None: ...
    def removed(self, execution: Execution) -> None: ...

    # ---- runs ----

    def room_for(self, execution: Execution) -> tuple[int, int]:
        """Slots that may run it, and idle ones, as they are before it is placed."""
        ...

    def leased(
        self, execution: Execution, lease: Lease, choice: Choice, room: tuple[int, int]
    ) -> None: ...
    def adopted(self, execution: Execution, lease: Lease) -> None: ...
    def started(self, lease: Lease) -> None: ...
    def unleased(self, lease: Lease, why: str, *, is_fault: bool) -> None: ...
    def finished(
        self, execution: Execution, lease: Lease, event: ResultArrived, took: tuple[float, float]
    ) -> None: ...

    # ---- nodes and members ----

    def node_came(self, node: Node) -> None: ...
    def node_changed(self, node: Node) -> None: ...
    def node_left(self, node: Node, reason: str) -> None: ...
    def suspended(self, name: str, for_s: float, user: str) -> None: ...
    def turned_away(self, user: str, reason: str) -> None: ...
    def counted(self, session: Session, message: LocalCounts) -> None: ...
    def tick(self) -> None: ...


class FarmCounts(Protocol):
    """Reads what the core asks of its shell, and is told what that does not say."""

    def note(self, performed: Sequence[Effect]) -> None: ...
    def ran(self, event: ResultArrived, cpu_s: float, wall_s: float) -> None: ...
    def lease_ended(self, lease: Lease, ending: str, *, is_fault: bool) -> None: ...
    def counted(self, message: LocalCounts) -> None: ...
    def refused(self, reason: str) -> None: ...


Told = ParamSpec("Told")
AnyOnlooker = TypeVar("AnyOnlooker", bound=Onlooker)


def harmless(
    method: Callable[Concatenate[AnyOnlooker, Told], None],
) -> Callable[Concatenate[AnyOnlooker, Told], None]:
    """Whatever goes wrong in this method is kept for who owns the onlooker, and goes no further."""
    code = method.__code__
    guard = None if code.co_kwonlyargcount else _GUARDS.get(code.co_argcount - 1)
    if guard is not None:
        return guard(method)

    @wraps(method)
    def call(self: AnyOnlooker, /, *args: Told.args, **more: Told.kwargs) -> None:
        try:
            method(self, *args, **more)
        except Exception as error:  # noqa: BLE001 - its owner tells of it
            self.failure = error

    return call


def _guard_one(method: Callable[[Any, Any], None]) -> Callable[..., None]:
    @wraps(method)
    def call(self: Onlooker, first: object) -> None:
        try:
            method(self, first)
        except Exception as error:  # noqa: BLE001 - its owner tells of it
            self.failure = error

    return call


def _guard_four(method: Callable[[Any, Any, Any, Any, Any], None]) -> Callable[..., None]:
    @wraps(method)
    def call(self: Onlooker, first: object, second: object, third: object, fourth: object) -> None:
        try:
            method(self, first, second, third, fourth)
        except Exception as error:  # noqa: BLE001 - its owner tells of it
            self.failure = error

    return call


# What each job is told by has so many arguments: passing on any number of them costs 0.5 us more a call, which
# was a tenth of what watching costs.
_GUARDS: dict[int, Callable[[Any], Callable[..., None]]] = {1: _guard_one, 4: _guard_four}
