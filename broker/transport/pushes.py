"""What one node pushes: outputs that it has announced under a lease, held until its Done names them.

Owns the files on their way in and those that wait for their Done; none of them is in the store before. Must
not know what a lease is worth: it is told under which the node may push, and when one is over.

A blob that was announced comes whole, or the node says Absent. So what a lease leaves behind that is over is
let pass by: the node had sent it before it knew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from broker.core.limits import (
    DECODER_BYTES,
    MAX_DECODERS_BYTES,
    MAX_HELD_PUSHES_BYTES,
    MAX_OUTPUT_BYTES,
    MAX_PASSING,
    MAX_PUSHES_PER_NODE,
)
from cache.blobs import Arrival, BlobStore
from cache.digest import Digest
from cache.frame import window_bytes
from cache.whole import Whole, whole
from zcc.errors import ProtocolError
from zcc.job import MAX_BLOB_BYTES
from zcc.transfer import Piece


@dataclass(slots=True)
class Push:
    """One blob. `leases` are those that announced it and are not over; none: it passes by.

    `is_due`: chunks of it are to come. `is_stored`: another lease's Done has named it; it is `plain_bytes`.
    `decoder_bytes`: what its decoder takes until it is whole. `held_bytes`: what it takes in memory when it is.
    """

    leases: set[bytes] = field(default_factory=set)
    arrival: Arrival | Whole | None = None
    is_due: bool = True
    is_whole: bool = False
    is_stored: bool = False
    plain_bytes: int = 0
    decoder_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        return len(self.arrival.frame) if isinstance(self.arrival, Whole) else 0

    def drop(self) -> None:
        if self.arrival is not None:
            self.arrival.drop()
            self.arrival = None
        self.is_whole = False


class Pushes:
    """The pushes of one node's session. `note_frame` gets the frames of what is kept, where they are here."""

    def __init__(self, store: BlobStore, note_frame: Callable[[Digest, bytes], None]) -> None:
        self._store = store
        self._note_frame = note_frame
        self._pushes: dict[Digest, Push] = {}
        self._announced: dict[bytes, tuple[Digest, ...]] = {}
        self._received_bytes: dict[bytes, int] = {}  # of a lease, uncompressed
        self._passing: OrderedDict[Digest, None] = OrderedDict()

    def announce(
        self, lease: bytes, digests: Iterable[Digest], is_wanted: bool
    ) -> tuple[list[Digest], list[Digest]]:
        """The node will push these; which of them begin now, and which will not be awaited any longer.

        What is under way for another lease is not begun anew. `is_wanted`: the lease is not over.
        """
        outputs = tuple(dict.fromkeys(digests))
        # Said again: the first crossed with a Welcome.
        voided = self._void(lease) if lease in self._announced else []
        begin = []
        for digest in outputs:
            push = self._pushes.get(digest)
            if push is None:
                push = self._pushes[digest] = Push()
                begin.append(digest)
            elif not push.is_due:
                push.is_due = True
                begin.append(digest)
            if is_wanted:
                push.leases.add(lease)
                self._passing.pop(digest, None)
            elif not push.leases:
                self._passing[digest] = None
        if is_wanted:
            self._announced[lease] = outputs
            self._received_bytes[lease] = 0
        gone = [digest for digest in voided if digest not in self._pushes]
        return begin, gone + self._surplus()

    def take(self, piece: Piece) -> None:
        """A piece of an announced blob.

        Raises:
            ProtocolError: more than one lease may push.
            BlobCorruptError: the bytes are not those that the digest names.
            OSError: our disk refused; the blob passes by.
        """
        push = self._pushes[piece.digest]
        if piece.is_last:
            push.is_due = False
        if not push.leases or push.is_whole or push.is_stored:
            self._forget_idle(piece.digest)
            return
        try:
            self._feed(push, piece)
        except OSError:
            push.drop()
            raise

    def keep(self, lease: bytes, outputs: Iterable[Digest]) -> dict[Digest, int]:
        """The lease's Done names these: store those that came under it, drop what else did.

        Returns those that are in the store now, and their sizes, uncompressed.

        Raises:
            OSError: the disk refused.
        """
        kept = {}
        try:
            for digest in outputs:
                push = self._pushes.get(digest)
                if push is None or lease not in push.leases:
                    continue
                if push.is_whole and push.arrival is not None:
                    push.arrival.keep()
                    if isinstance(push.arrival, Whole):
                        self._note_frame(digest, push.arrival.frame)
                    push.plain_bytes = push.arrival.plain_bytes
                    push.arrival, push.is_stored = None, True
                if push.is_stored:
                    kept[digest] = push.plain_bytes
        finally:
            self.end(lease)
        return kept

    def end(self, lease: bytes) -> None:
        """The lease is over: what came under it, and under no other, is dropped."""
        for digest in self._announced.pop(lease, ()):
            push = self._pushes[digest]
            push.leases.discard(lease)
            if not push.leases:
                push.drop()
                push.is_stored = False
                self._passing[digest] = None
                self._forget_idle(digest)
        self._received_bytes.pop(lease, None)

    def absent(self, digest: Digest) -> None:
        """The node will not send (the rest of) this blob."""
        push = self._pushes.get(digest)
        if push is not None:
            push.drop()
            push.is_due = False
            self._forget_idle(digest)

    def close(self) -> None:
        for push in self._pushes.values():
            push.drop()
        self._pushes.clear()
        self._announced.clear()

    def _feed(self, push: Push, piece: Piece) -> None:
        if piece.offset == 0:
            push.drop()  # begun anew after an Absent
            if piece.is_last and self._take_whole(push, piece):
                return
            under_way = self._under_way()
            if len(under_way) >= MAX_PUSHES_PER_NODE:
                raise ProtocolError(f"more than {MAX_PUSHES_PER_NODE} outputs under way")
            push.decoder_bytes = DECODER_BYTES + window_bytes(piece.data)
            taken_bytes = sum(each.decoder_bytes for each in under_way) + push.decoder_bytes
            if taken_bytes > MAX_DECODERS_BYTES:
                raise ProtocolError(f"outputs that take {taken_bytes} bytes to decode")
            push.arrival = self._store.arrival(piece.digest, MAX_BLOB_BYTES)
        arrival = push.arrival
        if not isinstance(arrival, Arrival):
            return  # our disk has refused its beginning
        before = arrival.plain_bytes
        arrival.feed(piece.data)
        self._note_received(push, arrival.plain_bytes - before)
        if piece.is_last:
            arrival.check()
            push.is_whole = True

    def _take_whole(self, push: Push, piece: Piece) -> bool:
        """Hold a blob of one piece in memory, if there is room and it is small."""
        held_bytes = sum(each.held_bytes for each in self._pushes.values())
        if held_bytes + len(piece.data) > MAX_HELD_PUSHES_BYTES:
            return False
        push.arrival = whole(self._store, piece.digest, piece.data)
        if push.arrival is None:
            return False
        self._note_received(push, push.arrival.plain_bytes)
        push.is_whole = True
        return True

    def _note_received(self, push: Push, size_bytes: int) -> None:
        lease = next(iter(push.leases))
        self._received_bytes[lease] += size_bytes
        if self._received_bytes[lease] > MAX_OUTPUT_BYTES:
            raise ProtocolError(f"outputs of more than {MAX_OUTPUT_BYTES} bytes under one lease")

    def _under_way(self) -> list[Push]:
        pushes = self._pushes.values()
        return [push for push in pushes if push.arrival is not None and not push.is_whole]

    def _void(self, lease: bytes) -> list[Digest]:
        """Forget an announcement as if it had not been made; what no other lease has announced."""
        voided = []
        for digest in self._announced.pop(lease):
            push = self._pushes[digest]
            push.leases.discard(lease)
            if not push.leases:
                push.drop()
                del self._pushes[digest]
                voided.append(digest)
        self._received_bytes.pop(lease, None)
        return voided

    def _forget_idle(self, digest: Digest) -> None:
        """Nothing of it is to come and nobody waits for it."""
        push = self._pushes[digest]
        if not push.is_due and not push.leases:
            push.drop()
            del self._pushes[digest]
            self._passing.pop(digest, None)

    def _surplus(self) -> list[Digest]:
        """What passes by and is not awaited any longer: a node that announces and never sends."""
        gone = []
        while len(self._passing) > MAX_PASSING:
            digest, _ = self._passing.popitem(last=False)
            del self._pushes[digest]
            gone.append(digest)
        return gone
