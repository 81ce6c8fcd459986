"""All that the broker says to its peers: the outbox, the deliveries, and the timer that goes on with both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.core.limits import RETRIED_AT_ONCE, RETRY_S
from broker.failures import Failures
from broker.transport.deliveries import BodyOf, Deliveries
from broker.transport.outbox import Outbox
from broker.transport.router import RouterLink
from broker.transport.spool import Spool
from zcc import codec
from zcc.errors import UnsendableError
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
        # Of peers that have no session, perhaps: one each, while its connection stands.
        self._answers: dict[bytes, Message] = {}
        self._timer: asyncio.TimerHandle | None = None

    def open(self, route: bytes, user: str) -> None:
        """A session stands on this route: what waits is void."""
        self.deliveries.open(route, user)
        self.outbox.open(route, user)

    def close(self, route: bytes) -> None:
        """The session on this route is over."""
        self.deliveries.close(route)
        self.outbox.close(route)

    def answer(self, route: bytes, message: Message) -> None:
        """Say what is said once and for all, as a token may be used up by now: where the link does not take it
        at once, as long as the peer is there. The latest one counts."""
        if not self.say(route, message) and self._link.is_here(route):
            self._answers[route] = message
            self._retry_soon()

    def tick(self, _now: float) -> None:
        self.outbox.tick()

    def stop(self) -> None:
        """Nothing more is said."""
        if self._timer is not None:
            self._timer.cancel()
        self.spool.close()

    def _send(self, route: bytes, message: Message) -> bool:
        """False: there is no room for it now, or nobody. What no peer takes is not said, and ends nothing."""
        try:
            frames = codec.encode(message)
        except UnsendableError as error:
            self._failures.note(error, "a message")
            return True
        return self._link.send(route, frames)

    def _draw(self, route: bytes) -> Message | None:
        return self.deliveries.draw(route)

    def _retry_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._timer = None
        with self._failures.noted("what had to wait for a peer"):
            self.outbox.retry()
            self._retry_answers()

    def _retry_answers(self) -> None:
        for route in list(self._answers)[:RETRIED_AT_ONCE]:
            message = self._answers.pop(route)
            if not self._send(route, message) and self._link.is_here(route):
                self._answers[route] = message  # behind the others
        if self._answers:
            self._retry_soon()
