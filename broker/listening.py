"""Where the broker listens while the addresses of its machine come and go, and what it announces of that.

By the name of an interface (a VPN's) it listens on each address that the interface has, from when it has one,
and on no other. libzmq knows nothing of that, so this looks once a second.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

import zmq

from broker.errors import StartError
from zcc.discovery.interfaces import InterfaceAddress, addresses_to_reach, interface_addresses
from zcc.discovery.multicast import Announcer
from zcc.errors import NoMulticastError
from zcc.reaching import split_endpoint

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
_ALL_V4, _ALL = ("0.0.0.0",), ("*", "::")


class InterfaceListener:
    """Binds the addresses of one interface, by `bind`, which raises ZMQError, and `unbind`; `moved` is told the
    first endpoint, each time that it is another."""

    def __init__(
        self,
        interface: str,
        port: int,
        bind: Callable[[str], str],
        unbind: Callable[[str], None],
        moved: Callable[[str], None],
    ) -> None:
        self._interface = interface
        self.port = port
        self._bind, self._unbind, self._moved = bind, unbind, moved
        self._bound: dict[str, str] = {}  # by address, the endpoint
        self._refused: dict[str, str] = {}  # by address, why
        self._is_waiting = False
        self._told = ""

    def look(self) -> None:
        """Follow what the interface has now.

        Raises:
            StartError: another program has the port, before anything was bound.
        """
        wanted = [each.address for each in self.addresses()]
        for address in self._bound.keys() - set(wanted):
            logger.info("%s has lost %s", self._interface, address)
            self._unbind(self._bound.pop(address))
        for address in wanted:
            if address not in self._bound:
                self._take(address)
        self._refused = {each: why for each, why in self._refused.items() if each in wanted}
        if self._bound:
            self._is_waiting = False
            first = next(self._bound[each] for each in wanted if each in self._bound)
            if first != self._told:
                self._told = first
                self._moved(first)
        elif not self._is_waiting:
            self._is_waiting = True
            logger.warning(
                "waiting for an interface %s with an address: nobody can reach this broker until then"
                " (for a host's name say --listen tcp://HOST:PORT)",
                self._interface,
            )

    def addresses(self) -> list[InterfaceAddress]:
        """Those to be bound: IPv6 addresses that mean something on one link alone are not."""
        return [
            each
            for each in interface_addresses()
            if each.interface == self._interface and not (each.is_v6 and each.is_local)
        ]

    def bound_addresses(self) -> list[InterfaceAddress]:
        return [each for each in self.addresses() if each.address in self._bound]

    def _take(self, address: str) -> None:
        place = f"[{address}]" if ":" in address else address
        try:
            self._bound[address] = self._bind(f"tcp://{place}:{self.port}")
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE and not self._told:
                raise StartError(
                    f"cannot listen on {place}:{self.port} ({self._interface}): {error}; is another broker"
                    f" running? Say --listen {self._interface}:PORT"
                ) from error
            # A new address of IPv6 cannot be bound until the kernel has seen that nobody else has it.
            if error.errno != errno.EADDRNOTAVAIL and self._refused.get(address) != str(error):
                self._refused[address] = str(error)
                logger.warning("cannot listen on %s:%d: %s", place, self.port, error)
        else:
            logger.info("listens on %s (%s)", self._bound[address], self._interface)


def announced_addresses(endpoint: str) -> list[InterfaceAddress]:
    """By which addresses others reach what listens on this endpoint, as it is now.

    Raises:
        StartError: by none, ever.
    """
    host, _ = split_endpoint(endpoint.replace("*", "0.0.0.0"))
    if host in _ALL_V4:
        return [each for each in addresses_to_reach() if not each.is_v6]
    if host in _ALL:
        return addresses_to_reach()
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return []
    here = [each for each in interface_addresses() if each.address in found]
    if here and all(each.is_local for each in here):
        raise StartError(
            f"--announce: no other machine reaches {endpoint}; say --listen tcp://0.0.0.0:PORT, an address of"
            " this machine, or an interface (eth0:PORT)"
        )
    return [each for each in here if not each.is_local]


class Whereabouts:
    """Follows the interface, and keeps the announcement true, until it is closed; in a running loop."""

    def __init__(
        self,
        listener: InterfaceListener | None,
        announcer: Announcer | None,
        where: Callable[[], tuple[list[InterfaceAddress], int]],
    ) -> None:
        self._listener = listener
        self._announcer = announcer
        self._where = where
        self._problem = ""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._announcer is not None:
            await self._announcer.close()

    async def _follow(self) -> None:
        while self._listener is not None or self._announcer is not None:
            try:
                if self._listener is not None:
                    self._listener.look()
                await self._announce()
                self._problem = ""
            except (NoMulticastError, StartError, OSError) as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    logger.warning("%s", error)
            except Exception as error:  # whatever a network does, the interface is followed
                if repr(error) != self._problem:
                    self._problem = repr(error)
                    logger.exception("following this machine's addresses")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _announce(self) -> None:
        if self._announcer is None:
            return
        # Where the endpoint has a name, DNS is asked.
        addresses, port = await asyncio.to_thread(self._where)
        if await self._announcer.announce(addresses, port):
            told = (
                ", ".join(each.address for each in addresses) or "nothing, for want of an address"
            )
            logger.info("announces %s", told)
