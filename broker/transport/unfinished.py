"""Blobs on their way in from agents: what has come of each, who brings it, and how much of them may lie about.

Owns the arrivals that are not whole, by the key that sends them. Must not know of messages or credit.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from broker.core.limits import (
    DECODER_BYTES,
    MAX_DECODERS_BYTES,
    MAX_DECODERS_BYTES_IN_ALL,
    MAX_PARTIALS,
    MAX_UNFINISHED_BYTES_PER_KEY,
    PARTIAL_KEPT_S,
    UPLOADS_SHARE,
)
from cache.blobs import Arrival, BlobStore
from cache.digest import Digest
from cache.frame import window_bytes
from zcc.job import MAX_BLOB_BYTES

Place = tuple[str, Digest]


@dataclass(slots=True)
class Upload:
    """A blob on its way from one key's agents. `owner` is the route that is asked now, None when it left.

    `decoder_bytes` is what its decoder takes. `is_mixed`: its bytes come from more than one agent.
    `is_useless`: let the rest pass by.
    """

    arrival: Arrival
    owner: bytes | None
    decoder_bytes: int
    total: int = 0
    is_mixed: bool = False
    is_useless: bool = False
    left_at: float = 0.0

    def leave(self, now: float) -> None:
        """Nobody brings it for now."""
        self.owner, self.left_at = None, now


def most_files() -> int:
    """How many of this process's descriptors unfinished uploads may have."""
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * UPLOADS_SHARE)


class Unfinished:
    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._uploads: dict[Place, Upload] = {}
        self._decoders_bytes: Counter[str] = Counter()  # of a key's uploads

    def items(self) -> Iterator[tuple[Place, Upload]]:
        return iter(self._uploads.items())

    def __contains__(self, place: Place) -> bool:
        return place in self._uploads

    def get(self, place: Place) -> Upload | None:
        return self._uploads.get(place)

    def begin(
        self, place: Place, route: bytes, beginning: bytes, *, is_whole: bool
    ) -> Upload | None:
        """A blob's first bytes have come by this route; None: its key's decoders take too much already, or all
        keys' do and it has its share of that.

        Raises:
            OSError: the disk refused.
        """
        user, digest = place
        decoder_bytes = DECODER_BYTES + window_bytes(beginning)
        taken_bytes = self._decoders_bytes[user] + decoder_bytes
        if not is_whole and (taken_bytes > MAX_DECODERS_BYTES or self._is_full_for(user)):
            return None
        arrival = self._store.arrival(digest, MAX_BLOB_BYTES)
        upload = self._uploads[place] = Upload(arrival, route, decoder_bytes)
        self._decoders_bytes[user] = taken_bytes
        return upload

    def _is_full_for(self, user: str) -> bool:
        """Whether as much is under way as may be, of which this key has its share: what each may have of it."""
        keys = len(self._decoders_bytes.keys() | {user})
        files = most_files()
        if len(self._uploads) >= files:
            own = sum(other == user for other, _ in self._uploads)
            return own * keys >= files
        if self._decoders_bytes.total() >= MAX_DECODERS_BYTES_IN_ALL:
            return self._decoders_bytes[user] * keys >= MAX_DECODERS_BYTES_IN_ALL
        return False

    def end(self, place: Place) -> None:
        """It is whole, and in the store."""
        self._remove(place)

    def drop(self, place: Place) -> None:
        """Nothing is left of it."""
        self._remove(place).arrival.drop()

    def drop_all(self) -> None:
        for place in list(self._uploads):
            self.drop(place)

    def left(self, route: bytes, now: float) -> None:
        """This agent brings nothing more; what it has brought is kept for a while."""
        for place, upload in list(self._uploads.items()):
            if upload.owner == route:
                upload.leave(now)
                if upload.is_useless or not upload.arrival.received_bytes:
                    self.drop(place)

    def let_go(self, now: float) -> list[Place]:
        """Drop what is old or too much. Returns those of which more was to come: it will pass by."""
        self._drop_left(now)
        return self._drop_beyond()

    def _drop_left(self, now: float) -> None:
        left = [(each.left_at, place) for place, each in self._uploads.items() if not each.owner]
        left.sort()
        of_user = Counter(user for _, (user, _) in left)
        surplus = len(left) - MAX_PARTIALS
        for _ in range(surplus):
            most = max(of_user.values())
            at = next(at for at, (_, (user, _)) in enumerate(left) if of_user[user] == most)
            _, place = left.pop(at)
            of_user[place[0]] -= 1
            self.drop(place)
        for left_at, place in left:
            if now - left_at > PARTIAL_KEPT_S:
                self.drop(place)

    def _drop_beyond(self) -> list[Place]:
        """Of a key that takes too much of the disk those go first that were left, the oldest of them."""
        taken_bytes: Counter[str] = Counter()
        for (user, _), upload in self._uploads.items():
            taken_bytes[user] += upload.arrival.received_bytes
        over = {user for user, size in taken_bytes.items() if size > MAX_UNFINISHED_BYTES_PER_KEY}
        chosen = [(place, each) for place, each in self._uploads.items() if place[0] in over]
        chosen.sort(key=lambda item: (item[1].owner is not None, item[1].left_at))
        under_way = []
        for place, upload in chosen:
            if taken_bytes[place[0]] <= MAX_UNFINISHED_BYTES_PER_KEY:
                continue
            taken_bytes[place[0]] -= upload.arrival.received_bytes
            self.drop(place)
            if upload.owner is not None:
                under_way.append(place)
        return under_way

    def _remove(self, place: Place) -> Upload:
        upload = self._uploads.pop(place)
        user, _ = place
        self._decoders_bytes[user] -= upload.decoder_bytes
        if not self._decoders_bytes[user]:
            del self._decoders_bytes[user]
        return upload
