"""Which blobs the farm has asked agents for, whom, and who waits for them. Pure.

A blob is asked of one agent in each *scope*, however many jobs lack it there:

    an agent's key   for private jobs of that key: it has not shown this input, so it must send it,
                     whether the store holds it or others are sending it just now
    COMMON           for all others: whoever waits for them has shown the input, the store has lost it
    TOOLCHAIN        for the toolchains of both

Only a holder's word makes a blob a toolchain, so scopes do not serve each other but in the last step: what has
been stored is there for COMMON, and for those who were waiting for its sender.

When it is not here after ASK_OTHERS_S, each other key that waits for it is asked as well, one agent of each: a
key that sends it slowly, or not at all, holds up its own jobs alone. The first that has sent it serves all.

When an agent that was asked goes away or has the blob no more, another of its key is asked, or else of any key;
when there is none, the jobs that wait are refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from broker.core.effects import AskBlobs, OfferBlobs
from broker.core.farm import Farm
from broker.core.jobs import Execution, Phase
from broker.core.limits import (
    ASK_OTHERS_S,
    MAX_ASKED,
    MAX_ASKED_OF_KEY,
    MAX_AWAITED_OF_KEY,
    MAX_JOBS_LOOKED_AT,
)
from broker.core.sessions import Session
from cache.digest import Digest
from zcc.messages import Absent
from zcc.reasons import Reason

ABSENT = Reason.INPUT_ABSENT
# No key looks like these: keys are Z85.
COMMON = ""
TOOLCHAIN = " toolchain"

# A blob in a scope.
Need = tuple[str, Digest]


@dataclass(slots=True)
class Asked:
    """`sources` are the sessions that are asked now, one of a key; `keys` are all that were ever asked.

    `refused_by` are sessions that cannot supply it, `jobs` need it, `nodes` (session id -> offset) have said
    Want for it.
    """

    sources: dict[str, bytes] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    refused_by: set[bytes] = field(default_factory=set)
    jobs: dict[Digest, None] = field(default_factory=dict)  # as a set that keeps the order
    nodes: dict[bytes, int] = field(default_factory=dict)


class Uploads:
    """`refuse` is called with executions whose inputs nobody can supply, `complete` with those that have
    all."""

    def __init__(
        self,
        farm: Farm,
        refuse: Callable[[Execution, str], None],
        complete: Callable[[Execution], None],
    ) -> None:
        self._farm = farm
        self._refuse = refuse
        self._complete = complete
        self._asked: dict[Need, Asked] = {}
        # What a key's agents are asked for, and how often its jobs wait for a blob.
        self._of_key: Counter[str] = Counter()
        self._awaited: Counter[str] = Counter()
        # What more than one key may need: what was asked for just now, and when others are, soonest first.
        self._fresh: list[Need] = []
        self._next_round: dict[Need, float] = {}

    def __contains__(self, need: object) -> bool:
        return need in self._asked

    def need(self, execution: Execution, digests: Iterable[Digest]) -> None:
        """This execution cannot go on before these are here; refuses it if nobody has them."""
        user, wanted = execution.lane.user, list(dict.fromkeys(digests))
        room = min(
            MAX_ASKED,
            MAX_ASKED_OF_KEY - self._of_key[user],
            MAX_AWAITED_OF_KEY - self._awaited[user],
        )
        now, execution.later = wanted[: max(1, room)], wanted[max(1, room) :]
        execution.missing = set(now)
        self._awaited[user] += len(now)
        batches: defaultdict[bytes, list[Digest]] = defaultdict(list)
        for digest in now:
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
                self._asked[scope_of(execution, digest), digest].nodes[node.id] = offset
            else:
                self._farm.send(node, Absent(digest))
        self._send(batches)

    def stored(self, digest: Digest, user: str) -> None:
        """The blob is here: whoever waited goes on. `user` has sent it; empty where a node did."""
        served = [(COMMON, digest)]
        if user:
            self._farm.holdings.note(user, (digest,))
            served.append((user, digest))
            asked = self._asked.get((TOOLCHAIN, digest))
            if asked is not None and user in asked.keys:
                self._farm.holdings.name_toolchain(user, digest)
                served.append((TOOLCHAIN, digest))
        for need in served:
            found = self._pop(need)
            if found is not None:
                self._serve(digest, found)

    def absent(self, source: Session, digest: Digest) -> None:
        """The source cannot supply this blob (any more)."""
        for need in self._needs(digest, source.user):
            asked = self._asked[need]
            if asked.sources.get(source.user) == source.id:
                asked.refused_by.add(source.id)
                self._ask_another([need], source.user)

    def spoiled(self, digest: Digest, user: str) -> None:
        """What this key has sent is useless: from the start, and of whoever can."""
        needs = self._needs(digest, user)
        self._ask_another([need for need in needs if user in self._asked[need].sources], user)

    def unstorable(self, digest: Digest, user: str, reason: str) -> None:
        """Our disk does not take what this key has sent: give up those who wait for it."""
        for need in self._needs(digest, user):
            asked = self._pop(need)
            if asked is not None:
                self._give_up(digest, asked, reason)

    def source_gone(self, source: Session, need: Need) -> int:
        """The session is over (its requests are detached already): ask others for what it was asked for. How
        many requests were looked at."""
        del source.asked[need]
        asked = self._asked.get(need)
        if asked is None or asked.sources.get(source.user) != source.id:
            return 0
        looked_at = sum(len(execution.waiters) for execution in self._jobs_of(asked))
        self._ask_another([need], source.user)
        return looked_at

    def source_stalled(self, source: Session, *, is_moving: bool) -> None:
        """It sends nothing, or slowly: then it is passed over only where another of its key can send it."""
        passed_over = []
        for need in list(source.asked):
            asked = self._asked[need]
            asked.refused_by.add(source.id)
            if is_moving and self._next_source(asked, source.user) is None:
                asked.refused_by.discard(source.id)
            else:
                passed_over.append(need)
        self._ask_another(passed_over, source.user)

    def ask_others(self, now: float) -> None:
        """Time has passed: ask each key that waits for a blob for itself, as far as that has taken too long."""
        batches: defaultdict[bytes, list[Digest]] = defaultdict(list)
        fresh, self._fresh = self._fresh, []
        self._plan_rounds(fresh, now)
        looked_at = 0
        while self._next_round and looked_at < MAX_JOBS_LOOKED_AT:
            need, due_at = next(iter(self._next_round.items()))
            if due_at > now:
                break
            del self._next_round[need]
            asked = self._asked.get(need)
            looked_at += 1
            if asked is not None:
                looked_at += len(asked.jobs)
                self._ask_each_key(need, asked, batches)
                self._plan_rounds([need], now)
        self._send(batches)

    def _plan_rounds(self, needs: Iterable[Need], now: float) -> None:
        for need in needs:
            self._next_round.pop(need, None)
            self._next_round[need] = now + ASK_OTHERS_S

    def source_returned(self, source: Session) -> None:
        """The session came back on a new connection: what was under way is void, ask again."""
        if source.asked:
            digests = dict.fromkeys(digest for _, digest in source.asked)
            self._farm.emit(AskBlobs(source.route, tuple(digests)))

    def node_reset(self, node: bytes) -> None:
        """The node's wants are void."""
        for asked in self._asked.values():
            asked.nodes.pop(node, None)

    def forget(self, execution: Execution) -> None:
        """The execution needs nothing any more; what was asked for may still come."""
        self._awaited[execution.lane.user] -= len(execution.missing)
        for digest in execution.missing:
            asked = self._asked.get((scope_of(execution, digest), digest))
            if asked is not None:
                asked.jobs.pop(execution.key, None)
        execution.missing, execution.later = set(), []

    def _serve(self, digest: Digest, asked: Asked) -> None:
        for node_id, offset in asked.nodes.items():
            session = self._farm.sessions.get(node_id)
            if session is not None:
                self._farm.emit(OfferBlobs(session.route, ((digest, offset),)))
        # Each goes to the front of its lane, so the last one first.
        for execution in reversed(self._jobs_of(asked)):
            if digest in execution.missing:
                execution.missing.discard(digest)
                self._awaited[execution.lane.user] -= 1
            if execution.phase is Phase.PARKED and digest == execution.toolchain:
                self._farm.set_phase(execution, Phase.QUEUED, at_front=True)
        for execution in self._jobs_of(asked):
            if execution.phase is not Phase.FETCHING or execution.missing:
                continue
            later = execution.later
            if later and execution.is_private:
                # Others of its key may have brought some; when all are shown the job is checked once more.
                later = self._farm.holdings.unshown(execution.lane.user, later)
            if later:
                self.need(execution, later)
            else:
                self._complete(execution)

    def _join(
        self, digest: Digest, execution: Execution, batches: defaultdict[bytes, list[Digest]]
    ) -> bool:
        need = (scope_of(execution, digest), digest)
        asked = self._asked.get(need)
        if asked is None:
            sources = self._farm.sources_of(execution)
            if not sources:
                return False
            asked = self._asked[need] = Asked()
            self._ask(need, asked, sources[0], batches)
            if need[0] in (COMMON, TOOLCHAIN):
                self._fresh.append(need)
        asked.jobs[execution.key] = None
        return True

    def _needs(self, digest: Digest, user: str) -> list[Need]:
        """What of this blob can be asked of this key."""
        needs = ((scope, digest) for scope in (COMMON, TOOLCHAIN, user))
        return [need for need in needs if need in self._asked]

    def _ask_another(self, needs: Iterable[Need], user: str) -> None:
        """The agent of this key's that was asked for these does not send them."""
        batches: defaultdict[bytes, list[Digest]] = defaultdict(list)
        for need in needs:
            asked = self._asked[need]
            self._let_off(need, user, asked.sources.pop(user))
            source = self._next_source(asked, user)
            if source is None and not asked.sources:
                source = self._next_source(asked)
            if source is not None:
                self._ask(need, asked, source, batches)
            elif not asked.sources:
                del self._asked[need]
                self._give_up(need[1], asked, ABSENT)
        self._send(batches)

    def _ask_each_key(
        self, need: Need, asked: Asked, batches: defaultdict[bytes, list[Digest]]
    ) -> None:
        for execution in self._jobs_of(asked):
            for session in self._farm.sources_of(execution):
                if session.user not in asked.sources and session.id not in asked.refused_by:
                    self._ask(need, asked, session, batches)

    def _ask(
        self,
        need: Need,
        asked: Asked,
        source: Session,
        batches: defaultdict[bytes, list[Digest]],
    ) -> None:
        asked.sources[source.user] = source.id
        asked.keys.add(source.user)
        self._of_key[source.user] += 1
        source.asked[need] = None
        batches[source.route].append(need[1])

    def _let_off(self, need: Need, user: str, session_id: bytes) -> None:
        self._of_key[user] -= 1
        session = self._farm.sessions.get(session_id)
        if session is not None:
            session.asked.pop(need, None)

    def _next_source(self, asked: Asked, user: str = "") -> Session | None:
        """The first that can supply it, of this key if one is named."""
        for execution in self._jobs_of(asked):
            for session in self._farm.sources_of(execution):
                if session.id not in asked.refused_by and user in ("", session.user):
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

    def _pop(self, need: Need) -> Asked | None:
        asked = self._asked.pop(need, None)
        if asked is not None:
            for user, source in asked.sources.items():
                self._let_off(need, user, source)
        return asked

    def _send(self, batches: dict[bytes, list[Digest]]) -> None:
        for route, digests in batches.items():
            self._farm.emit(AskBlobs(route, tuple(dict.fromkeys(digests))))


def scope_of(execution: Execution, digest: Digest) -> str:
    """For whom this execution asks for this blob."""
    if digest == execution.toolchain:
        return TOOLCHAIN
    return execution.lane.user if execution.is_private else COMMON
