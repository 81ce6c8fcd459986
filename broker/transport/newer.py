"""Messages of kinds that this broker does not know: their senders are of a later release.

They are passed over, and answered so that who has asked need not wait. They count as any message does.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.audit import AuditLog
from broker.core.allowance import Allowance
from broker.core.events import Origin
from broker.core.limits import ASKS_BURST, ASKS_PER_S
from zcc.bounds import MAX_UNKNOWN_BYTES
from zcc.errors import ProtocolError
from zcc.link import Frames
from zcc.messages import CHUNK_BYTES, Message, Unknown
from zcc.printable import printable

# A header and a body, neither larger than those of the kinds that there are.
MAX_BYTES = MAX_UNKNOWN_BYTES + CHUNK_BYTES


class UnknownKinds:
    def __init__(self, answer: Callable[[bytes, Message], object], audit: AuditLog) -> None:
        self._answer = answer
        self._audit = audit
        self._answers = Allowance(ASKS_BURST, ASKS_PER_S)

    def pass_over(self, origin: Origin, kind: bytes, frames: Frames, now: float) -> None:
        """
        Raises:
            ProtocolError: it is larger than a message of any kind that a stranger to it has to take.
        """
        size = sum(map(len, frames))
        if size > MAX_BYTES:
            raise ProtocolError(f"{size} bytes of a message kind that is not known")
        name = printable(kind.decode(errors="replace"))
        self._audit.write("unknown", (("user", origin.user), ("kind", name)))
        if self._answers.left(origin.user, now) >= 1:
            self._answers.use(origin.user, 1, now)
            self._answer(origin.route, Unknown(kind))
