"""The manager's end of a notify socket, as systemd has it."""

from __future__ import annotations

import os
import socket
from types import TracebackType

PATIENCE_S = 60.0


class Heard:
    """Listens at `address`: a path, or `@` and an abstract name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        if not address.startswith("@"):
            os.chmod(address, 0o777)  # as systemd's: the node is somebody else by then
        self._socket.settimeout(PATIENCE_S)

    def __enter__(self) -> Heard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        if not self.address.startswith("@"):
            os.unlink(self.address)

    def next(self) -> dict[str, str]:
        """What is said next; an error when nothing is for a minute."""
        return _read(self._socket.recv(4096))

    def until(self, name: str) -> list[dict[str, str]]:
        """All that is said until something has this name, that included."""
        said = [self.next()]
        while name not in said[-1]:
            said.append(self.next())
        return said

    def drain(self) -> list[dict[str, str]]:
        """What waits to be read."""
        said = []
        self._socket.setblocking(False)
        try:
            while True:
                said.append(_read(self._socket.recv(4096)))
        except BlockingIOError:
            return said
        finally:
            self._socket.settimeout(PATIENCE_S)


def _read(datagram: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in datagram.decode().split("\n"))
