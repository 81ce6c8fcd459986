"""Looks for blobs in the store, some at a time, so that nobody else waits for a long list.

Owns what is being re-read because somebody could not use it: what is to be found among that waits until it is
known whether it is rotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice

from broker.effects import FindMissing
from broker.events import BlobsWanted, Event, InputsChecked, Origin, Recalled
from broker.failures import Failures
from broker.limits import CHECKED_AT_ONCE, MAX_DOUBTED, MAX_SOUGHT, SOUND_FOR_S
from broker.reader import raise_failure
from broker.traffic import Traffic
from cache.digest import Digest

Blobs = tuple[tuple[Digest, int], ...]
Recall = Callable[[Digest], Recalled | None]


class Search:
    """`happen` is told what was found."""

    def __init__(
        self,
        traffic: Traffic,
        happen: Callable[[Event], None],
        failures: Failures,
        clock: Callable[[], float],
    ) -> None:
        self._traffic = traffic
        self._happen = happen
        self._failures = failures
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._doubted: dict[Digest, None] = {}
        # What was re-read and is whole, until when it is not re-read again; oldest first.
        self._sound: dict[Digest, float] = {}
        self._after_check: list[tuple[FindMissing, Recall]] = []
        self._checking: asyncio.Task[None] | None = None
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True
        if self._checking is not None:
            self._checking.cancel()

    def want(self, origin: Origin, blobs: Blobs) -> None:
        """A node's Want: what of it is here."""
        if self._is_closed:
            return
        present: list[tuple[Digest, int]] = []
        missing: list[tuple[Digest, int]] = []
        for blob in blobs[:MAX_SOUGHT]:
            (present if self._traffic.has(blob[0]) else missing).append(blob)
        self._happen(BlobsWanted(origin, tuple(present), tuple(missing)))
        if len(blobs) > MAX_SOUGHT:
            self._loop.call_soon(self.want, origin, blobs[MAX_SOUGHT:])

    def find(self, effect: FindMissing, recall: Recall) -> None:
        """What a job lacks; `recall` gives its result, if that is remembered."""
        if self._doubted and not self._doubted.keys().isdisjoint(effect.digests):
            self._after_check.append((effect, recall))
        else:
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
        self._happen(InputsChecked(effect.key, frozenset(missing), recalled))

    async def _check_all(self) -> None:
        try:
            while self._doubted:
                some = list(islice(self._doubted, CHECKED_AT_ONCE))
                with self._failures.noted("a check of blobs"):
                    await asyncio.to_thread(self._traffic.reread, some)
                    until = self._clock() + SOUND_FOR_S
                    self._sound.update((each, until) for each in some if self._traffic.has(each))
                for digest in some:
                    del self._doubted[digest]
        finally:
            self._checking = None
        waiting, self._after_check = self._after_check, []
        for effect, recall in waiting:
            self.find(effect, recall)
