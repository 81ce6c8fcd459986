"""The storage for the farm's members, over the connection and with the key that they have anyway.

Owns the values that are on their way in, by route and ticket. One request is one answer, at most a piece long.
It is read when its peer has room for it. A key that stores more than its share begins no value, and has its
next pieces asked for later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from broker.core.allowance import Allowance
from broker.core.limits import STORED_BURST_BYTES, STORED_BYTES_PER_S
from broker.storage.tokens import StorageAccess
from cache.errors import BlobCorruptError, CacheError
from cache.values import MAX_KEY_BYTES, MIN_KEY_BYTES, ValueArrival, ValueStore
from zcc.errors import ProtocolError
from zcc.messages import (
    CHUNK_BYTES,
    Message,
    StorageEnd,
    StorageGet,
    StorageMore,
    StoragePut,
    StorageRemove,
    StorageValue,
)

# Values on their way in from one peer; ccache's processes send one each, and the helper all of theirs.
MAX_PUTS_PER_ROUTE = 64
# And from all peers of one key, each an open file: four machines that store as fast as they can.
MAX_PUTS_PER_KEY = 256
# Pieces of a value that may be sent and not answered (zcc/storage, docs/reference/protocol.md).
MAX_UNANSWERED = 8
# A value whose next piece has not come for so long is dropped.
PUT_STALL_S = 30.0

StorageMessage = StorageGet | StoragePut | StorageRemove
Offer = Callable[[bytes, Callable[[], Message]], bool]


@dataclass(slots=True)
class _Put:
    arrival: ValueArrival
    user: str
    moved_at: float
    unanswered: int = 0


class MembersDesk:
    """`access` is what members may do, None: nothing. `send` hands a small answer to a route. `offer` has one
    made when the peer has room for it; False: too many of its wait."""

    def __init__(
        self,
        values: ValueStore,
        access: StorageAccess | None,
        send: Callable[[bytes, Message], None],
        offer: Offer,
        counts: Counter[str],
    ) -> None:
        self._values = values
        self._access = access
        self._send = send
        self._offer = offer
        self._counts = counts
        self._puts: dict[tuple[bytes, int], _Put] = {}
        self._by_route: Counter[bytes] = Counter()  # how many
        self._by_user: Counter[str] = Counter()
        self._stored = Allowance(STORED_BURST_BYTES, STORED_BYTES_PER_S)

    def take(self, route: bytes, message: StorageMessage, now: float, user: str = "") -> None:
        """Answer one request; `user` is the key that it comes from, kept with what is stored.

        Raises:
            ProtocolError: no correct peer sends this.
        """
        if not MIN_KEY_BYTES <= len(message.key) <= MAX_KEY_BYTES:
            raise ProtocolError(f"a storage key of {len(message.key)} bytes")
        if self._access is None:
            self._end(route, message.ticket, "off: this farm serves no members' ccache")
            return
        match message:
            case StorageGet():
                self._get(route, message)
            case StoragePut():
                self._put(route, message, now, user)
            case StorageRemove():
                self._remove(route, message)

    def forget(self, route: bytes) -> None:
        """The peer is gone, or has said Hello again: what was under way is void."""
        for place in [each for each in self._puts if each[0] == route]:
            self._pop(place).drop()

    def tick(self, now: float) -> None:
        late = [place for place, put in self._puts.items() if now - put.moved_at > PUT_STALL_S]
        for place in late:
            self._pop(place).drop()
            self._end(*place, "stalled")
        for place, put in list(self._puts.items()):
            if put.unanswered and self._stored.left(put.user, now) > 0:
                self._ask_on(place, put)

    def close(self) -> None:
        for place in list(self._puts):
            self._pop(place).drop()

    def _end(self, route: bytes, ticket: int, reason: str = "") -> None:
        self._send(route, StorageEnd(ticket, not reason, reason))

    def _get(self, route: bytes, message: StorageGet) -> None:
        if not self._offer(route, lambda: self._piece(message)):
            self._end(route, message.ticket, "too-many")

    def _piece(self, message: StorageGet) -> Message:
        absent = StorageEnd(message.ticket, False, "absent")
        value = self._values.open(message.key)
        if message.offset == 0:
            self._counts["misses" if value is None else "hits"] += 1
        if value is None:
            return absent
        try:
            body = value.read(message.offset, CHUNK_BYTES)
        except OSError:
            body = b""
        finally:
            value.close()
        if not body:  # the disk fails, or a shorter value has taken the place of the one asked for
            return absent
        return StorageValue(message.ticket, value.digest, message.offset, value.size_bytes, body)

    def _put(self, route: bytes, message: StoragePut, now: float, user: str) -> None:
        # Whole pieces: a byte now and then would keep a put alive, and its file open, for as long as one likes.
        piece_bytes = min(CHUNK_BYTES, message.total - message.offset)
        if not 0 < len(message.body) == piece_bytes:
            raise ProtocolError(f"a piece of {len(message.body)} bytes, not {piece_bytes}")
        place = (route, message.ticket)
        if message.offset == 0:
            reason = self._begin(place, message, now, user)
            if reason:
                self._end(route, message.ticket, reason)
                return
        put = self._puts.get(place)
        if put is None:
            return  # it was ended while this piece was on its way
        arrival = put.arrival
        if (message.key, message.total) != (arrival.key, arrival.size_bytes):
            raise ProtocolError("a ticket for two values")
        if message.offset != arrival.received_bytes:
            raise ProtocolError("pieces of a value out of order")
        if put.unanswered >= MAX_UNANSWERED:
            self._pop(place).drop()
            self._end(route, message.ticket, "too-many")
            return
        put.moved_at = now
        put.unanswered += 1
        self._stored.use(user, len(message.body), now)
        self._feed(place, put, message)

    def _begin(self, place: tuple[bytes, int], message: StoragePut, now: float, user: str) -> str:
        """Open a put; why not, if not."""
        if place in self._puts:
            raise ProtocolError("a ticket for two values")
        if self._stored.left(user, now) <= 0:
            return "too-many"
        if self._access is not StorageAccess.WRITE:
            return "read-only"
        if not message.is_overwriting and self._values.has(message.key):
            return "present"
        is_whole = message.total == len(message.body)  # it is over at once
        if not is_whole and not self._may_begin(place[0], user):
            return "too-many"
        try:
            arrival = self._values.arrival(message.key, message.total, user)
        except CacheError as error:
            return f"disk: {error}"
        self._puts[place] = _Put(arrival, user, now)
        self._by_route[place[0]] += 1
        self._by_user[user] += 1
        return ""

    def _may_begin(self, route: bytes, user: str) -> bool:
        """Whether one more put of several pieces may be under way."""
        return self._by_route[route] < MAX_PUTS_PER_ROUTE and self._by_user[user] < MAX_PUTS_PER_KEY

    def _pop(self, place: tuple[bytes, int]) -> ValueArrival:
        """The put is over."""
        put = self._puts.pop(place)
        self._by_route[place[0]] -= 1
        self._by_user[put.user] -= 1
        if not self._by_route[place[0]]:
            del self._by_route[place[0]]
        if not self._by_user[put.user]:
            del self._by_user[put.user]
        return put.arrival

    def _ask_on(self, place: tuple[bytes, int], put: _Put) -> None:
        """Say that its pieces are here."""
        for _ in range(put.unanswered):
            self._send(place[0], StorageMore(place[1]))
        put.unanswered = 0

    def _feed(self, place: tuple[bytes, int], put: _Put, message: StoragePut) -> None:
        (route, ticket), arrival = place, put.arrival
        try:
            arrival.feed(message.body)
            if not arrival.is_complete:
                if self._stored.left(put.user, put.moved_at) > 0:
                    self._ask_on(place, put)
                return
            arrival.finish(message.digest)
        except BlobCorruptError as error:
            self._pop(place)
            raise ProtocolError(f"a value that its digest does not name: {error}") from error
        except CacheError as error:
            self._pop(place)
            self._end(route, ticket, f"disk: {error}")
            return
        self._pop(place)
        self._counts["stored"] += 1
        self._end(route, ticket)

    def _remove(self, route: bytes, message: StorageRemove) -> None:
        if self._access is not StorageAccess.WRITE:
            self._end(route, message.ticket, "read-only")
            return
        is_done = self._values.remove(message.key)
        self._end(route, message.ticket, "" if is_done else "absent")
