"""Nodes back from quarantine: each is tried before it is used, and what follows from that. Pure.

A node whose quarantine is over is given no real job. The auditor puts jobs to it whose results are known from
nodes of another key (`broker/trust/examiner.py`). It is taken by all again when it does them right, and is in
quarantine again, twice as long, when it does those of two keys wrong: one key alone could have made a job for
that. Where only one key's say so, the node is aside for that key; where nothing known can be put to it, it is
probed with real jobs, one at a time. So no node is out for ever that is well.

A key's nodes are tried one after the other, so that no key's trials stand in others' way.

A proof is owed by the key: who leaves and comes back owes it still, and under another name as well
(`broker/trust/conduct.py`). A restart of the broker forgets how long a quarantine was, and no proof.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.core.effects import NoteOwing, TryNode
from broker.core.events import TrialEnded
from broker.core.farm import Farm
from broker.core.ledger import Ledger
from broker.core.limits import STARTUP_GRACE_S, TRIAL_LIMIT_S, TRIALS_EVERY_S
from broker.core.nodes import Node
from broker.scheduling.model import Identity
from broker.trust.standing import TrialOutcome, TrialStage


class Trials:
    def __init__(self, farm: Farm, ledger: Ledger, owing: Iterable[Identity]) -> None:
        self._farm = farm
        self._ledger = ledger
        self._owing = set(owing)  # as written down
        # Of each node key the one session that known jobs are put to, and until when.
        self._under_way: dict[str, tuple[bytes, float]] = {}
        # The others come first: somebody has to say who is right.
        self._look_at = farm.started_at + STARTUP_GRACE_S

    def look(self, now: float) -> None:
        """Time has passed: who is back from quarantine is to be tried."""
        if now < self._look_at:
            return
        self._look_at = now + TRIALS_EVERY_S
        is_news = False
        for node in self._farm.nodes:
            standing = node.record.standing
            is_news |= standing.is_trusted == (node.identity in self._owing)
            if standing.is_trusted:
                continue
            if standing.asked and now >= standing.until:
                self._end(
                    node.identity, standing.asked, TrialOutcome.NOTHING_KNOWN, frozenset(), 0, now
                )
            _, busy_until = self._under_way.get(node.session.user, (b"", 0.0))
            is_time = now >= max(standing.again_at, busy_until)
            if not standing.asked and is_time and node.is_there(now):
                self._try(node, now)
        if is_news:
            # Of those that are remembered, which are bounded: a node may come under ever new names.
            owing = self._farm.nodes.owing()
            self._owing = set(owing)
            self._farm.emit(NoteOwing(tuple(owing)))

    def _try(self, node: Node, now: float) -> None:
        """What it held when it was put aside ends first; a probed one is asked between two jobs."""
        if node.held:
            return
        session, standing = node.session, node.record.standing
        standing.asked, standing.until = session.id, now + TRIAL_LIMIT_S
        self._under_way[session.user] = session.id, standing.until
        self._farm.seats.touch(node)
        owner = session.user if session.is_own else ""
        self._farm.emit(TryNode(session.id, session.user, session.name, owner))

    def ended(self, event: TrialEnded, now: float) -> None:
        identity = (event.node_key, event.node)
        if self._under_way.get(event.node_key, (b"", 0.0))[0] == event.session:
            del self._under_way[event.node_key]
        self._end(identity, event.session, event.outcome, event.against, event.right, now)

    def _end(
        self,
        identity: Identity,
        session: bytes,
        outcome: TrialOutcome,
        against: frozenset[str],
        right: int,
        now: float,
    ) -> None:
        farm = self._farm
        record = farm.nodes.record(identity)
        standing = record.standing
        if standing.asked != session:
            return  # given up
        standing.asked = b""
        is_here = farm.nodes.get(session) is not None
        if outcome is TrialOutcome.FAILED:
            record.fail_trial(now)
        elif outcome is TrialOutcome.PASSED:
            standing.trust()
            for user in against:
                record.put_aside_for(user, now)
        elif outcome is TrialOutcome.UNTRIED or not is_here or standing.stage is TrialStage.TRUSTED:
            standing.untried(now)
        else:
            standing.nothing_known(against, now)
            if standing.is_trusted:
                outcome = TrialOutcome.PROBED
        self._tell(identity, outcome, against, right, now)

    def _tell(
        self,
        identity: Identity,
        outcome: TrialOutcome,
        against: frozenset[str],
        right: int,
        now: float,
    ) -> None:
        """Seats, the log, and who waits for this node alone."""
        farm = self._farm
        record = farm.nodes.record(identity)
        for node in farm.nodes:
            if node.record is record:
                farm.seats.touch(node)
        farm.is_dirty = True
        key, name = identity
        fields = {"node": name, "node_key": key, "outcome": outcome.value, "right": right}
        farm.audit("trial", **fields, against=" ".join(sorted(against)))
        if outcome is TrialOutcome.FAILED:
            for_s = round(record.until - now, 1)
            farm.audit("quarantine", node=name, node_key=key, for_s=for_s, reason="trial")
            self._ledger.unservable.look(now)
