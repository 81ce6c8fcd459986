"""Looks for blobs in the store, some at a time, so that nobody else waits for a long list.

Owns what is being re-read because somebody could not use it: what is to be found among that waits until it is
known whether it is rotten.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from broker.core.allowance import Allowance
from broker.core.effects import FindMissing
from broker.core.events import BlobsWanted, Event, InputsChecked, Origin, PeerMisbehaved, Recalled
from broker.core.limits import (
    ASK_AGAIN_S,
    CHECKED_AT_ONCE,
    MAX_DOUBTED,
    MAX_SOUGHT,
    MAX_UNSOUGHT,
    SOUGHT_BURST_S,
    SOUGHT_SHARE,
    SOUND_FOR_S,
)
from broker.failures import BROKER_FAILED, Failures
from broker.transport.reader import raise_failure
from broker.transport.traffic import Traffic
from cache.digest import Digest
from zcc.errors import ProtocolError

Blobs = tuple[tuple[Digest, int], ...]
Recall = Callable[[Digest], Recalled | None]
# Looks for a result in the tiers; as `SharedResults.seek`.
Seek = Callable[[Digest, Callable[[bool], None]], bool]


@dataclass(slots=True)
class _Line:
    """The Wants of one node that wait; `cost` is how many blobs they name."""

    wants: deque[tuple[Origin, Blobs]] = field(default_factory=deque)
    cost: int = 0


@dataclass(slots=True, eq=False)
class _Waiting:
    """A job whose blobs are looked for when `doubted` have been re-read."""

    effect: FindMissing
    recall: Recall
    doubted: set[Digest]


class Search:
    """`happen` is told what was found."""

    def __init__(
        self,
        traffic: Traffic,
        fetchable: Callable[[Origin, Iterable[Digest]], Container[Digest]],
        happen: Callable[[Event], None],
        failures: Failures,
        clock: Callable[[], float],
        seek: Seek = lambda key, then: False,
    ) -> None:
        self._traffic = traffic
        self._seek_further = seek
        self._fetchable = fetchable
        self._happen = happen
        self._failures = failures
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[bytes, _Line] = OrderedDict()
        self._left = MAX_SOUGHT  # of this turn of the loop
        self._allowance = Allowance(
            SOUGHT_BURST_S, SOUGHT_SHARE
        )  # seconds of the loop, of a key's nodes
        self._next: asyncio.Handle | None = None
        self._doubted: dict[Digest, None] = {}
        # What was re-read and is whole, until when it is not re-read again; oldest first.
        self._sound: dict[Digest, float] = {}
        # What is to be found among those waits for them, and they are the next to be read.
        self._after_check: dict[Digest, list[_Waiting]] = {}
        self._checking: asyncio.Task[None] | None = None
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True
        if self._next is not None:
            self._next.cancel()
        if self._checking is not None:
            self._checking.cancel()

    def want(self, origin: Origin, blobs: Blobs) -> None:
        """A node's Want: what of it is here. Not more than MAX_SOUGHT in one turn of the loop, for all nodes
        together, and within the share of the loop that its key has; the rest waits, and nodes take turns.

        Raises:
            ProtocolError: more waits than any node's leases can need.
        """
        cost = max(1, len(blobs))
        if origin.route not in self._waiting and cost <= self._left and self._has_share(origin):
            self._left -= cost
            self._seek(origin, blobs)
        else:
            line = self._waiting.setdefault(origin.route, _Line())
            line.wants.append((origin, blobs))
            line.cost += cost
            if line.cost > MAX_UNSOUGHT:
                raise ProtocolError(f"more than {MAX_UNSOUGHT} blobs are wanted at a time")
        self._plan(may_go_on=self._has_share(origin))

    def forget(self, route: bytes) -> None:
        """The session on this route is over, or begins anew: what it wanted is void."""
        self._waiting.pop(route, None)

    def _has_share(self, origin: Origin) -> bool:
        return self._allowance.left(origin.user, self._clock()) > 0

    def _plan(self, *, may_go_on: bool = False) -> None:
        """Go on in the next turn of the loop; where all that wait have used up their share, in a while."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if may_go_on or self._left < MAX_SOUGHT:
            self._next = self._loop.call_soon(self._turn)
        elif self._waiting and not self._is_closed:
            self._next = self._loop.call_later(ASK_AGAIN_S, self._turn)

    def _turn(self) -> None:
        self._next, self._left = None, MAX_SOUGHT
        for route in list(self._waiting):
            line = self._waiting.get(route)
            if self._left <= 0 or self._is_closed:
                break
            if line is not None and self._has_share(line.wants[0][0]):
                self._serve(route, line)
        self._plan()

    def _serve(self, route: bytes, line: _Line) -> None:
        """Look for some of what a node waits for; it is the last then."""
        del self._waiting[route]
        origin, blobs = line.wants.popleft()
        some, rest = blobs[: self._left], blobs[self._left :]
        if rest:
            line.wants.appendleft((origin, rest))
        if line.wants:
            self._waiting[route] = line
        cost = max(1, len(some))
        line.cost -= cost
        self._left -= cost
        try:
            self._seek(origin, some)
        except Exception as error:  # noqa: BLE001 - a mistake of ours: other nodes' turns come
            self._failures.note(error, "a look for what a node wants")
            self._happen(PeerMisbehaved(origin, BROKER_FAILED))

    def _seek(self, origin: Origin, blobs: Blobs) -> None:
        """The disk is asked only for what the node may have. What it takes, with what follows from it, its key
        pays for: each blob is held against each of the node's leases."""
        if self._is_closed:
            return
        began_s = time.thread_time()
        try:
            fetchable = self._fetchable(origin, [digest for digest, _ in blobs])
            present: list[tuple[Digest, int]] = []
            missing: list[tuple[Digest, int]] = []
            for blob in blobs:
                is_here = blob[0] in fetchable and self._traffic.has(blob[0])
                (present if is_here else missing).append(blob)
            self._happen(BlobsWanted(origin, tuple(present), tuple(missing)))
        finally:
            self._allowance.use(origin.user, time.thread_time() - began_s, self._clock())

    def find(self, effect: FindMissing, recall: Recall) -> None:
        """What a job lacks; `recall` gives its result, if that is remembered."""
        doubted: list[Digest] = []
        if self._doubted:
            doubted = [digest for digest in effect.digests if digest in self._doubted]
        waiting = _Waiting(effect, recall, set(doubted))
        for digest in doubted:
            self._after_check.setdefault(digest, []).append(waiting)
        if not doubted:
            self._find(effect, recall, 0, set())

    def check(self, digests: Iterable[Digest]) -> None:
        """Re-read blobs that somebody could not use, in a thread; rotten ones leave the store. Those that were
        found whole just now are not read again."""
        self._forget_sound()
        fresh = [each for each in digests if each not in self._doubted and each not in self._sound]
        for digest in fresh[: MAX_DOUBTED - len(self._doubted)]:
            self._traffic.forget(digest)
            self._doubted[digest] = None
        if self._doubted and self._checking is None:
            self._checking = self._loop.create_task(self._check_all())
            self._checking.add_done_callback(raise_failure)

    def _forget_sound(self) -> None:
        now = self._clock()
        while self._sound:
            digest, until = next(iter(self._sound.items()))
            if now < until and len(self._sound) <= MAX_DOUBTED:
                break
            del self._sound[digest]

    def _find(self, effect: FindMissing, recall: Recall, start: int, missing: set[Digest]) -> None:
        if self._is_closed:
            return
        try:
            self._look(effect, recall, start, missing)
        except Exception as error:  # noqa: BLE001 - a mistake of ours: nobody waits for it for ever
            self._failures.note(error, "a look for a job's inputs")
            # A node that lacks some asks for them.
            self._happen(InputsChecked(effect.key, frozenset(), None))

    def _look(self, effect: FindMissing, recall: Recall, start: int, missing: set[Digest]) -> None:
        end = start + MAX_SOUGHT
        missing.update(each for each in effect.digests[start:end] if not self._traffic.has(each))
        if end < len(effect.digests):
            self._loop.call_soon(self._find, effect, recall, end, missing)
            return
        recalled = recall(effect.key) if effect.recalls else None
        if effect.recalls and recalled is None:
            then = partial(self._sought_further, effect, recall, missing)
            if self._seek_further(effect.key, then):
                return
        self._say_what_lacks(effect, missing, recalled)

    def _sought_further(
        self, effect: FindMissing, recall: Recall, missing: set[Digest], is_found: bool
    ) -> None:
        if self._is_closed:
            return
        recalled = None
        if is_found:
            with self._failures.noted("a look for what a tier had"):
                recalled = recall(effect.key)
        self._say_what_lacks(effect, missing, recalled)

    def _say_what_lacks(
        self, effect: FindMissing, missing: set[Digest], recalled: Recalled | None
    ) -> None:
        size_bytes = self._traffic.frame_bytes(effect.digests[0])
        self._happen(InputsChecked(effect.key, frozenset(missing), recalled, size_bytes))

    async def _check_all(self) -> None:
        try:
            while self._doubted:
                some = list(islice(self._after_check or self._doubted, CHECKED_AT_ONCE))
                with self._failures.noted("a check of blobs"):
                    some = some[: await asyncio.to_thread(self._traffic.reread, some)]
                    until = self._clock() + SOUND_FOR_S
                    self._sound.update((each, until) for each in some if self._traffic.has(each))
                for digest in some:
                    del self._doubted[digest]
                    self._was_checked(digest)
        finally:
            self._checking = None

    def _was_checked(self, digest: Digest) -> None:
        for waiting in self._after_check.pop(digest, ()):
            waiting.doubted.discard(digest)
            if not waiting.doubted:
                self.find(waiting.effect, waiting.recall)
