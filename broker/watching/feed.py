"""The batches of what has happened, once for all who watch: a bounded ring, and who is where in it. Pure.

A watcher is a number, that of the batch that it gets next: nothing is copied for it. Where that batch is gone
it gets a snapshot, and goes on behind that.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from broker.core.farm import Farm
from broker.watching.limits import (
    BATCH_S,
    FEED_LINGERS_S,
    MAX_BATCHES,
    MAX_BATCHES_BYTES,
    MAX_BATCHES_DUE,
    MAX_MESSAGES_PER_S,
    MAX_WATCHERS,
    MAX_WATCHERS_PER_KEY,
    MOST_BATCH_S,
    SNAPSHOT_EVERY_S,
)
from broker.watching.moving import NoWires, Wires
from broker.watching.numbers import Describe
from broker.watching.recorder import Recorder
from broker.watching.snapshot import pack_snapshot
from zcc.events import MAX_BATCH_BYTES, Row, pack_pieces
from zcc.messages import (
    Enrol,
    Enrolled,
    Happened,
    Leave,
    Message,
    Refused,
    Rejoin,
    Snapshot,
    Watch,
)

TOO_MANY_WATCHERS = "watchers: as many as this farm takes, or one key may have, are there"


class Ring:
    """A feed's batches by number, from 1 on, as they are said; of too many or too large ones the oldest go."""

    def __init__(self, feed: bytes) -> None:
        self._feed = feed
        self._batches: deque[Happened] = deque()
        self._bytes = 0
        self.next = 1

    @property
    def first(self) -> int:
        """The number of the oldest that is here."""
        return self.next - len(self._batches)

    def add(self, body: bytes) -> None:
        self._batches.append(Happened(self._feed, self.next, body))
        self._bytes += len(body)
        self.next += 1
        while len(self._batches) > MAX_BATCHES or (
            self._bytes > MAX_BATCHES_BYTES and len(self._batches) > 1
        ):
            self._bytes -= len(self._batches.popleft().body)

    def get(self, number: int) -> Happened | None:
        """None: it is gone, or is still to come."""
        at = number - self.first
        return self._batches[at] if 0 <= at < len(self._batches) else None


@dataclass(slots=True)
class _Watcher:
    """`next` is the batch that it gets next; 0: a snapshot first. So many messages are `due` to it."""

    user: str
    next: int
    due: int = 0


