"""One order of an admin: the nodes of a key and a name are given no more jobs, or jobs again.

It has a session of its own, so whoever follows the farm meanwhile goes on undisturbed.
"""

from __future__ import annotations

import asyncio

import zmq

from zcc.errors import ConfigError
from zcc.farm import Access
from zcc.messages import Drain, Drained, Happened, Message, PeerRole, Snapshot, Unknown
from zcc.watching.session import WatchSession

_LOOK_S = 0.02
# A broker in reach answers within a second; who has clicked waits no longer.
TIMEOUT_S = 5.0


class _Order(WatchSession):
    """Says Drain instead of Watch."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], access: Access, drain: Drain
    ) -> None:
        self.count: int | None = None
        self._drain = drain
        super().__init__(context, access, _hear_nothing)

    def _begin(self) -> None:
        self._say(self._drain)

    def _take(self, message: Message) -> None:
        match message:
            case Drained(count):
                self.count = count
            case Unknown():
                self._refuse("the broker is older than this program, and drains no nodes")
            case _:
                pass  # Beat


def _hear_nothing(_: Snapshot | Happened) -> None:
    """Nothing of the farm was asked for."""


def check_may_drain(access: Access) -> None:
    """That this key may order it.

    Raises:
        ConfigError: it is no admin's.
    """
    if access.role != PeerRole.ADMIN.value:
        raise ConfigError(
            f"this key is a {access.role}'s, and only an admin's drains nodes: ask for a token of"
            " zcc-broker token --role admin"
        )


async def drain(access: Access, order: Drain, timeout_s: float = TIMEOUT_S) -> int:
    """How many nodes that are here it was said of; 0: there is none of that key and name.

    Raises:
        ConfigError: the key may not, the broker says no, or does not answer in time.
    """
    check_may_drain(access)
    context = zmq.Context[zmq.Socket[bytes]]()
    session = _Order(context, access, order)
    loop = asyncio.get_running_loop()
    until_s = loop.time() + timeout_s
    try:
        while session.count is None and not session.refused and loop.time() < until_s:
            await asyncio.sleep(_LOOK_S)
    finally:
        session.close()
        context.term()
    if session.count is None:
        raise ConfigError(session.refused or session.state or "the broker does not answer")
    return session.count
