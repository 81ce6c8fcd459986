"""The storage as the broker's shell has it: disk, members' desk, HTTP door, and their upkeep."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from broker.http.door import HttpDoor
from broker.storage.http import Premises
from broker.storage.member_values import MembersDesk, Offer, StorageMessage
from broker.storage.tokens import StorageAccess, StorageTokens
from cache.values import ValueStore
from zcc.messages import Message, StorageEnd

logger = logging.getLogger(__name__)

DIRECTORY = "ccache"
# How often the log is told what happened, if anything did.
REPORT_S = 600.0
# Between two rounds of counting and evicting, at least.
MAINTAIN_S = 5.0


class Storage:
    """Values below `STATE/ccache`; with a limit of 0 there are none, and nobody is served.

    Raises:
        StoreError: the directory cannot be used.
    """

    def __init__(self, state_dir: str, limit_bytes: int, members: StorageAccess | None) -> None:
        self._state_dir = state_dir
        self._members = members
        self.counts = self._counts = Counter[str]()
        self._reported: Counter[str] = Counter()
        self._values: ValueStore | None = None
        if limit_bytes:
            self._values = ValueStore(os.path.join(state_dir, DIRECTORY), limit_bytes)
        self._desk: MembersDesk | None = None
        self._door: HttpDoor | None = None
        self._tokens: StorageTokens | None = None
        self._keeper = ThreadPoolExecutor(1, "ccache-storage")
        self._upkeep: Future[int] | None = None
        self._maintain_at = self._report_at = 0.0

    def serve_members(self, send: Callable[[bytes, Message], None], offer: Offer) -> None:
        """From now on `take` answers through `send`, and what has a body through `offer`."""
        self._send = send
        if self._values is not None:
            self._desk = MembersDesk(self._values, self._members, send, offer, self._counts)

    async def listen(self, address: str) -> tuple[str, int]:
        """Serve HTTP at HOST:PORT; returns where, with the port that a 0 has become.

        Raises:
            StartError: it cannot be listened on.
            RegistryError: the tokens' file cannot be opened.
        """
        assert self._values is not None
        tokens = self._tokens = StorageTokens(self._state_dir)
        premises = Premises(
            values=self._values,
            access_of=lambda token: tokens.access_of(token, time.time()),
            now=asyncio.get_running_loop().time,
            counts=self._counts,
        )
        self._door = HttpDoor(address, premises, "--ccache-listen")
        await self._door.start()
        logger.info("ccache's storage listens on %s, port %d", *self._door.address)
        return self._door.address

    def take(self, route: bytes, message: StorageMessage, now: float, user: str = "") -> None:
        """Raises ProtocolError when no correct peer sends this."""
        if self._desk is None:
            self._send(route, StorageEnd(message.ticket, False, "off: this farm has no storage"))
        else:
            self._desk.take(route, message, now, user)

    def forget(self, route: bytes) -> None:
        if self._desk is not None:
            self._desk.forget(route)

    def tick(self, now: float) -> None:
        if self._desk is not None:
            self._desk.tick(now)
        if self._door is not None:
            self._door.tick(now)
        self._maintain(now)
        if now >= self._report_at:
            self._report_at = now + REPORT_S
            self._report()

    def figures(self) -> tuple[int, int]:
        """Bytes of all values, and the most that they may be."""
        return (self._values.known_bytes, self._values.limit_bytes) if self._values else (0, 0)

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
        if self._desk is not None:
            self._desk.close()
        if self._tokens is not None:
            self._tokens.close()
        self._keeper.shutdown()
        self._report()

    def _maintain(self, now: float) -> None:
        if self._values is None or now < self._maintain_at:
            return
        if self._upkeep is not None and self._upkeep.done():
            upkeep, self._upkeep = self._upkeep, None
            try:
                if gone := upkeep.result():
                    logger.info("evicted %d of ccache's values", gone)
            except OSError as error:
                logger.warning("cannot keep ccache's storage in bounds: %s", error)
        if self._upkeep is None and self._values.needs_maintenance:
            self._maintain_at = now + MAINTAIN_S
            self._upkeep = self._keeper.submit(self._values.maintain)

    def _report(self) -> None:
        if self._counts != self._reported:
            self._reported = Counter(self._counts)
            logger.info("ccache's storage since the start: %s", dict(self._counts))
