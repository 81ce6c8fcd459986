"""Whose fault it is that a job got no verdict: a node's, or the job's own. Pure.

A lease that ends without a verdict makes its node a suspect, and no more. What becomes of the job tells:

* Another node gives a verdict: the fault was the suspect's, and tells on it.
* A second node fails it too, or a node says that the job itself is wrong: the fault is the job's, and
  tells on the key that submitted it. So does a failure that no other node could judge (there is none,
  nobody waits any more).
* A key whose jobs fail too often is refused for a while. Nobody else is touched.
* A node on which jobs of UNDECIDED_KEYS keys failed in a row, without a verdict between them, is at fault
  all the same: that is no one key's doing. So a bad node is found where there is no second one, or no better.

A node that was lost with several leases failed once, however many there were; it is not to blame when one
of them fails elsewhere too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from broker.jobs import Suspicion
from broker.limits import (
    JOB_WINDOW,
    MAX_FAILED_JOBS,
    MAX_QUARANTINE_S,
    MAX_RECORDS,
    QUARANTINE_S,
    UNDECIDED_KEYS,
)
from broker.model import Identity
from broker.nodes import Roster
from broker.strikes import Strikes


class Ending(Enum):
    """How a job that had failed somewhere ended."""

    RAN_ELSEWHERE = "ran-elsewhere"
    JOB_AT_FAULT = "job-at-fault"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True)
class Blamed:
    """A node was put in quarantine, for so many seconds."""

    node: Identity
    for_s: float


class Blame:
    def __init__(self, nodes: Roster) -> None:
        self._nodes = nodes
        self._keys: OrderedDict[str, Strikes] = OrderedDict()
        self._ended: list[tuple[tuple[Suspicion, ...], Ending, str]] = []

    def is_refused(self, user: str, now: float) -> bool:
        """Whether too many of this key's jobs have failed of late."""
        strikes = self._keys.get(user)
        return strikes is not None and now < strikes.until

    def job_ended(self, suspicions: Iterable[Suspicion], ending: Ending, user: str) -> None:
        """A job of this key's is over; `suspicions` are of the nodes that failed it."""
        held = tuple(suspicions)
        if held or ending is Ending.JOB_AT_FAULT or user in self._keys:
            self._ended.append((held, ending, user))

    def judge(self, now: float) -> list[Blamed]:
        """Draw the conclusions from what has ended since the last call."""
        found: list[Blamed] = []
        ended, self._ended = self._ended, []
        for suspicions, ending, user in ended:
            if ending is Ending.JOB_AT_FAULT:
                self._strike(user, now)
            elif ending is Ending.RAN_ELSEWHERE and user in self._keys:
                self._keys[user].note_good()
            for suspicion in suspicions:
                suspicion.jobs -= 1
                suspicion.has_run_elsewhere |= ending is Ending.RAN_ELSEWHERE
                suspicion.is_jobs_fault |= ending is Ending.JOB_AT_FAULT
                if ending is not Ending.RAN_ELSEWHERE:
                    suspicion.users.add(user)
                if not suspicion.jobs:
                    found += self._conclude(suspicion, now)
        return found

    def _conclude(self, suspicion: Suspicion, now: float) -> list[Blamed]:
        record = self._nodes.record(suspicion.node)
        if suspicion.has_run_elsewhere:
            is_bad = not suspicion.is_jobs_fault and record.note_fault(now)
        else:
            record.undecided |= suspicion.users
            is_bad = len(record.undecided) >= UNDECIDED_KEYS
            if is_bad:
                record.faults += 1
                record.put_aside(now)
                for user in record.undecided:
                    self._keys.pop(user, None)
                record.undecided.clear()
            elif not suspicion.is_jobs_fault:
                for user in suspicion.users:
                    self._strike(user, now)
        return [Blamed(suspicion.node, record.until - now)] if is_bad else []

    def _strike(self, user: str, now: float) -> None:
        strikes = self._keys.get(user)
        if strikes is None:
            strikes = Strikes(JOB_WINDOW, MAX_FAILED_JOBS, QUARANTINE_S, MAX_QUARANTINE_S)
            self._keys[user] = strikes
        self._keys.move_to_end(user)
        strikes.note_bad(now)
        if len(self._keys) > MAX_RECORDS:
            self._keys.popitem(last=False)
