"""A TCP relay that delays: each byte comes so much later, and no more of them a second than a line carries.

    python proxy.py LISTEN_HOST:PORT TARGET_HOST:PORT LATENCY_MS MBIT_PER_S     (0: no bound)

The latency is one way, so a round trip takes twice as long. Each direction of each connection is a line
of its own; `ready` is printed once it listens.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque

_PIECE_BYTES = 64 << 10
# What is on its way in one direction: more than latency times bandwidth of any line that is tried.
_MOST_PIECES = 256


class Line:
    """One direction of a connection."""

    def __init__(self, latency_s: float, bytes_per_s: float) -> None:
        self._latency_s, self._bytes_per_s = latency_s, bytes_per_s
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._changed = asyncio.Condition()
        self._free_at = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taking = asyncio.create_task(self._take(reader))
        try:
            await self._give(writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            taking.cancel()
            writer.close()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                piece = await reader.read(_PIECE_BYTES)
            except ConnectionError:
                piece = b""
            now = time.monotonic()
            # The line sends one byte after the other, then they travel.
            sending_s = len(piece) / self._bytes_per_s if self._bytes_per_s else 0.0
            self._free_at = max(now, self._free_at) + sending_s
            async with self._changed:
                await self._changed.wait_for(lambda: len(self._pieces) < _MOST_PIECES)
                self._pieces.append((self._free_at + self._latency_s, piece))
                self._changed.notify_all()
            if not piece:
                return

    async def _give(self, writer: asyncio.StreamWriter) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._pieces))
                due, piece = self._pieces.popleft()
                self._changed.notify_all()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not piece:
                return
            writer.write(piece)
            await writer.drain()


async def serve(listen: str, target: str, latency_ms: float, mbit_per_s: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        bytes_per_s = mbit_per_s * 1e6 / 8
        await asyncio.gather(
            Line(latency_ms / 1000, bytes_per_s).carry(reader, far_writer),
            Line(latency_ms / 1000, bytes_per_s).carry(far_reader, writer),
        )

    host, _, port = listen.rpartition(":")
    server = await asyncio.start_server(connected, host, int(port))
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
