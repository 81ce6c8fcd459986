"""Sessions that are over, and what is undone of them by turns: nobody else waits for it. Pure.

One key may have 10,000 requests, and be asked for three times as many blobs. To undo all that in the event that
ends its session would take seconds. Until its turn has come a request of such a session waits like another, and
has no answer; a session of its name is not opened before it is all undone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from broker.core.farm import Farm
from broker.core.ledger import Ledger
from broker.core.limits import UNDONE_AT_ONCE, UNDONE_OF_SESSION
from broker.core.sessions import Session

# So many blobs or jobs that are looked at for something take as long as a request that is undone.
_LOOKED_AT = 16


class Departures:
    def __init__(self, farm: Farm, ledger: Ledger) -> None:
        self._farm = farm
        self._ledger = ledger
        self._gone: OrderedDict[bytes, Session] = OrderedDict()
        self._left = UNDONE_AT_ONCE  # of this turn
        self.has_begun = False  # something was undone in this turn, or is left

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._gone

    def __iter__(self) -> Iterator[Session]:
        return iter(self._gone.values())

    def get(self, session_id: bytes) -> Session | None:
        return self._gone.get(session_id)

    def add(self, session: Session) -> None:
        """This session is over; what is little is undone at once."""
        if session.tickets or session.asked:
            self._gone[session.id] = session
            self.has_begun = True
            self._go_on()

    def take_turn(self) -> None:
        """A batch of events has ended: go on. To be called where something `has_begun`."""
        self._left = UNDONE_AT_ONCE
        self._go_on()
        self.has_begun = bool(self._gone)

    def give_up(self, session: Session) -> None:
        """These requests of a session that stands were not submitted again: they are void."""
        self.has_begun = True
        for ticket in list(islice(session.unconfirmed, max(0, self._left))):
            session.unconfirmed.discard(ticket)
            self._cancel(session, ticket)

    def _go_on(self) -> None:
        while self._gone and self._left > 0:
            session_id, session = self._gone.popitem(last=False)
            self._undo_some(session)
            if session.tickets or session.asked:
                self._gone[session_id] = session  # behind the others

    def _undo_some(self, session: Session) -> None:
        """Its requests first: then nothing asks for what it was asked for on their account."""
        until = self._left - UNDONE_OF_SESSION
        while session.tickets and self._left > max(0, until):
            self._cancel(session, next(iter(session.tickets)))
        while not session.tickets and session.asked and self._left > max(0, until):
            looked_at = self._ledger.uploads.source_gone(session, next(iter(session.asked)))
            self._left -= 1 + looked_at // _LOOKED_AT

    def _cancel(self, session: Session, ticket: int) -> None:
        key = session.tickets.get(ticket)
        execution = self._farm.executions.get(key) if key is not None else None
        looked_at = len(execution.missing) if execution is not None else 0
        self._ledger.cancel(session, ticket)
        self._left -= 1 + looked_at // _LOOKED_AT
