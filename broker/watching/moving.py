"""Bytes on their way: over each node's and each submitter's line, and toolchains that come from agents. Pure.

What is counted anyway is read once a second, and nothing is counted for who watches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from broker.core.sessions import Session
from broker.watching.asking import is_hidden
from broker.watching.limits import LEAST_LINK_BYTES, MAX_LINES_READ, MAX_UPLOADS_SHOWN
from broker.watching.nodes import NodesShown
from broker.watching.numbers import Register
from cache.digest import Digest
from zcc.events import MAX_LINKS, Row
from zcc.messages import PeerRole

if TYPE_CHECKING:
    from broker.core.farm import Farm

# Node, member, bytes that came, bytes that went, and in how many ms.
LinkFields = tuple[int, int, int, int, int]


class Wires(Protocol):
    """What the transport counts."""

    def bytes_on(self, route: bytes) -> tuple[int, int] | None:
        """Bytes that have come by this route and gone, since its connection began; None: it has none."""
        ...

    def uploads(self) -> Iterable[tuple[str, Digest, int, int]]:
        """Blobs on their way from agents: of which key, which, and how many bytes of how many (0: unknown)."""
        ...

    def is_stored(self, digest: Digest) -> bool: ...


class NoWires:
    """Where nothing is transported."""

    def bytes_on(self, route: bytes) -> tuple[int, int] | None:
        return None

    def uploads(self) -> Iterable[tuple[str, Digest, int, int]]:
        return ()

    def is_stored(self, digest: Digest) -> bool:
        return True


class Moving:
    """`say` is called with each row."""

    def __init__(
        self,
        farm: Farm,
        wires: Wires,
        register: Register,
        nodes: NodesShown,
        say: Callable[[Row], None],
    ) -> None:
        self._farm = farm
        self._wires = wires
        self._register = register
        self._nodes = nodes
        self._say = say
        # Of each session what had come and gone when it was read last, and when that was.
        self._read: dict[bytes, tuple[int, int, float]] = {}
        self._round: Iterator[Session] = iter(())
        self._coming: dict[tuple[str, Digest], int] = {}
        self._hiding: set[bytes] = set()

    def hide(self, session_id: bytes) -> None:
        """This node has, or had, a job that is told to nobody: what moves for that alone is not told either."""
        self._hiding.add(session_id)

    def look(self, at_ms: int) -> None:
        """A second has passed."""
        self._show_links(at_ms)
        self._show_uploads(at_ms)

    def _show_links(self, at_ms: int) -> None:
        some = list(islice(self._round, MAX_LINES_READ))
        if not some:
            sessions = list(self._farm.sessions)
            here = {each.id for each in sessions}
            self._read = {key: value for key, value in self._read.items() if key in here}
            self._hiding &= here
            self._round = iter(sessions)
            some = list(islice(self._round, MAX_LINES_READ))
        moved: dict[tuple[int, int], tuple[int, int, float]] = {}
        for session in some:
            self._add(session, moved, at_ms)
        links: list[LinkFields] = [
            (*place, received, sent, int(1000 * span_s))
            for place, (received, sent, span_s) in moved.items()
            if received + sent >= LEAST_LINK_BYTES
        ]
        if links:
            links.sort(key=lambda row: -(row[2] + row[3]))
            others = sum(row[2] + row[3] for row in links[MAX_LINKS:])
            self._say(("links", at_ms, tuple(links[:MAX_LINKS]), others))

    def _add(
        self, session: Session, moved: dict[tuple[int, int], tuple[int, int, float]], at_ms: int
    ) -> None:
        """What has moved over a session's line since it was read last; of a member's agents the sum."""
        if session.role not in (PeerRole.NODE, PeerRole.CLIENT):
            return
        now, counts = self._farm.now, self._wires.bytes_on(session.route)
        if counts is None:
            return
        before = self._read.get(session.id)
        self._read[session.id] = *counts, now
        if before is None or self._is_hiding(session.id):
            return
        # A new connection counts from 0.
        received, sent = (
            new - old if new >= old else new for new, old in zip(counts, before[:2], strict=True)
        )
        node = self._nodes.number_of(session.id) if session.role is PeerRole.NODE else 0
        if received + sent:
            place = node, self._register.member(session.user, at_ms)
            known = moved.get(place, (0, 0, 0.0))
            span_s = max(known[2], now - before[2])
            moved[place] = known[0] + received, known[1] + sent, span_s

    def _is_hiding(self, session_id: bytes) -> bool:
        """Whether all that the node has, or had since it was read last, is told to nobody."""
        if session_id not in self._hiding:
            return False
        node, executions = self._farm.nodes.get(session_id), self._farm.executions
        jobs = [executions.get(each.key) for each in node.leases.values()] if node else []
        are_told = [job is not None and not is_hidden(job) for job in jobs]
        if all(are_told):
            self._hiding.discard(session_id)
        return not any(are_told)

    def _show_uploads(self, at_ms: int) -> None:
        """Toolchains that come from agents, and those that have come since, or come no more."""
        coming: dict[tuple[str, Digest], int] = {}
        for user, digest, done, total in self._wires.uploads():
            number = self._register.known_toolchain(digest)
            if number and total and len(coming) < MAX_UPLOADS_SHOWN:
                coming[user, digest] = total
                self._upload(at_ms, user, digest, min(done, total - 1), total)
        for (user, digest), total in self._coming.items():
            if (user, digest) not in coming:
                total = total if self._wires.is_stored(digest) else 0
                self._upload(at_ms, user, digest, total, total)
        self._coming = coming

    def _upload(self, at_ms: int, user: str, digest: Digest, done: int, total: int) -> None:
        toolchain = self._register.toolchain(digest, "", at_ms)
        self._say(("uploading", at_ms, self._register.member(user, at_ms), toolchain, done, total))
