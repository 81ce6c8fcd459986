"""Which blobs the farm has asked agents for, whom, and who waits for them. Pure.

Each blob is asked of one agent at a time, however many jobs lack it. When that agent goes away or
has it no more, another agent whose job needs it is asked; when there is none, those jobs are refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from broker.effects import AskBlobs, OfferBlobs
from broker.farm import Farm
from broker.jobs import Execution, Phase
from broker.sessions import Session
from cache.digest import Digest
from zcc.messages import Absent

ABSENT = "input-absent"


@dataclass(slots=True)
class Asked:
    """`source` was asked; `refused_by` are sessions that cannot supply it.

    `jobs` need it, `nodes` (session id -> offset) have said Want for it.
    """

    source: bytes
    refused_by: set[bytes] = field(default_factory=set)
    jobs: dict[Digest, None] = field(default_factory=dict)  # as a set that keeps the order
    nodes: dict[bytes, int] = field(default_factory=dict)


class Uploads:
    """`refuse` is called with executions whose inputs nobody can supply."""

    def __init__(self, farm: Farm, refuse: Callable[[Execution, str], None]) -> None:
        self._farm = farm
        self._refuse = refuse
        self._asked: dict[Digest, Asked] = {}

    def __contains__(self, digest: object) -> bool:
        return digest in self._asked

    def need(self, execution: Execution, digests: Iterable[Digest]) -> None:
        """This execution cannot go on before these are here; refuses it if nobody has them."""
        batches: defaultdict[bytes, list[Digest]] = defaultdict(list)
        execution.missing = set(digests)
        for digest in sorted(execution.missing):
            if not self._join(digest, execution, batches):
                self._send(batches)
                self._refuse(execution, ABSENT)
                return
        self._send(batches)

    def need_for_node(
        self, node: Session, execution: Execution, blobs: Iterable[tuple[Digest, int]]
    ) -> None:
        """A node that runs this execution wants blobs that the store has lost (or awaits)."""
        batches: defaultdict[bytes, list[Digest]] = defaultdict(list)
        for digest, offset in blobs:
            if self._join(digest, execution, batches):
                self._asked[digest].nodes[node.id] = offset
            else:
                self._farm.send(node, Absent(digest))
        self._send(batches)

    def stored(self, digest: Digest) -> None:
        """The blob is here: whoever waited goes on."""
        asked = self._pop(digest)
        if asked is None:
            return
        for node_id, offset in asked.nodes.items():
            session = self._farm.sessions.get(node_id)
            if session is not None:
                self._farm.emit(OfferBlobs(session.route, ((digest, offset),)))
        # Each goes to the front of its lane, so the last one first.
        for execution in reversed(self._jobs_of(asked)):
            execution.missing.discard(digest)
            if execution.phase is Phase.PARKED and digest == execution.toolchain:
                self._farm.set_phase(execution, Phase.QUEUED, at_front=True)
        for execution in self._jobs_of(asked):
            if execution.phase is Phase.FETCHING and not execution.missing:
                self._farm.set_phase(execution, Phase.READY)

    def absent(self, source: Session, digest: Digest) -> None:
        """The source cannot supply this blob (any more)."""
        asked = self._asked.get(digest)
        if asked is not None and asked.source == source.id:
            asked.refused_by.add(source.id)
            self._ask_another([digest])

    def spoiled(self, digest: Digest) -> None:
        """What has arrived is useless: from the start, and of whoever can."""
        if digest in self._asked:
            self._ask_another([digest])

    def unstorable(self, digest: Digest, reason: str) -> None:
        """Nobody's blob will be stored: give up those who wait for it."""
        asked = self._pop(digest)
        if asked is not None:
            self._give_up(digest, asked, reason)

    def source_gone(self, source: Session) -> None:
        """The session is over (its requests are detached already): ask others."""
        self._ask_another(sorted(source.asked))

    def source_stalled(self, source: Session) -> None:
        for digest in source.asked:
            self._asked[digest].refused_by.add(source.id)
        self._ask_another(sorted(source.asked))

    def source_returned(self, source: Session) -> None:
        """The session came back on a new connection: what was under way is void, ask again."""
        if source.asked:
            self._farm.emit(AskBlobs(source.route, tuple(sorted(source.asked))))

    def node_reset(self, node: bytes) -> None:
        """The node's wants are void."""
        for asked in self._asked.values():
            asked.nodes.pop(node, None)

    def forget(self, execution: Execution) -> None:
        """The execution needs nothing any more; what was asked for may still come."""
        for digest in execution.missing:
            asked = self._asked.get(digest)
            if asked is not None:
                asked.jobs.pop(execution.key, None)
        execution.missing = set()

    def _join(
        self, digest: Digest, execution: Execution, batches: defaultdict[bytes, list[Digest]]
    ) -> bool:
        asked = self._asked.get(digest)
        if asked is None:
            sources = self._farm.sources_of(execution)
            if not sources:
                return False
            asked = self._asked[digest] = Asked(sources[0].id)
            sources[0].asked.add(digest)
            batches[sources[0].route].append(digest)
        asked.jobs[execution.key] = None
        return True

    def _ask_another(self, digests: Iterable[Digest]) -> None:
        batches: defaultdict[bytes, list[Digest]] = defaultdict(list)
        for digest in digests:
            asked = self._asked[digest]
            before = self._farm.sessions.get(asked.source)
            if before is not None:
                before.asked.discard(digest)
            source = self._next_source(asked)
            if source is None:
                del self._asked[digest]
                self._give_up(digest, asked, ABSENT)
                continue
            asked.source = source.id
            source.asked.add(digest)
            batches[source.route].append(digest)
        self._send(batches)

    def _next_source(self, asked: Asked) -> Session | None:
        for execution in self._jobs_of(asked):
            for session in self._farm.sources_of(execution):
                if session.id not in asked.refused_by:
                    return session
        return None

    def _give_up(self, digest: Digest, asked: Asked, reason: str) -> None:
        for node_id in asked.nodes:
            session = self._farm.sessions.get(node_id)
            if session is not None:
                self._farm.send(session, Absent(digest))
        for execution in self._jobs_of(asked):
            if execution.phase in (Phase.FETCHING, Phase.PARKED):
                self._refuse(execution, reason)

    def _jobs_of(self, asked: Asked) -> list[Execution]:
        found = (self._farm.executions.get(key) for key in asked.jobs)
        return [execution for execution in found if execution is not None]

    def _pop(self, digest: Digest) -> Asked | None:
        asked = self._asked.pop(digest, None)
        if asked is not None:
            source = self._farm.sessions.get(asked.source)
            if source is not None:
                source.asked.discard(digest)
        return asked

    def _send(self, batches: dict[bytes, list[Digest]]) -> None:
        for route, digests in batches.items():
            self._farm.emit(AskBlobs(route, tuple(digests)))