class Watching:
    """`offer` has a message made and sent to a route when there is room; False: there is not. `compress` makes
    a body; `new_name` the name of a feed; `began_s` is the Unix time of the machine's start. `on_failure` is
    told of a mistake of ours that has spoilt a feed. `wires` is what the transport counts."""

    def __init__(
        self,
        farm: Farm,
        describe: Describe,
        offer: Callable[[bytes, Callable[[], Message | None]], bool],
        compress: Callable[[bytes], bytes],
        new_name: Callable[[], bytes],
        began_s: float,
        on_failure: Callable[[Exception], None],
        wires: Wires | None = None,
    ) -> None:
        self._farm = farm
        self._describe = describe
        self._offer = offer
        self._compress = compress
        self._new_name = new_name
        self._began_s = began_s
        self._on_failure = on_failure
        self._wires = wires if wires is not None else NoWires()
        self._feed = b""
        self._ring = Ring(self._feed)
        self._recorder: Recorder | None = None
        self._watchers: dict[bytes, _Watcher] = {}
        self._of_user: Counter[str] = Counter()
        self._left_at = 0.0
        self._snapshot: Snapshot | None = None
        self._snapshot_at = 0.0

    @property
    def period_s(self) -> float:
        """How often `tick` is to be called."""
        return min(MOST_BATCH_S, max(BATCH_S, len(self._watchers) / MAX_MESSAGES_PER_S))

    def watch(self, route: bytes, user: str, message: Watch) -> Refused | None:
        """This peer watches from now on; or why not."""
        known = self._watchers.get(route)
        if known is None:
            is_full = len(self._watchers) >= MAX_WATCHERS
            if is_full or self._of_user[user] >= MAX_WATCHERS_PER_KEY:
                return Refused(0, TOO_MANY_WATCHERS)
            known = self._watchers[route] = _Watcher(user, 0)
            self._of_user[user] += 1
        if self._recorder is None:
            self._begin()
        is_here = self._ring.first <= message.since <= self._ring.next
        known.next = message.since if message.feed == self._feed and is_here else 0
        self._count()
        self._fill(route, known)
        return None

    def forget(self, route: bytes) -> None:
        """The session on this route is over, or begins anew: it watches no more."""
        watcher = self._watchers.pop(route, None)
        if watcher is not None:
            self._of_user[watcher.user] -= 1
            self._left_at = self._farm.now
            self._count()

    def tick(self, now: float) -> None:
        """Time has passed: what has happened becomes a batch, which all are offered."""
        recorder = self._recorder
        if recorder is None:
            return
        if not self._watchers and now - self._left_at > FEED_LINGERS_S:
            self._recorder = self._farm.watch = None
            self._snapshot = None
            self._ring = Ring(self._feed)
            return
        if recorder.failure is not None:
            self._on_failure(recorder.failure)
            self._begin()
        else:
            self._flush(recorder)
        for route, watcher in list(self._watchers.items()):
            self._fill(route, watcher)

    def membership_changed(
        self, user: str, message: Enrol | Rejoin | Leave, answer: Message
    ) -> None:
        """This key has said that of itself, or of the key that it enrols, and was answered so."""
        recorder = self._recorder
        if recorder is None:
            return
        if isinstance(answer, Enrolled):
            recorder.enrolled(message.public_key if isinstance(message, Enrol) else user)
        elif isinstance(answer, Refused):
            recorder.turned_away(user, answer.reason)

    def note_store(self, figures: Callable[[], tuple[int, int, int]]) -> None:
        """Bytes in the farm's store, the most that it may have, and how much was evicted so far."""
        recorder = self._recorder
        if recorder is not None:
            recorder.store = figures()

    def note_tiers(self, rows: Callable[[], list[Row]]) -> None:
        """The fields of each tier's row, but its name and time."""
        if self._recorder is not None:
            self._recorder.tiers = rows()

    def _begin(self) -> None:
        """A feed begins: from now on what happens is recorded, and all begin with a snapshot."""
        self._feed = self._new_name()
        for watcher in self._watchers.values():
            watcher.next = 0
        self._ring = Ring(self._feed)
        self._snapshot = None
        self._recorder = self._farm.watch = Recorder(self._farm, self._describe, self._wires)
        self._count()

    def _count(self) -> None:
        if self._recorder is not None:
            self._recorder.watchers = len(self._watchers)

    def _flush(self, recorder: Recorder) -> None:
        if recorder.rows:
            for piece in pack_pieces(recorder.rows, MAX_BATCH_BYTES):
                self._ring.add(self._compress(piece))
            recorder.rows.clear()

    def _fill(self, route: bytes, watcher: _Watcher) -> None:
        """Have sent to it what it lacks, as far as it reads."""
        lacks = 1 if watcher.next < self._ring.first else self._ring.next - watcher.next
        for _ in range(min(lacks, MAX_BATCHES_DUE) - watcher.due):
            watcher.due += 1  # until it is drawn, which may be at once
            if not self._offer(route, lambda: self._draw(watcher)):
                watcher.due -= 1
                return

    def _draw(self, watcher: _Watcher) -> Message | None:
        """What this watcher gets next, now that there is room for it."""
        watcher.due -= 1
        number = watcher.next
        if number == self._ring.next:
            return None
        batch = self._ring.get(number)
        if batch is None:
            snapshot = self._present()
            watcher.next = snapshot.number
            return snapshot
        watcher.next += 1
        return batch

    def _present(self) -> Snapshot:
        """The farm as it is, or was just now."""
        farm, made, recorder = self._farm, self._snapshot, self._recorder
        assert recorder is not None
        is_new = farm.now - self._snapshot_at < SNAPSHOT_EVERY_S
        if made is None or not is_new or made.number < self._ring.first:
            self._flush(recorder)
            body = self._compress(pack_snapshot(farm, recorder, self._began_s))
            made = self._snapshot = Snapshot(self._feed, self._ring.next, body)
            self._snapshot_at = farm.now
        return made
