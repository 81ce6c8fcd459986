"""Announces whatever it is told, in the network of its process, until it is ended: who runs a broker may not be
the only one who says so. Arguments: the name of the service, an address, a port, and texts as NAME=VALUE in
which Python's escapes are read."""

from __future__ import annotations

import asyncio
import sys

from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from zcc.discovery.announcement import SERVICE
from zcc.discovery.interfaces import addresses_to_reach


async def announce(name: str, address: str, port: str, texts: list[str]) -> None:
    pairs = (text.partition("=") for text in texts)
    properties: dict[str | bytes, str | bytes | None] = {
        name.encode(): value.encode("latin-1").decode("unicode_escape").encode("latin-1")
        for name, _, value in pairs
    }
    places: list[str | int | tuple[tuple[str, int, int], int]] = [
        each.address for each in addresses_to_reach() if not each.is_v6
    ]
    multicast = AsyncZeroconf(interfaces=places)
    info = AsyncServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        port=int(port),
        properties=properties,
        server=f"{name}.local.",
        parsed_addresses=[address],
    )
    await multicast.async_register_service(info)
    print("announced", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(announce(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
