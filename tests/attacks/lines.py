"""A line between a member and its broker that passes on so many bytes a second, each way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zcc.reaching import split_endpoint

_TURN_S = 0.05


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_per_s: int
) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(int(bytes_per_s * _TURN_S)):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(len(data) / bytes_per_s)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def slow_line(endpoint: str, bytes_per_s: int) -> AsyncIterator[str]:
    """Yields the endpoint of its near end; the far one is the broker at this `endpoint`."""
    carriers: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*split_endpoint(endpoint))
        for way in ((reader, far_writer), (far_reader, writer)):
            carriers.add(asyncio.create_task(_carry(*way, bytes_per_s)))

    server = await asyncio.start_server(connect, "127.0.0.1", 0, limit=1 << 14)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for carrier in carriers:
            carrier.cancel()
        await asyncio.gather(*carriers, return_exceptions=True)
