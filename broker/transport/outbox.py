"""What waits to go to each peer: in bytes, and no more of it handed to libzmq than a peer soon takes. Pure.

libzmq's queues are bounded in messages, and a message may hold 8 MiB. So a peer that reads nothing has at most
MAX_UNSENT_BYTES handed over, and a message; all peers of a key have MAX_UNSENT_BYTES_PER_KEY. The rest waits
here as little more than its name. It is made when there is room.

Small control messages do not wait for that. They wait only where libzmq's queue is full, and go first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from broker.core.limits import (
    ANSWER_BYTES,
    CONTROL_BYTES,
    MAX_ANSWERS_BYTES,
    MAX_ANSWERS_BYTES_PER_KEY,
    MAX_UNSENT_BYTES,
    MAX_UNSENT_BYTES_PER_KEY,
    RETRIED_AT_ONCE,
)
from cache.digest import DIGEST_SIZE
from zcc.messages import Message, Nodes, Revoke, Run, Want

# Makes a message when there is room for it; None: there is nothing to say any more.
Make = Callable[[], Message | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """Something with a body, or of any length. `name`: what takes it back, or takes its place.

    `size_bytes` is what it takes while it waits.
    """

    make: Make
    size_bytes: int
    name: Hashable = None


@dataclass(slots=True)
class _Line:
    """What one peer is to get. `drawn` is a message that libzmq did not take yet.

    `is_answers_turn`: what waits here and what `draw` has take turns.
    """

    user: str
    control: deque[Message] = field(default_factory=deque)
    answers: OrderedDict[Hashable, Answer] = field(default_factory=OrderedDict)  # by their names
    kept_bytes: int = 0
    unsent_bytes: int = 0
    drawn: Message | None = None
    is_answers_turn: bool = True


class Outbox:
    """`send` hands a message to libzmq, False when it has no room or the peer is gone; `is_here` says which.
    `draw` has what is under a peer's credit. `wake` is called when `retry` is due in a moment."""

    def __init__(
        self,
        send: Callable[[bytes, Message], bool],
        is_here: Callable[[bytes], bool],
        unsent_bytes: Callable[[bytes], int],
        draw: Callable[[bytes], Message | None],
        wake: Callable[[], None],
    ) -> None:
        self._send = send
        self._is_here = is_here
        self._ask_unsent = unsent_bytes
        self._draw = draw
        self._wake = wake
        self._lines: dict[bytes, _Line] = {}
        self._unsent_bytes: Counter[str] = Counter()  # of a key's peers
        self._kept_bytes: Counter[str] = Counter()
        self._blocked: OrderedDict[bytes, None] = OrderedDict()
        self._number = 0  # of the last answer without a name

    def open(self, route: bytes, user: str) -> None:
        """A session stands on this route: what waits is void."""
        self.close(route)
        self._lines[route] = _Line(user)

    def close(self, route: bytes) -> None:
        """The session on this route is over."""
        line = self._lines.pop(route, None)
        if line is not None:
            self._blocked.pop(route, None)
            self._note_unsent(line, 0)
            self._keep(line, -line.kept_bytes)

    def say(self, route: bytes, message: Message) -> bool:
        """Send it now, or as soon as it can be; False: the peer is gone, or has too much waiting."""
        line = self._lines.get(route)
        if line is None:
            return self._send(route, message)
        match message:
            case Run():
                # Its body is the job's, and a node has as many jobs as it has leases.
                return self.put(route, Answer(lambda: message, 0, message.lease))
            case Nodes():
                return self.put(route, Answer(lambda: message, ANSWER_BYTES, Nodes))
            case Want(blobs):
                size_bytes = ANSWER_BYTES + len(blobs) * DIGEST_SIZE
                return self.put(route, Answer(lambda: message, size_bytes))
            case Revoke(lease):
                self._take_back(line, lease)
            case _:
                pass
        return self._say_now(route, line, message)

    def put(self, route: bytes, answer: Answer) -> bool:
        """Have this made and sent when there is room; False: the peer has too much waiting, or no session."""
        line = self._lines.get(route)
        if line is None:
            return False
        self._number += 1
        name = self._number if answer.name is None else answer.name
        self._take_back(line, name)
        if not self._has_room_for(line, answer.size_bytes):
            return False
        line.answers[name] = answer
        self._keep(line, answer.size_bytes)
        self.pump(route)
        return True

    def offer(self, route: bytes, make: Make) -> bool:
        """The same with an answer of which little is known before it is made."""
        return self.put(route, Answer(make, ANSWER_BYTES))

    def pump(self, route: bytes) -> None:
        """Hand over what may go now."""
        line = self._lines.get(route)
        if line is None:
            return
        if self._pump(route, line):
            self._blocked.pop(route, None)
        elif route not in self._blocked:
            self._blocked[route] = None
            self._wake()

    def retry(self) -> None:
        """Go on with some of the peers that had no room."""
        for route in list(self._blocked)[:RETRIED_AT_ONCE]:
            self._blocked.move_to_end(route)
            self.pump(route)
        if self._blocked:
            self._wake()

    def tick(self) -> None:
        """Look again what the peers have taken, of which nothing may be waiting."""
        for route, line in self._lines.items():
            if line.unsent_bytes:
                self._look(route, line)

    def _pump(self, route: bytes, line: _Line) -> bool:
        """Whether all that may go has gone."""
        while line.control:
            if not self._send(route, line.control[0]):
                return False
            line.control.popleft()
            self._keep(line, -CONTROL_BYTES)
        while True:
            if line.drawn is None:
                if not self._has_room(route, line):
                    return False
                if not self._take_next(route, line):
                    return True
            elif self._send(route, line.drawn):
                line.drawn = None
            else:
                self._look(route, line)
                return False

    def _take_next(self, route: bytes, line: _Line) -> bool:
        """Whether there was anything."""
        is_answers_turn, line.is_answers_turn = line.is_answers_turn, not line.is_answers_turn
        if not is_answers_turn or not line.answers:
            line.drawn = self._draw(route)
            if line.drawn is not None or not line.answers:
                return line.drawn is not None
        _, answer = line.answers.popitem(last=False)
        self._keep(line, -answer.size_bytes)
        line.drawn = answer.make()
        return True

    def _say_now(self, route: bytes, line: _Line, message: Message) -> bool:
        if not line.control and self._send(route, message):
            return True
        if not self._is_here(route) or not self._has_room_for(line, CONTROL_BYTES):
            return False
        line.control.append(message)
        self._keep(line, CONTROL_BYTES)
        self.pump(route)
        return True

    def _take_back(self, line: _Line, name: Hashable) -> None:
        """Do not say what waits under this name."""
        answer = line.answers.pop(name, None)
        if answer is not None:
            self._keep(line, -answer.size_bytes)

    def _has_room(self, route: bytes, line: _Line) -> bool:
        self._look(route, line)
        return (
            line.unsent_bytes <= MAX_UNSENT_BYTES
            and self._unsent_bytes[line.user] <= MAX_UNSENT_BYTES_PER_KEY
        )

    def _has_room_for(self, line: _Line, size_bytes: int) -> bool:
        return not size_bytes or (
            line.kept_bytes + size_bytes <= MAX_ANSWERS_BYTES
            and self._kept_bytes[line.user] + size_bytes <= MAX_ANSWERS_BYTES_PER_KEY
        )

    def _look(self, route: bytes, line: _Line) -> None:
        drawn_bytes = 0 if line.drawn is None else len(getattr(line.drawn, "body", b""))
        self._note_unsent(line, drawn_bytes + self._ask_unsent(route))

    def _note_unsent(self, line: _Line, unsent_bytes: int) -> None:
        self._unsent_bytes[line.user] += unsent_bytes - line.unsent_bytes
        line.unsent_bytes = unsent_bytes
        if not self._unsent_bytes[line.user]:
            del self._unsent_bytes[line.user]

    def _keep(self, line: _Line, change_bytes: int) -> None:
        line.kept_bytes += change_bytes
        self._kept_bytes[line.user] += change_bytes
        if not self._kept_bytes[line.user]:
            del self._kept_bytes[line.user]
