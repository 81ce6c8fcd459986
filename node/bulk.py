"""What goes between a node and its broker in pieces: inputs and toolchains in, outputs out.

Owns the credit of both ways, what is on its way in (`Arrivals`), and the outputs that may still be asked for.
Must not know what is done about a blob that has come, or that does not come: it tells of that as events.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cache.blobs import Arrival
from cache.digest import Digest, short
from cache.frame import frame_size
from node.arrivals import BlobArrivals
from node.core.events import BlobArrived, BlobFailed, Event
from node.faults import noted
from node.workshop import Workshop
from zcc.job import MAX_BLOB_BYTES
from zcc.messages import Announce, Chunk, Done, Failed, Fault, Message, Want
from zcc.transfer import Piece, Receiver, Sender

# A toolchain of 2 GiB unpacked is beyond any compiler known.
MAX_TOOLCHAIN_BYTES = 2 << 30


class Bulk:
    """One node's. `send` hands a message over; `handle` takes what has happened; `no_room` is told why the disk
    would not take something."""

    def __init__(
        self,
        workshop: Workshop,
        send: Callable[[Message], None],
        handle: Callable[[Event], None],
        no_room: Callable[[str], None],
    ) -> None:
        self._workshop = workshop
        self._send = send
        self._handle = handle
        self._no_room = no_room
        self._sender = Sender()
        self._receiver = Receiver()
        self._arrivals = BlobArrivals()
        self._outputs: dict[bytes, dict[Digest, bytes]] = {}  # by lease
        self._toolchains: set[Digest] = set()  # that are fetched

    def close(self) -> None:
        self._arrivals.close()

    def reset(self) -> None:
        """A new session. Arrivals stay: what is asked for again goes on where it broke off."""
        self._sender = Sender()
        self._receiver = Receiver()

    # ---- out -----------------------------------------------------------------------------------

    def keep(self, lease: bytes, outputs: dict[Digest, bytes]) -> None:
        """Have these frames to push, until the lease is forgotten."""
        self._outputs[lease] = outputs

    def forget(self, lease: bytes) -> None:
        self._outputs.pop(lease, None)

    def push(self, outputs: tuple[Digest, ...], message: Done | Failed) -> None:
        """Send these outputs, and then what names them."""
        if outputs:
            self._send(Announce(message.lease, outputs))
        for digest in outputs:
            self._sender.offer(digest)
        self._sender.after(message)
        self._pump()

    def add_credit(self, amount_bytes: int) -> None:
        self._sender.add_credit(amount_bytes)
        self._pump()

    def _pump(self) -> None:
        for message in self._sender.pump(self._read_output):
            self._send(message)

    def _read_output(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int] | None:
        for frames in self._outputs.values():
            frame = frames.get(digest)
            if frame is not None:
                return frame[offset : offset + length], len(frame)
        return None

    # ---- in ------------------------------------------------------------------------------------

    def fetch_toolchain(self, digest: Digest) -> None:
        self._toolchains.add(digest)
        self.fetch((digest,))

    def installed(self, digest: Digest) -> None:
        """What comes under this name from now on is an input."""
        self._toolchains.discard(digest)

    def fetch(self, digests: tuple[Digest, ...]) -> None:
        blobs = []
        for digest in digests:
            offset = self._arrivals.offset_of(digest)
            if offset is not None:
                self._receiver.expect(digest, offset)
                blobs.append((digest, offset))
        if blobs:
            self._send(Want(tuple(blobs)))

    def take_chunk(self, chunk: Chunk) -> None:
        receiver = self._receiver
        if receiver.passes_over(chunk):
            is_last = chunk.offset + len(chunk.body) == chunk.total
            if is_last and receiver.is_expected(chunk.digest):
                # Asked for again while it was on its way, which does not begin it anew.
                self._send(Want(((chunk.digest, 0),)))
            self._consumed(receiver, len(chunk.body))
        else:
            piece = receiver.take(chunk)
            opening = partial(self._open, chunk.digest, chunk.digest in self._toolchains)
            self._arrivals.take(piece, opening, partial(self._through, receiver, piece))

    def no_more_of(self, digest: Digest) -> None:
        """The broker has no more of this blob."""
        if self._arrivals.drop(digest):
            self._receiver.forget(digest)
            self._handle(BlobFailed(digest, "the broker cannot supply it", Fault.INPUT))

    def _open(self, digest: Digest, is_toolchain: bool, start: bytes) -> Arrival:
        """Where a blob arrives whose frame begins so. On the arrivals' worker."""
        if is_toolchain:
            self._workshop.toolchains.check_room(frame_size(start))
            return self._workshop.frames.arrival(digest, MAX_TOOLCHAIN_BYTES)
        return self._workshop.inputs.arrival(digest, MAX_BLOB_BYTES)

    def _through(
        self, receiver: Receiver, piece: Piece, is_stored: bool, error: Exception | None
    ) -> None:
        """A piece has been taken in, or has come to nothing."""
        if error is not None:
            fault, detail = noted(error, f"a blob, {short(piece.digest)}, is not taken")
            self._receiver.give_up(piece.digest)
            if fault is Fault.PAUSED:
                self._no_room(detail)
            self._handle(BlobFailed(piece.digest, detail, fault))
        elif is_stored:
            self._handle(BlobArrived(piece.digest))
        self._consumed(receiver, len(piece.data))

    def _consumed(self, receiver: Receiver, size_bytes: int) -> None:
        if receiver is not self._receiver:
            return  # of a session that is over, and its credit with it
        grant = receiver.consumed(size_bytes)
        if grant is not None:
            self._send(grant)
