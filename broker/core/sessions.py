"""Who is connected, as what. Pure.

A session is a peer's process, named by 16 random bytes of its choice. It belongs to the key (user)
that opened it and lives on one route at a time; a message counts as the session's only when route and
user both agree, so a peer that imitates a routing id gains nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from broker.core.events import Origin
from broker.core.limits import HELLO_EVERY_S, LOST_AFTER_S, MAX_SESSIONS, MAX_SESSIONS_PER_USER
from cache.digest import Digest
from zcc.messages import PeerRole

SESSION_ID_BYTES = 16


@dataclass(slots=True)
class Session:
    """`tickets` are an agent's open requests; `asked` the blobs that it was asked for, with their scopes.

    `unconfirmed` are requests from before its last Hello that it has not submitted again; they are
    void at `confirm_until`. `is_own`: its key is a publisher's, and a node under it serves that key alone.
    `hello_at` is when its last Hello was answered, `version` its release.
    """

    id: bytes
    route: bytes
    user: str
    role: PeerRole
    name: str
    seen_at: float
    is_own: bool = False
    version: str = ""
    hello_at: float = -HELLO_EVERY_S
    tickets: dict[int, Digest] = field(default_factory=dict)
    asked: dict[tuple[str, Digest], None] = field(default_factory=dict)  # as a set with an order
    unconfirmed: set[int] = field(default_factory=set)
    confirm_until: float = 0.0


class Sessions:
    def __init__(self) -> None:
        self._by_id: dict[bytes, Session] = {}
        self._by_route: dict[bytes, Session] = {}
        self._of_user: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    def get(self, session_id: bytes) -> Session | None:
        return self._by_id.get(session_id)

    def on_route(self, route: bytes) -> Session | None:
        return self._by_route.get(route)

    def find(self, origin: Origin) -> Session | None:
        """The session that this message belongs to."""
        session = self._by_route.get(origin.route)
        return session if session is not None and session.user == origin.user else None

    def has_room_for(self, user: str) -> bool:
        return len(self._by_id) < MAX_SESSIONS and self._of_user[user] < MAX_SESSIONS_PER_USER

    def open(self, session: Session) -> None:
        assert session.id not in self._by_id
        assert session.route not in self._by_route
        self._by_id[session.id] = session
        self._by_route[session.route] = session
        self._of_user[session.user] += 1

    def rebind(self, session: Session, route: bytes) -> None:
        """The same process came back over another connection."""
        del self._by_route[session.route]
        session.route = route
        self._by_route[route] = session

    def close(self, session: Session) -> None:
        del self._by_id[session.id]
        del self._by_route[session.route]
        self._of_user[session.user] -= 1
        if not self._of_user[session.user]:
            del self._of_user[session.user]

    def note_heard(self, heard: Iterable[tuple[bytes, str]], now: float) -> None:
        """Who said anything, by route and user: a session lives by its own user's word alone."""
        for route, user in heard:
            session = self._by_route.get(route)
            if session is not None and session.user == user:
                session.seen_at = now

    def forgive(self, pause_s: float) -> None:
        """We stood still ourselves: nobody could be heard."""
        for session in self._by_id.values():
            session.seen_at += pause_s

    def silent(self, now: float) -> list[Session]:
        return [each for each in self._by_id.values() if now - each.seen_at > LOST_AFTER_S]

    def of_user(self, user: str) -> list[Session]:
        return [each for each in self._by_id.values() if each.user == user]
