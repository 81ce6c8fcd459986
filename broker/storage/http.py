"""One HTTP/1.1 connection of a ccache: requests in turn, their bodies to disk, values from disk.

h11 knows HTTP; this knows what ccache means by it, and how long a client may take. Owns one connection's state;
which connection has to go is the door's business, and which is served next that of the rounds. What has come is
kept, and nothing more is read, until they call.

What ccache makes of answers (4.4 and newer): any status but 2xx to GET or HEAD is a miss; one to PUT or
DELETE is an error, for which it leaves the storage alone until the process ends. So whoever may only read is
told 204, and nothing happens; and deleting what is not there is no error either.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

import h11

from broker.core.allowance import Allowance
from broker.core.limits import STORAGE_BURST, STORAGE_PER_S
from broker.storage.paths import key_of
from broker.storage.rounds import Rounds
from broker.storage.tokens import StorageAccess, name_of, token_in
from cache.errors import CacheError
from cache.values import MAX_VALUE_BYTES, Value, ValueArrival, ValueStore
from zcc.summing import Summing

logger = logging.getLogger(__name__)

# A request's head: ccache's are some 300 bytes.
MAX_HEAD_BYTES = 16 << 10
# From the connection, or its last answer, to the whole head of the next request. A ccache process holds its
# connection for as long as its compile takes.
HEAD_S = 10.0
KEEP_ALIVE_S = 120.0
# A body that stands still so long, or is slower than that on the whole, is cut off. So is one of which no such
# stretch came in the time that it may take: who is ahead at first may not drip for the rest.
STALL_S = 10.0
MIN_BYTES_PER_S = 64 << 10
STRETCH_BYTES = 256 << 10
# The body of a request that is refused is read so far, to have the refusal heard; beyond it we hang up.
MAX_DRAINED_BYTES = 1 << 20
_PIECE_BYTES = 256 << 10
_METHODS = (b"GET", b"HEAD", b"PUT", b"DELETE")

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Premises:
    """What all connections share. `access_of` judges a token, `now` is monotonic seconds."""

    values: ValueStore
    access_of: Callable[[str], StorageAccess | None]
    now: Callable[[], float]
    counts: Counter[str] = field(default_factory=Counter)
    rounds: Rounds = field(default_factory=Rounds)
    # Requests of one token's, as of a member's key.
    allowance: Allowance = field(default_factory=lambda: Allowance(STORAGE_BURST, STORAGE_PER_S))
    warnings: Summing[str] = field(default_factory=Summing)

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


class Doorkeeper(Protocol):
    """Who is told of a connection, from its beginning to its end: between them it can be cut off."""

    def came(self, visit: Visit) -> None: ...

    def showed(self, visit: Visit, before: str) -> None:
        """Its token is another one than before."""

    def left(self, visit: Visit) -> None: ...


class Visit(asyncio.Protocol):
    def __init__(self, premises: Premises, doorkeeper: Doorkeeper) -> None:
        self.deadline = premises.now() + HEAD_S
        self.token = ""  # that of the last request, if it was valid
        self._premises = premises
        self._doorkeeper = doorkeeper
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._order: _Order | None = None
        self._ends_at = 0.0  # when the body under way has to be over at the latest
        self._stretch_ends_at = 0.0
        self._stretch_bytes = 0  # have come of the stretch under way
        self._value: Value | None = None  # being sent
        self._offset = 0
        self._may_write = True
        self._has_all = False  # the client has shut its side

    @property
    def is_idle(self) -> bool:
        """Between two requests: nothing is lost when it goes."""
        return self._order is None and self._value is None

    @property
    def _is_leaving(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def abort(self) -> None:
        """Cut off; what was under way is dropped."""
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio's calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._doorkeeper.came(self)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._http.receive_data(data)
        self._transport.pause_reading()  # until this has been served
        self._premises.rounds.wait(self)

    def eof_received(self) -> bool:
        self._has_all = True
        self._http.receive_data(b"")
        self._premises.rounds.wait(self)
        return True  # a client may shut its side and still read; what has come is served, and we hang up

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._premises.rounds.wait(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._premises.rounds.leave(self)
        if self._order is not None and self._order.arrival is not None:
            self._order.arrival.drop()
        self._order = None
        self._end_value()
        self._doorkeeper.left(self)

    # ---- requests ------------------------------------------------------------------------------

    def serve(self) -> bool:
        """One step; whatever it meets, it costs this connection and nothing else: the farm must go on."""
        try:
            return self._step()
        except h11.RemoteProtocolError as error:
            self._premises.counts["malformed"] += 1
            self._refuse(error.error_status_hint)
        except Exception:
            self._premises.counts["failed"] += 1
            logger.exception("a storage request failed")
            self.abort()
        return False

    def _step(self) -> bool:
        if not self._may_write or self._is_leaving:
            return False  # who does not read his answers, is given none
        if self._value is not None:
            self._send_piece(self._value)
            return True
        return self._take_events()

    def _take_events(self) -> bool:
        """What has come, up to the next answer; whether there may be more."""
        while (transport := self._transport) is not None and not transport.is_closing():
            event = self._http.next_event()
            match event:
                case h11.Request():
                    self._begin(event)
                    if self._has_to_wait():
                        return False
                case h11.Data():
                    self._take(bytes(event.data))
                case h11.EndOfMessage():
                    self._finish()
                    return True
                case h11.ConnectionClosed():
                    transport.close()
                case _:  # NEED_DATA
                    if self._has_all:
                        transport.close()
                    transport.resume_reading()
                    return False
        return False

    def _has_to_wait(self) -> bool:
        """Whether the token has been used more than it may; the round comes back when it has made up for it."""
        if not self.token:
            return False
        owed = -self._premises.allowance.left(name_of(self.token), self._premises.now())
        if owed <= 0:
            return False
        loop = asyncio.get_running_loop()
        loop.call_later(owed / STORAGE_PER_S, self._premises.rounds.wait, self)
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

    def _answer(self, status: int, headers: Headers) -> None:
        """An answer without a body."""
        length = [] if status == 204 else [(b"Content-Length", b"0")]
        # A stranger has one answer a connection: making one costs him more than asking again.
        last = [(b"Connection", b"close")] if status == 401 else []
        response = h11.Response(status_code=status, headers=[*headers, *length, *last])
        self._write(self._http.send(response))
        self._end_answer()

    def _end_answer(self) -> None:
        self._write(self._http.send(h11.EndOfMessage()))
        self.deadline = self._premises.now() + KEEP_ALIVE_S
        if self._transport is None:
            return
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.close()
            return
        self._http.start_next_cycle()

    def _refuse(self, status: int, headers: Headers | None = None) -> None:
        """Answer without reading further, and hang up."""
        self._premises.counts["refused"] += 1
        if self._transport is None:
            return
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            closing = [*(headers or []), (b"Connection", b"close"), (b"Content-Length", b"0")]
            self._write(self._http.send(h11.Response(status_code=status, headers=closing)))
            self._write(self._http.send(h11.EndOfMessage()))
        self._transport.close()

    def _write(self, data: bytes | None) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

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
