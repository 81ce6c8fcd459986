"""Multicast DNS on the networks at hand: what brokers announce there, and announcing one."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from zcc.discovery.announcement import (
    SERVICE,
    Announcement,
    instance_of,
    read_announcement,
    texts_of,
)
from zcc.discovery.interfaces import InterfaceAddress, addresses_to_reach
from zcc.errors import NoMulticastError

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

logger = logging.getLogger(__name__)

# Answers come within a second, but for machines that sleep.
LOOK_S = 3.0
# More services than that are somebody's flood; the first that were heard of count.
MAX_SERVICES = 64
# For the texts and addresses of what was heard of last.
_LAST_ANSWERS_MS = 500


@dataclass(frozen=True, slots=True)
class SeenFarms:
    """What was announced while one looked, and where one has looked."""

    announcements: tuple[Announcement, ...]
    looked_at: tuple[InterfaceAddress, ...]


async def look(wait_s: float = LOOK_S) -> SeenFarms:
    """Ask the networks at hand for farms, and listen for so long.

    Raises:
        NoMulticastError: this machine is in no network, or may not ask there.
    """
    looked_at = tuple(addresses_to_reach())
    async with _opened(looked_at) as multicast:
        resolving: dict[str, asyncio.Task[Announcement | None]] = {}
        library = import_module("zeroconf.asyncio")

        def changed(*, name: str, **_: Any) -> None:
            if name not in resolving and len(resolving) < MAX_SERVICES:
                resolving[name] = asyncio.create_task(_resolve(multicast, name, wait_s))

        browser = library.AsyncServiceBrowser(multicast.zeroconf, SERVICE, handlers=[changed])
        try:
            await asyncio.sleep(wait_s)
            found = await asyncio.gather(*resolving.values(), return_exceptions=True)
        finally:
            await browser.async_cancel()
            for task in resolving.values():
                task.cancel()
    announcements = {each for each in found if isinstance(each, Announcement)}
    ordered = sorted(announcements, key=lambda each: (each.farm, each.fingerprint, each.endpoints))
    return SeenFarms(tuple(ordered), looked_at)


async def _resolve(multicast: AsyncZeroconf, name: str, wait_s: float) -> Announcement | None:
    """The texts and addresses of a service whose name was heard."""
    library = import_module("zeroconf.asyncio")
    info: AsyncServiceInfo = library.AsyncServiceInfo(SERVICE, name)
    if not await info.async_request(multicast.zeroconf, wait_s * 1000 + _LAST_ANSWERS_MS):
        return None
    return read_announcement(
        info.properties, _near_first(info.parsed_scoped_addresses()), info.port
    )


def _near_first(addresses: Iterable[str]) -> list[str]:
    """Those in a network of this machine's first, IPv4 before IPv6: the likeliest to be reached.

    Last those that are this machine's own: bridges of containers have the same address on many machines."""
    here = addresses_to_reach()
    networks, own = [each.network for each in here], {each.address for each in here}

    def distance(address: str) -> tuple[bool, bool, bool]:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return True, True, True
        is_near = any(found in network for network in networks if network.version == found.version)
        return address in own, not is_near, found.version == 6

    return sorted(addresses, key=distance)


class Announcer:
    """Announces one broker at the addresses that it is told, on the interfaces that have them."""

    def __init__(self, farm: str, public_key: str) -> None:
        self._farm = farm
        self._public_key = public_key
        self._announced: tuple[tuple[InterfaceAddress, ...], int] | None = None
        self._open = contextlib.AsyncExitStack()

    async def announce(self, addresses: Sequence[InterfaceAddress], port: int) -> bool:
        """Announce these from now on, and nothing else; whether that is another thing than before.

        Raises:
            NoMulticastError: the networks do not take it; it may be tried again.
        """
        wanted = tuple(addresses), port
        if wanted == self._announced:
            return False
        await self.close()
        if addresses:
            multicast = await self._open.enter_async_context(_opened(addresses))
            library = import_module("zeroconf.asyncio")
            texts = [each.address for each in addresses]
            name = instance_of(self._public_key, texts, port)
            info = library.AsyncServiceInfo(
                SERVICE,
                f"{name}.{SERVICE}",
                port=port,
                properties=texts_of(self._farm, self._public_key, port),
                server=f"zcc-{name}.local.",  # not the machine's own name
                parsed_addresses=texts,
            )
            await multicast.async_register_service(info, allow_name_change=True)
        self._announced = wanted
        return True

    async def close(self) -> None:
        """Take back what is announced, and say so."""
        self._announced = None
        await self._open.aclose()
        self._open = contextlib.AsyncExitStack()


@contextlib.asynccontextmanager
async def _opened(addresses: Sequence[InterfaceAddress]) -> AsyncIterator[AsyncZeroconf]:
    """Multicast DNS on the interfaces of these addresses."""
    places: list[str | int] = [each.address for each in addresses if not each.is_v6]
    places += sorted({each.scope for each in addresses if each.is_v6})
    if not places:
        raise NoMulticastError(
            "this machine has no address but its own loopback: is the network or VPN up?"
        )
    # It takes a fifth of a second, in which the loop's other work goes on.
    library = await asyncio.to_thread(import_module, "zeroconf.asyncio")
    try:
        multicast: AsyncZeroconf = library.AsyncZeroconf(interfaces=places)
    except OSError as error:
        raise NoMulticastError(
            f"multicast DNS cannot be used here: {error.strerror or error}; port 5353 of UDP is what it needs"
        ) from error
    try:
        yield multicast
    finally:
        await multicast.async_close()
