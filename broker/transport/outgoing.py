"""All that the broker says to its peers: the outbox, the deliveries, and the timer that goes on with both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.core.limits import RETRY_S
from broker.failures import Failures
from broker.transport.deliveries import BodyOf, Deliveries
from broker.transport.outbox import Outbox
from broker.transport.router import RouterLink
from broker.transport.spool import Spool
from zcc import codec
from zcc.messages import Message
from zcc.transfer import Read


class Outgoing:
    """`read` reads blobs of the store, `body_of` what is remembered."""

    def __init__(
        self, link: RouterLink, state_dir: str, read: Read, body_of: BodyOf, failures: Failures
    ) -> None:
        self._link = link
        self._failures = failures
        self._loop = asyncio.get_running_loop()
        self.spool = Spool(state_dir)
        self.outbox = Outbox(
            self._send, link.is_here, link.unsent_bytes, self._draw, self._retry_soon
        )
        self.deliveries = Deliveries(read, body_of, self.spool, self.outbox.pump)
        self.say: Callable[[bytes, Message], bool] = self.outbox.say
        self._timer: asyncio.TimerHandle | None = None

    def open(self, route: bytes, user: str) -> None:
        """A session stands on this route: what waits is void."""
        self.deliveries.open(route, user)
        self.outbox.open(route, user)

    def close(self, route: bytes) -> None:
        """The session on this route is over."""
        self.deliveries.close(route)
        self.outbox.close(route)

    def tick(self, _now: float) -> None:
        self.outbox.tick()

    def stop(self) -> None:
        """Nothing more is said."""
        if self._timer is not None:
            self._timer.cancel()
        self.spool.close()

    def _send(self, route: bytes, message: Message) -> bool:
        return self._link.send(route, codec.encode(message))

    def _draw(self, route: bytes) -> Message | None:
        return self.deliveries.draw(route)

    def _retry_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._timer = None
        with self._failures.noted("what had to wait for a peer"):
            self.outbox.retry()
