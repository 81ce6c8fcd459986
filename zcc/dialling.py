"""A member's way to its broker: what is dialled, where else it may be, and what is remembered of that."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from zcc.discovery.announcement import fingerprint_of
from zcc.discovery.pursuit import DialEndpoint, Pursuit, PursuitEffect, RememberEndpoint, SeekBroker
from zcc.errors import ConfigError, ZccError
from zcc.farm import Access, first_endpoint, remember_endpoint
from zcc.reaching import dialled, is_service

logger = logging.getLogger(__name__)


class Dialler:
    """Has a link dial wherever the broker may be, in a running loop, until a session stands there.

    `dial` is told each endpoint but the first, which is `endpoint`: empty where DNS has to be asked first.
    """

    def __init__(self, access: Access, dial: Callable[[str], None]) -> None:
        self.endpoint = first_endpoint(access)
        self._access = access
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._pursuit = Pursuit(self.endpoint, self._loop.time(), random.Random())
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    def beat(self, has_session: bool) -> None:
        """To be called with each beat of the member's."""
        self._do(self._pursuit.beat(has_session, self._loop.time()))

    def believes(self, is_admitted: bool) -> bool:
        """Whether this answer to our key is the broker's. Anybody can say no: libzmq takes an error of a server
        that has proved nothing. Where nothing but an announcement has led us, that is one try in vain."""
        if is_admitted or self._pursuit.is_proven:
            return True
        logger.warning("what is announced at %s turns our key away: passed over", self.endpoint)
        # Not from within the link's own events.
        self._loop.call_soon(lambda: self._do(self._pursuit.failed(self._loop.time())))
        return False

    def close(self) -> None:
        self._is_closed = True
        if self._looking is not None:
            self._looking.cancel()

    def _do(self, what: PursuitEffect | None) -> None:
        if self._is_closed:
            return
        match what:
            case SeekBroker():
                self._looking = self._loop.create_task(self._look())
            case DialEndpoint(endpoint):
                logger.info("dialling %s", endpoint)
                self.endpoint = endpoint
                self._dial(endpoint)
            case RememberEndpoint(endpoint):
                logger.info("the broker is at %s now", endpoint)
                try:
                    remember_endpoint(self._access, endpoint)
                except (OSError, ConfigError) as error:
                    logger.warning("its address could not be kept: %s", error)

    async def _look(self) -> None:
        known, announced = list[str](), list[str]()
        try:
            known = await self._known()
            # Who has just begun, and asks DNS for that, tries what it says before anything else.
            announced = await self._announced() if self.endpoint or not known else []
        except Exception:  # whatever a network says, a member goes on dialling
            logger.exception("looking for the broker")
        self._do(self._pursuit.found(known, announced, self._loop.time()))

    async def _known(self) -> list[str]:
        """Where people, or the records that they have made in DNS, say that the broker is."""
        address = self._access.endpoint
        try:
            # With a name in an endpoint libzmq asks DNS anew at each try.
            return await asyncio.to_thread(dialled, address) if is_service(address) else [address]
        except ZccError as error:
            logger.warning("%s", error)
            return []

    async def _announced(self) -> list[str]:
        """Where somebody says that a broker of this key is."""
        if not self._access.follows:
            logger.debug("not looked for in the networks at hand: follow is off")
            return []
        from zcc.discovery import multicast  # noqa: PLC0415 - only who has lost its broker looks for it

        try:
            seen = await multicast.look()
        except ZccError as error:
            logger.debug("%s", error)
            return []
        ours = fingerprint_of(self._access.broker_public)
        return [
            endpoint
            for each in seen.announcements
            if each.fingerprint == ours
            for endpoint in each.endpoints
        ]
