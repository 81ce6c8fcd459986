"""One HTTP/1.1 connection of a ccache: what it stores to disk, what it asks for from there.

`broker/http` knows how requests come and go; this knows what ccache means by them, and how long a client may
take.

What ccache makes of answers (4.4 and newer): any status but 2xx to GET or HEAD is a miss; one to PUT or
DELETE is an error, for which it leaves the storage alone until the process ends. So whoever may only read is
told 204, and nothing happens; and deleting what is not there is no error either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import h11

from broker.core.allowance import Allowance
from broker.core.limits import STORAGE_BURST, STORAGE_PER_S
from broker.http.connection import (
    STALL_S,
    Doorkeeper,
    Headers,
    HttpConnection,
    HttpHouse,
)
from broker.storage.paths import key_of
from broker.storage.tokens import StorageAccess, name_of, token_in
from cache.errors import CacheError
from cache.values import MAX_VALUE_BYTES, Value, ValueArrival, ValueStore
from zcc.summing import Summing

logger = logging.getLogger(__name__)

# A body that stands still for STALL_S, or is slower than that on the whole, is cut off. So is one of which no
# such stretch came in the time that it may take: who is ahead at first may not drip for the rest.
MIN_BYTES_PER_S = 64 << 10
STRETCH_BYTES = 256 << 10
# The body of a request that is refused is read so far, to have the refusal heard; beyond it we hang up.
MAX_DRAINED_BYTES = 1 << 20
_PIECE_BYTES = 256 << 10
_METHODS = (b"GET", b"HEAD", b"PUT", b"DELETE")


@dataclass(slots=True, kw_only=True)
class Premises(HttpHouse):
    """What all connections share. `access_of` judges a token."""

    values: ValueStore
    access_of: Callable[[str], StorageAccess | None]
    # Requests of one token's, as of a member's key.
    allowance: Allowance = field(default_factory=lambda: Allowance(STORAGE_BURST, STORAGE_PER_S))
    warnings: Summing[str] = field(default_factory=Summing)

    def admit(self, doorkeeper: Doorkeeper) -> Visit:
        return Visit(self, doorkeeper)

    def is_good(self, token: str) -> bool:
        return self.access_of(token) is not None

    def warn(self, error: CacheError) -> None:
        """Log it, unless the same was said often: a client can bring it about with each request."""
        if self.warnings.admits(str(error), self.now()):
            logger.warning("%s", error)

    def sum_up(self) -> None:
        """Log how many more there were; to be called now and then."""
        for said, more in self.warnings.due(self.now()):
            logger.warning("%s: %d times more", said or "other refusals", more)


@dataclass(slots=True)
class _Order:
    """A request whose head has been read: what its end will be answered, unless the disk says no."""

    method: bytes
    status: int = 204
    key: bytes = b""
    has_body: bool = False
    arrival: ValueArrival | None = None
    headers: Headers = field(default_factory=list)


class Visit(HttpConnection):
    def __init__(self, premises: Premises, doorkeeper: Doorkeeper) -> None:
        super().__init__(premises, doorkeeper)
        self._premises = premises
        self._order: _Order | None = None
        self._ends_at = 0.0  # when the body under way has to be over at the latest
        self._stretch_ends_at = 0.0
        self._stretch_bytes = 0  # have come of the stretch under way
        self._value: Value | None = None  # being sent
        self._offset = 0

    @property
    def is_idle(self) -> bool:
        return self._order is None and self._value is None

    def _end(self) -> None:
        if self._order is not None and self._order.arrival is not None:
            self._order.arrival.drop()
        self._order = None
        self._end_value()

    # ---- requests ------------------------------------------------------------------------------

    def _has_more(self) -> bool:
        if self._value is None:
            return False
        self._send_piece(self._value)
        return True

    def _has_to_wait(self) -> bool:
        """Whether the token has been used more than it may; the round comes back when it has made up for it."""
        if not self.token:
            return False
        owed = -self._premises.allowance.left(name_of(self.token), self._premises.now())
        if owed <= 0:
            return False
        self._wait_s(owed / STORAGE_PER_S)
        return True

    def _begin(self, request: h11.Request) -> None:
        headers = dict(request.headers)
        length = int(headers.get(b"content-length", b"0"))
        self._hasten(length)
        if b"transfer-encoding" in headers:
            self._refuse(411)
            return
        if length > MAX_VALUE_BYTES:
            self._refuse(413)
            return
        order = self._judge(request, headers, length)
        is_waiting = self._http.they_are_waiting_for_100_continue
        if order.status >= 400 and (is_waiting or length > MAX_DRAINED_BYTES):
            self._refuse(order.status, order.headers)
            return
        if is_waiting:
            self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
        self._order = order

    def _judge(self, request: h11.Request, headers: dict[bytes, bytes], length: int) -> _Order:
        method = request.method
        token = token_in(headers.get(b"authorization", b""))
        access = self._premises.access_of(token)
        self._show("" if access is None else token)
        if access is None:
            self._premises.counts["unauthorized"] += 1
            return _Order(method, 401, headers=[(b"WWW-Authenticate", b'Basic realm="ccache"')])
        self._premises.allowance.use(name_of(token), 1, self._premises.now())
        if method not in _METHODS:
            return _Order(method, 405, headers=[(b"Allow", b", ".join(_METHODS))])
        key = key_of(request.target)
        if key is None:
            return _Order(method, 404)
        order = _Order(method, key=key, has_body=length > 0)
        if method in (b"PUT", b"DELETE") and access is StorageAccess.READ:
            order.key = b""
        elif method == b"PUT":
            self._open_arrival(order, length, name_of(token))
        return order

    def _show(self, token: str) -> None:
        before, self.token = self.token, token
        if token != before:
            self._doorkeeper.showed(self, before)

    def _open_arrival(self, order: _Order, length: int, writer: str) -> None:
        if not length:
            order.status = 400
            return
        try:
            order.arrival = self._premises.values.arrival(order.key, length, writer)
        except CacheError as error:
            self._premises.warn(error)
            order.status = 507

    def _take(self, piece: bytes) -> None:
        now = self._premises.now()
        self._stretch_bytes += len(piece)
        if self._stretch_bytes >= STRETCH_BYTES:
            self._begin_stretch(now)
        self.deadline = min(now + STALL_S, self._stretch_ends_at, self._ends_at)
        order = self._order
        if order is None or order.arrival is None:
            return
        try:
            order.arrival.feed(piece)
        except CacheError as error:
            self._premises.warn(error)
            order.arrival, order.status = None, 507

    def _finish(self) -> None:
        order, self._order = self._order, None
        if order is None:
            return
        if order.has_body and self._premises.access_of(self.token) is None:
            # It was revoked, or has expired, while the body came.
            if order.arrival is not None:
                order.arrival.drop()
            self._premises.counts["unauthorized"] += 1
            self._answer(401, [])
            return
        if order.status == 204 and order.method in (b"GET", b"HEAD"):
            self._give(order)
            return
        if order.arrival is not None:
            self._keep(order, order.arrival)
        elif order.status == 204 and order.method == b"DELETE" and order.key:
            self._premises.values.remove(order.key)
        self._answer(order.status, order.headers)

    def _keep(self, order: _Order, arrival: ValueArrival) -> None:
        try:
            arrival.finish()
            self._premises.counts["stored"] += 1
        except CacheError as error:
            self._premises.warn(error)
            order.status = 507

    def _give(self, order: _Order) -> None:
        value = self._premises.values.open(order.key)
        self._premises.counts["misses" if value is None else "hits"] += order.method == b"GET"
        if value is None:
            self._answer(404, [])
            return
        headers = [
            (b"Content-Type", b"application/octet-stream"),
            (b"Content-Length", str(value.size_bytes).encode()),
        ]
        self._write(self._http.send(h11.Response(status_code=200, headers=headers)))
        if order.method == b"HEAD":
            value.close()
            self._end_answer()
            return
        self._value, self._offset = value, 0
        self._hasten(value.size_bytes)

    # ---- answers -------------------------------------------------------------------------------

    def _send_piece(self, value: Value) -> None:
        self.deadline = min(self._premises.now() + STALL_S, self._ends_at)
        piece = value.read(self._offset, _PIECE_BYTES)
        if not piece:
            raise OSError("a value became shorter while it was sent")
        self._offset += len(piece)
        self._write(self._http.send(h11.Data(data=piece)))
        if self._offset >= value.size_bytes:
            self._end_value()
            self._end_answer()

    def _answer(
        self, status: int, headers: Headers, body: bytes = b"", *, is_head: bool = False
    ) -> None:
        # A stranger has one answer a connection: making one costs him more than asking again.
        last = [(b"Connection", b"close")] if status == 401 else []
        super()._answer(status, [*headers, *last], body, is_head=is_head)

    def _end_value(self) -> None:
        if self._value is not None:
            self._value.close()
            self._value = None

    def _hasten(self, size_bytes: int) -> None:
        """A body of this size begins: when it has to be over."""
        now = self._premises.now()
        self._ends_at = now + STALL_S + size_bytes / MIN_BYTES_PER_S
        self.deadline = now + STALL_S
        self._begin_stretch(now)

    def _begin_stretch(self, now: float) -> None:
        self._stretch_bytes = 0
        self._stretch_ends_at = now + STALL_S + STRETCH_BYTES / MIN_BYTES_PER_S
