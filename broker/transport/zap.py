"""Which keys get a connection at all: ZeroMQ's authentication protocol, answered from the broker's loop."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import zmq
import zmq.utils.z85

from zcc.link import Frames, Pumped
from zcc.summing import Summing

logger = logging.getLogger(__name__)

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"zcc"


class ZapHandler(Pumped):
    """ZeroMQ authentication protocol (RFC 27), CURVE only, answered from the same loop."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], zap: Callable[[str, str], str | None]
    ) -> None:
        """`zap` as RouterLink has it; an empty answer means: not now."""
        socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.bind(ZAP_ENDPOINT)
        self._admit = zap
        self._strangers = Summing[str]()
        super().__init__(socket)

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        parts = [frame.bytes for frame in frames]
        try:
            split = parts.index(b"")
            version, request = parts[split + 1], parts[split + 2]
        except (ValueError, IndexError):
            return
        user = self._judge(parts[split + 3 :])
        if user:
            verdict = [b"200", b"OK", user.encode()]
        elif user is None:
            verdict = [b"400", b"unknown key", b""]
        else:  # the peer is told nothing, and tries again; after a 400 libzmq would not
            verdict = [b"300", b"not now", b""]
        with contextlib.suppress(zmq.ZMQError):
            self._socket.send_multipart(
                [*parts[: split + 1], version, request, *verdict, b""], zmq.DONTWAIT
            )
        self._look_again()

    def _judge(self, request: Frames) -> str | None:
        """`request`: domain, address, identity, mechanism, credentials."""
        if len(request) != 5 or request[0] != ZAP_DOMAIN or request[3] != b"CURVE":
            return None
        key = zmq.utils.z85.encode(request[4]).decode()
        address = request[1].decode(errors="replace")
        try:
            user = self._admit(key, address)
        except Exception:  # whatever it is, admissions must go on
            # A no ends a node for good: it has to mean the key, and never a fault of ours.
            logger.exception("the key registry failed; refusing %s for now", key)
            return ""
        if user is None:
            self._warn(key, address)
        return user

    def _warn(self, key: str, address: str) -> None:
        """A stranger may try as often as he likes, with as many keys: what is said goes by his address."""
        now = self._loop.time()
        for other, more in self._strangers.due(now):
            logger.warning("refused %d more unregistered keys from %s", more, other or "elsewhere")
        if self._strangers.admits(address, now):
            logger.warning("refused: the key %s from %s is not registered here", key, address)
