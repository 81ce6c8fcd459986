"""What the transport counts of bytes on their way, for who watches: a look at it, and nothing of its own."""

from __future__ import annotations

from collections.abc import Iterator

from broker.transport.router import RouterLink
from broker.transport.traffic import Traffic
from cache.digest import Digest


class SeenWires:
    def __init__(self, link: RouterLink, traffic: Traffic) -> None:
        self._link = link
        self._traffic = traffic

    def bytes_on(self, route: bytes) -> tuple[int, int] | None:
        """As `broker/watching/moving.py` has it, and so the others."""
        return self._link.bytes_on(route)

    def uploads(self) -> Iterator[tuple[str, Digest, int, int]]:
        return self._traffic.uploads()

    def is_stored(self, digest: Digest) -> bool:
        return self._traffic.has_now(digest)
