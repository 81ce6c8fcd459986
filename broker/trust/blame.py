"""Whose fault it is that a job got no verdict: its node's, or its own. Pure.

A lease that ends without a verdict makes its node a suspect, and no more. What becomes of the job tells:

* Another node gives a verdict: the fault was the suspect's, with jobs of that key.
* A node of the key that submitted it gives the verdict: that is the key's own word, and counts between the two
  alone.
* A second node fails it too: the fault is the job's, and tells on the key that submitted it. So does a
  failure that no other node could judge (there is none, nobody waits any more).
* Two nodes could not use its inputs, and the store, which was re-read between them, lacked none: so does that.
* A node says that the job itself is wrong: that follows from the job's bytes, so it tells on the key, and
  never on a node.
* A key whose jobs fail too often is refused for a while, when there are as many left whichever one node key's
  word is taken away. What one node key alone says has the jobs leave that key's nodes. Nobody else is touched.

No key alone can take a node from others: a job may be made to fail on one node and to succeed on the next.
So a node with MAX_FAULTS faults of one key's jobs is put aside for that key, and for everybody only when there
are as many left whichever one key's are taken away (`unexplained`). Likewise where no other node has run the
jobs: UNDECIDED_FAULTS in a row, without a verdict between them, are the node's. That is how a bad node is found
where it is the only one, or no worse than the others.

A node that does not answer in time (`broker/scheduling/patience.py`) is a suspect too, unless the other node
shows that the job does take so long. So is one whose runs second copies elsewhere end sooner, MAX_BEATEN times
without a result of its own in between, and for BEATEN_S.

There the other node's word alone says that anything was wrong, and no node's word alone is the proof of
another's fault: as many have to be left whichever one node key's word is taken away, too.

A node that was lost with several leases failed once, however many there were: it may have been any of their
keys' doing. It is not to blame when one of them fails elsewhere too or comes to no end, and then nobody is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from broker.core.jobs import Ending, Suspicion
from broker.core.limits import (
    BEATEN_S,
    FAULT_WINDOW,
    JOB_WINDOW,
    MAX_BEATEN,
    MAX_FAILED_JOBS,
    MAX_QUARANTINE_S,
    MAX_RECORDS,
    QUARANTINE_S,
)
from broker.core.nodes import Roster
from broker.scheduling.model import Identity, Model
from broker.trust.strikes import Failings

# Endings that tell on the job's key though no node is a suspect.
_TELLING = frozenset((Ending.CALLED_WRONG, Ending.JOB_AT_FAULT))


# A node that did not answer in this share of the time that another shows the job to need is not to blame.
EXCUSED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Blamed:
    """A node was put aside, for so many seconds; for the jobs of one key, or of all where there is none."""

    node: Identity
    for_s: float
    key: str = ""


def excuse(suspicions: list[Suspicion], model: Model, node: Identity, wall_s: float) -> None:
    """A node has done the job in this time, as it says. Those that had not answered in about as much are no
    suspects; the others are by its word alone."""
    rate = wall_s / model.wall_s(1.0, node)
    suspicions[:] = [
        each
        for each in suspicions
        if not each.unanswered_s
        or EXCUSED_SHARE * each.unanswered_s > rate * model.wall_s(1.0, each.node)
    ]
    for each in suspicions:
        if each.unanswered_s:
            each.shown_by = node[0]


class Blame:
    def __init__(self, nodes: Roster) -> None:
        self._nodes = nodes
        self._keys: OrderedDict[str, Failings] = OrderedDict()
        self._ended: list[tuple[tuple[Suspicion, ...], Ending, str]] = []

    def is_refused(self, user: str, now: float) -> bool:
        """Whether too many of this key's jobs have failed of late."""
        strikes = self._keys.get(user)
        return strikes is not None and now < strikes.until

    def job_ended(self, suspicions: Iterable[Suspicion], ending: Ending, user: str) -> None:
        """A job of this key's is over; `suspicions` are of the nodes that failed it."""
        held = tuple(suspicions)
        if held or user in self._keys or ending in _TELLING:
            self._ended.append((held, ending, user))

    def beaten(self, node: Identity, user: str, by: str, began_at: float, now: float) -> None:
        """A run on this node was ended sooner by a second copy on a node of the key `by`. That says little: it
        may be slow. But a node that loses some in a row, and gives no result in all that time, has not
        answered."""
        beaten = self._nodes.record(node).beaten
        beaten.append((user, by, began_at))
        del beaten[1:-FAULT_WINDOW]  # the first one tells how long it has lasted
        if len(beaten) < MAX_BEATEN or now - min(at for _, _, at in beaten) < BEATEN_S:
            return
        for each, winner, _ in beaten[-MAX_BEATEN:]:
            suspicion = Suspicion(node, shown_by=winner, keys={each}, jobs=1)
            self._ended.append(((suspicion,), Ending.RAN_ELSEWHERE, each))
        beaten.clear()

    def judge(self, now: float) -> list[Blamed]:
        """Draw the conclusions from what has ended since the last call."""
        found: list[Blamed] = []
        ended, self._ended = self._ended, []
        for suspicions, ending, user in ended:
            if ending is Ending.RAN_ELSEWHERE and user in self._keys:
                self._keys[user].note_good()
            # One job's loss is that job's, whoever was to pay for it then: others may have come and gone.
            is_alone = all(each.keys == {user} or each.leases == 1 for each in suspicions)
            if ending is Ending.CALLED_WRONG or (ending is Ending.JOB_AT_FAULT and is_alone):
                found += self._strike(user, frozenset(each.node[0] for each in suspicions), now)
            for suspicion in suspicions:
                suspicion.jobs -= 1
                suspicion.endings.add(ending)
                if not suspicion.jobs:
                    found += self._conclude(suspicion, now)
        return found

    def _conclude(self, suspicion: Suspicion, now: float) -> list[Blamed]:
        keys = frozenset(suspicion.keys)
        if suspicion.endings == {Ending.RAN_ELSEWHERE}:
            return self._blame(suspicion, now)
        if suspicion.endings == {Ending.RAN_AT_HOME}:
            return self._keep_from(suspicion, "", now)
        if suspicion.endings & {Ending.RAN_ELSEWHERE, Ending.RAN_AT_HOME, Ending.CALLED_WRONG}:
            return []
        record = self._nodes.record(suspicion.node)
        if record.note_undecided(keys, now):
            return [Blamed(suspicion.node, record.until - now)]
        if len(keys) == 1 and Ending.JOB_AT_FAULT not in suspicion.endings:
            return self._strike(next(iter(keys)), frozenset((suspicion.node[0],)), now)
        return []

    def _blame(self, suspicion: Suspicion, now: float) -> list[Blamed]:
        node = suspicion.node
        # A key's word on its own node is that node's.
        shown_by = "" if suspicion.shown_by == node[0] else suspicion.shown_by
        record = self._nodes.record(node)
        blamed = []
        if record.note_fault(frozenset({*suspicion.keys, shown_by} - {""}), now):
            blamed.append(Blamed(node, record.until - now))
        return blamed + self._keep_from(suspicion, shown_by, now)

    def _keep_from(self, suspicion: Suspicion, shown_by: str, now: float) -> list[Blamed]:
        """Count it between the node and the key whose job it was."""
        node, keys = suspicion.node, suspicion.keys
        record = self._nodes.record(node)
        blamed = []
        for key in keys:
            if len(keys) == 1 and (until := record.note_fault_of(key, shown_by, now)) is not None:
                blamed.append(Blamed(node, until - now, key))
        return blamed

    def _strike(self, user: str, said_by: frozenset[str], now: float) -> list[Blamed]:
        """A job of this key's has failed, as nodes of these keys say."""
        if not said_by:
            return []
        failings = self._keys.get(user)
        if failings is None:
            failings = Failings(JOB_WINDOW, MAX_FAILED_JOBS, QUARANTINE_S, MAX_QUARANTINE_S)
            self._keys[user] = failings
        self._keys.move_to_end(user)
        accuser = failings.note_failed(said_by, now)
        if len(self._keys) > MAX_RECORDS:
            self._keys.popitem(last=False)
        found = []
        for name, record in self._nodes.records_of(accuser):
            until = record.put_aside_for(user, now)
            found.append(Blamed((accuser, name), until - now, user))
        return found
