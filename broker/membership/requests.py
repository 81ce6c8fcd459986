"""Who becomes a member, changes his role and leaves: messages in, answers out, the registry changed.

Owns no session: whose key has changed is told to the caller, who drops them.
"""

from __future__ import annotations

import logging
import time

from broker.audit import AuditLog
from broker.errors import EnrolError, StateError
from broker.membership.attendance import Attendance
from broker.membership.registry import Registry
from zcc.member_id import member_id
from zcc.messages import Bye, Enrol, Enrolled, Leave, Message, Refused, Rejoin
from zcc.printable import printable

logger = logging.getLogger(__name__)

# The answer to Leave.
LEFT = "left"
# And to what the registry's disk does not take.
UNWRITTEN = (
    "the broker cannot write this down now: nothing has changed, and no token is used up; its operator"
    " finds why in its log"
)


class Membership:
    """Answers what is said of a key itself, and not in a session."""

    def __init__(self, farm: str, registry: Registry, audit: AuditLog) -> None:
        self.attendance = Attendance()
        self._farm = farm
        self._registry = registry
        self._audit = audit

    def answer(self, user: str, message: Enrol | Rejoin | Leave) -> tuple[Message, str]:
        """The answer, and the key whose sessions are void by now; empty: none's."""
        try:
            match message:
                case Enrol():
                    return self._enrol(user, message), ""
                case Rejoin():
                    return self._rejoin(user, message), user
                case Leave():
                    return self._leave(user), user
        except EnrolError as error:
            return self._refuse(user, str(error)), ""
        except StateError as error:
            logger.error("%s", error)
            # The reason is the operator's: it names what lies where.
            return self._refuse(user, UNWRITTEN), ""

    def write_attendance(self, now: float, is_last: bool = False) -> None:
        rows = self.attendance.due(now, is_last)
        if rows:
            self._registry.note_seen(rows)

    def _enrol(self, joiner: str, message: Enrol) -> Message:
        role = self._registry.enrol(joiner, message.public_key, message.label, time.time())
        fields = (("joiner", joiner), ("key", message.public_key), ("role", role.value))
        if self._audit.write("enrol", fields):
            key = member_id(message.public_key)
            logger.info("enrolled %s as %s (%s)", key, role.value, printable(message.label))
        return Enrolled(self._farm, role.value)

    def _rejoin(self, user: str, message: Rejoin) -> Message:
        joiner, role = self._registry.rejoin(message.secret, user, message.label, time.time())
        fields = (("joiner", joiner), ("key", user), ("role", role.value))
        if self._audit.write("rejoin", fields):
            label = printable(message.label)
            logger.info("%s is a %s from now on (%s)", member_id(user), role.value, label)
        return Enrolled(self._farm, role.value)

    def _leave(self, user: str) -> Message:
        self._registry.revoke_key(user, time.time())
        self._audit.write("leave", (("key", user),))
        logger.info("%s has left", member_id(user))
        return Bye(LEFT)

    def _refuse(self, user: str, reason: str) -> Refused:
        if self._audit.write("refuse", (("joiner", user), ("reason", reason))):
            logger.warning("refused %s: %s", user, reason)
        return Refused(0, reason)
