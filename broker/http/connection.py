"""One HTTP/1.1 connection of whichever door: requests in turn, each read to its end and answered.

h11 knows HTTP; whoever derives from this knows what is asked for. Which connection has to go is the door's
business, and which is served next that of the rounds. What has come is kept, and nothing more is read, until
they call.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

import h11

from broker.http.rounds import Rounds

logger = logging.getLogger(__name__)

# A request's head: ccache's and Prometheus' are some 300 bytes.
MAX_HEAD_BYTES = 16 << 10
# From the connection, or its last answer, to the whole head of the next request.
HEAD_S = 10.0
KEEP_ALIVE_S = 120.0
# A body that stands still so long is cut off.
STALL_S = 10.0

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True, kw_only=True)
class HttpHouse:
    """What all connections behind one door share; `now` is monotonic seconds."""

    now: Callable[[], float]
    counts: Counter[str] = field(default_factory=Counter)
    rounds: Rounds = field(default_factory=Rounds)


class Doorkeeper(Protocol):
    """Who is told of a connection, from its beginning to its end: between them it can be cut off."""

    def came(self, visit: HttpConnection) -> None: ...

    def showed(self, visit: HttpConnection, before: str) -> None:
        """Its token is another one than before."""

    def left(self, visit: HttpConnection) -> None: ...


class HttpConnection(asyncio.Protocol, ABC):
    def __init__(self, house: HttpHouse, doorkeeper: Doorkeeper) -> None:
        self.deadline = house.now() + HEAD_S
        self.token = ""  # that of the last request, if it was valid
        self._house = house
        self._doorkeeper = doorkeeper
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._may_write = True
        self._has_all = False  # the client has shut its side

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """Between two requests: nothing is lost when it goes."""

    @abstractmethod
    def _begin(self, request: h11.Request) -> None:
        """A request's head has come: refuse it, or have it answered at its end."""

    @abstractmethod
    def _take(self, piece: bytes) -> None:
        """A piece of its body."""

    @abstractmethod
    def _finish(self) -> None:
        """It has come to its end: answer it."""

    def _has_to_wait(self) -> bool:
        """Whether the request that has begun is not due yet; the round has to be told when it is."""
        return False

    def _has_more(self) -> bool:
        """Whether a step of an answer was made, which comes before all other requests."""
        return False

    def _end(self) -> None:
        """The connection is over."""

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
        self._house.rounds.wait(self)

    def eof_received(self) -> bool:
        self._has_all = True
        self._http.receive_data(b"")
        self._house.rounds.wait(self)
        return True  # a client may shut its side and still read; what has come is served, and we hang up

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._house.rounds.wait(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._house.rounds.leave(self)
        self._end()
        self._doorkeeper.left(self)

    # ---- requests ------------------------------------------------------------------------------

    def serve(self) -> bool:
        """One step; whatever it meets, it costs this connection and nothing else: the farm must go on."""
        try:
            return self._step()
        except h11.RemoteProtocolError as error:
            self._house.counts["malformed"] += 1
            self._refuse(error.error_status_hint)
        except Exception:
            self._house.counts["failed"] += 1
            logger.exception("an HTTP request failed")
            self.abort()
        return False

    def _step(self) -> bool:
        if not self._may_write or self._is_leaving:
            return False  # who does not read his answers, is given none
        return self._has_more() or self._take_events()

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

    def _wait_s(self, seconds: float) -> None:
        """The round comes back to it after so long."""
        asyncio.get_running_loop().call_later(seconds, self._house.rounds.wait, self)

    # ---- answers -------------------------------------------------------------------------------

    def _answer(
        self, status: int, headers: Headers, body: bytes = b"", *, is_head: bool = False
    ) -> None:
        """An answer, and its whole body; `is_head`: the length of it alone."""
        length = [] if status == 204 else [(b"Content-Length", str(len(body)).encode())]
        response = h11.Response(status_code=status, headers=[*headers, *length])
        self._write(self._http.send(response))
        if body and not is_head:
            self._write(self._http.send(h11.Data(data=body)))
        self._end_answer()

    def _end_answer(self) -> None:
        self._write(self._http.send(h11.EndOfMessage()))
        self.deadline = self._house.now() + KEEP_ALIVE_S
        if self._transport is None:
            return
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.close()
            return
        self._http.start_next_cycle()

    def _refuse(self, status: int, headers: Headers | None = None) -> None:
        """Answer without reading further, and hang up."""
        self._house.counts["refused"] += 1
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
