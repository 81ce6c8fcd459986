"""The store's end of all bulk: chunks into it, under credit, and reads out of it.

Owns the open files and each peer's receiver; `unfinished.py` has what has arrived in part. Knows
nothing of jobs: it is told what to ask for, and reports what has arrived or cannot arrive. What goes out is
`deliveries.py`'s.

An upload that breaks off is kept for a while and continued by the same key's agent that is asked next; if that
one's frame turns out to be another (another zstd, another level), it is asked for anew from the start. Keys
upload apart from each other, and what the store holds already as well: what one key is asked for tells it
nothing of what others have sent.

A blob of several chunks that begins while its key has too many under way passes by, and is asked for anew. So
the memory and the files of a key's uploads are bounded, and none of its jobs fails for it. Likewise for a key
whose frames held far more than their size: what begins then passes by, and is asked for anew later.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from broker.core.allowance import Allowance
from broker.core.events import (
    BlobSpoiled,
    BlobStored,
    BlobUnstorable,
    Event,
    PeerUnreachable,
    UploadStalled,
)
from broker.core.limits import (
    CROSSING_S,
    MAX_OPEN_BLOBS,
    MAX_PUT_OFF,
    MAX_TOOLCHAINS,
    REREAD_S,
    UNPACKED_BURST_BYTES,
    UNPACKED_BYTES_PER_S,
    UNPACKED_SHARE,
)
from broker.core.rating import Rating, UploadPace
from broker.transport.pushes import Pushes
from broker.transport.recent import Recent
from broker.transport.unfinished import Unfinished, Upload
from cache.blobs import BlobStore, open_stored
from cache.digest import Digest
from cache.errors import BlobCorruptError
from cache.whole import MAX_AT_ONCE_BYTES, whole
from zcc.errors import ProtocolError
from zcc.messages import Chunk, Message, PeerRole, Want
from zcc.transfer import Piece, Receiver

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Peer:
    route: bytes
    role: PeerRole
    user: str
    receiver: Receiver
    opened_at: float
    progress_at: float
    rating: Rating
    # What a node pushes; None for others.
    pushes: Pushes | None = None


class Traffic:
    """`send(route, message)` says whether it goes; `report` gets events for the machine."""

    def __init__(
        self,
        store: BlobStore,
        send: Callable[[bytes, Message], bool],
        report: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._send = send
        self._report = report
        self._peers: dict[bytes, Peer] = {}
        self._unfinished = Unfinished(store)
        self._unpacking = Allowance(UNPACKED_BURST_BYTES, UNPACKED_BYTES_PER_S)
        self._put_off: dict[
            tuple[str, Digest], None
        ] = {}  # to be asked for anew when their key may unpack
        self._known: set[Digest] = set()
        self._frame_bytes: dict[Digest, int] = {}  # of toolchains
        self._files: OrderedDict[Digest, int] = OrderedDict()
        self._recent = Recent()
        self.last_disk_fault_at = -math.inf

    # --- peers --------------------------------------------------------------------------------

    def is_open(self, route: bytes) -> bool:
        return route in self._peers

    def role_on(self, route: bytes) -> PeerRole | None:
        """What the session on this route is; None where there is none."""
        peer = self._peers.get(route)
        return None if peer is None else peer.role

    def open(self, route: bytes, role: PeerRole, user: str, now: float) -> None:
        self.close(route, now)
        peer = self._peers[route] = Peer(route, role, user, Receiver(), now, now, Rating(now))
        if role is PeerRole.NODE:
            peer.pushes = Pushes(self._store, self._recent.put)

    def close(self, route: bytes, now: float) -> None:
        peer = self._peers.pop(route, None)
        if peer is None:
            return
        if peer.pushes is not None:
            peer.pushes.close()
        self._unfinished.left(route, now)

    # --- the store ----------------------------------------------------------------------------

    def has(self, digest: Digest) -> bool:
        """Whether the store holds this blob; what was seen there once is taken to be there."""
        if digest in self._known:
            return True
        if self._store.has(digest):
            self._known.add(digest)
            return True
        return False

    def frame_bytes(self, digest: Digest) -> int:
        """How long the frame of this toolchain is, as it was when it was first asked for; 0: it is not here."""
        size_bytes = self._frame_bytes.get(digest, 0)
        if not size_bytes and digest in self._known:
            with contextlib.suppress(OSError):
                size_bytes = os.stat(self._store.path_of(digest)).st_size
            if len(self._frame_bytes) >= MAX_TOOLCHAINS:
                self._frame_bytes.clear()
            self._frame_bytes[digest] = size_bytes
        return size_bytes

    def has_now(self, digest: Digest) -> bool:
        """The same by a look at the disk: files may vanish at any moment."""
        if self._store.has(digest):
            self._known.add(digest)
            return True
        self.forget(digest)
        return False

    def reread(self, digests: Sequence[Digest]) -> int:
        """Rotten ones of these leave the store; how many have been read, at least one, when time was up.

        Safe in a thread: what was remembered is forgotten before.
        """
        until_s = time.monotonic() + REREAD_S
        for count, digest in enumerate(digests, 1):
            try:
                self._store.check(digest)
            except BlobCorruptError:
                self._store.remove(digest)
            except OSError:
                pass
            if time.monotonic() >= until_s:
                return count
        return len(digests)

    def use(self, digests: Iterable[Digest]) -> None:
        """Note that these blobs were used: they are not the next to be evicted."""
        for digest in digests:
            self._store.touch(digest)

    def look_again(self) -> None:
        """Blobs have left the store: none is taken to be there any more."""
        self._known.clear()

    def close_files(self) -> None:
        for route in list(self._peers):
            self.close(route, 0.0)
        self._unfinished.drop_all()
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()

    def forget(self, digest: Digest) -> None:
        """Do not take this blob to be here, or to be what it was."""
        self._known.discard(digest)
        self._frame_bytes.pop(digest, None)
        self._recent.forget(digest)
        handle = self._files.pop(digest, None)
        if handle is not None:
            os.close(handle)

    def read(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int] | None:
        """A stretch of a blob's frame, and the whole frame's length; None: it is not to be had."""
        # From the beginning only, all of it: two may have packed the same blob in two ways.
        frame = None if offset else self._recent.get(digest)
        if frame is not None and len(frame) <= length:
            return frame[offset : offset + length], len(frame)
        try:
            handle = self._file(digest)
            return os.pread(handle, length, offset), os.fstat(handle).st_size
        except OSError:
            self.forget(digest)
            return None

    def _file(self, digest: Digest) -> int:
        handle = self._files.get(digest)
        if handle is None:
            handle = open_stored(self._store.path_of(digest))
            self._store.touch(digest)
            self._files[digest] = handle
            if len(self._files) > MAX_OPEN_BLOBS:
                os.close(self._files.popitem(last=False)[1])
        self._files.move_to_end(digest)
        return handle

    def _say(self, route: bytes, message: Message) -> None:
        if not self._send(route, message):
            self._report(PeerUnreachable(route))

    # --- in -----------------------------------------------------------------------------------

    def ask(self, route: bytes, digests: Iterable[Digest], now: float) -> None:
        """Say Want to an agent, each blob from where its upload broke off."""
        peer = self._peers.get(route)
        if peer is None:
            return
        wanted = []
        for digest in digests:
            if peer.receiver.is_expected(digest):
                continue  # it is on its way
            place = (peer.user, digest)
            upload = self._unfinished.get(place)
            if upload is not None and upload.is_useless:
                self._unfinished.drop(place)
                upload = None
            offset = 0
            if upload is not None:
                offset = upload.arrival.received_bytes
                upload.is_mixed |= upload.owner != route and offset > 0
                upload.owner = route
            peer.receiver.expect(digest, offset)
            wanted.append((digest, offset))
        peer.progress_at = now
        if wanted:
            self._say(route, Want(tuple(wanted)))

    def expect_pushes(
        self, route: bytes, lease: bytes, outputs: Iterable[Digest], is_wanted: bool
    ) -> None:
        """A node will push these for a lease; unless `is_wanted` they pass by."""
        peer = self._peers.get(route)
        if peer is None or peer.pushes is None:
            return
        begun, forgotten = peer.pushes.announce(lease, outputs, is_wanted)
        for digest in begun:
            peer.receiver.expect(digest)
        for digest in forgotten:
            peer.receiver.forget(digest)

    def keep_pushes(self, route: bytes, lease: bytes, outputs: Iterable[Digest]) -> int | None:
        """A lease's Done names these: they enter the store, what else was pushed for it goes. What they are
        together, uncompressed; None: not all were pushed for it."""
        peer = self._peers.get(route)
        wanted = set(outputs)
        if peer is None or peer.pushes is None:
            return None if wanted else 0
        try:
            kept = peer.pushes.keep(lease, wanted)
        except OSError as error:
            self._note_disk_fault(peer, error)
            return None
        for digest in kept:
            self._note_stored(digest)
        return sum(kept.values()) if len(kept) == len(wanted) else None

    def drop_pushes(self, route: bytes, lease: bytes) -> None:
        """The lease is over: nothing that was pushed for it is kept."""
        peer = self._peers.get(route)
        if peer is not None and peer.pushes is not None:
            peer.pushes.end(lease)

    def absent(self, route: bytes, digest: Digest) -> None:
        """The peer will not send this blob."""
        peer = self._peers.get(route)
        if peer is not None:
            peer.receiver.forget(digest)
            if peer.pushes is not None:
                peer.pushes.absent(digest)
            upload = self._unfinished.get((peer.user, digest))
            if upload is not None and upload.owner == route:
                upload.leave(peer.progress_at)

    def take(self, route: bytes, chunk: Chunk, now: float) -> None:
        """A chunk from a peer.

        Raises:
            ProtocolError: the peer is at fault: not asked for, out of order, corrupt.
        """
        peer = self._peers[route]
        is_expected = peer.receiver.is_expected(chunk.digest)
        if not is_expected and now - peer.opened_at < CROSSING_S:
            return  # sent before our Welcome reached it
        piece = peer.receiver.take(chunk)
        peer.progress_at = now
        peer.rating.note(len(piece.data), is_last=piece.is_last)
        try:
            if peer.pushes is not None:
                self._take_push(peer, peer.pushes, piece)
            else:
                self._take_upload(peer, piece)
        except BlobCorruptError as error:
            raise ProtocolError(str(error)) from error
        grant = peer.receiver.consumed(len(piece.data))
        if grant is not None:
            self._say(route, grant)

    def tick(self, now: float) -> None:
        """Give up what does not move, ask anew for what had to wait."""
        for user, digest in list(self._put_off):
            if self._unpacking.left(user, now) > 0:
                del self._put_off[user, digest]
                self._report(BlobSpoiled(digest, user))
        for peer in list(self._peers.values()):
            if peer.role is PeerRole.CLIENT and len(peer.receiver):
                pace = peer.rating.judge(now)
                if pace is not UploadPace.GOOD:
                    self._report(UploadStalled(peer.route, is_moving=pace is UploadPace.SLOW))
            else:
                peer.progress_at = now
                peer.rating.begin(now)
        for user, digest in self._unfinished.let_go(now):
            self._report(BlobUnstorable(digest, user))

    def uploads(self) -> Iterator[tuple[str, Digest, int, int]]:
        """Blobs on their way from agents: whose, which, and how many bytes of how many have come."""
        for (user, digest), upload in self._unfinished.items():
            yield user, digest, upload.arrival.received_bytes, upload.total

    def _take_push(self, peer: Peer, pushes: Pushes, piece: Piece) -> None:
        """A node's output."""
        try:
            pushes.take(piece)
        except OSError as error:
            self._note_disk_fault(peer, error)

    def _take_upload(self, peer: Peer, piece: Piece) -> None:
        """An agent's input or toolchain."""
        if self._take_whole(peer, piece):
            return
        upload = self._upload_for(peer, piece)
        if upload is None:
            if piece.is_last:
                self._ask_anew(peer, piece.digest)
            return
        if piece.offset and upload.total and upload.total != piece.total:
            upload.is_useless = True  # another frame of the same blob: it cannot be continued
        upload.total = piece.total
        if not upload.is_useless:
            self._feed(peer, piece, upload)
        elif piece.is_last:
            self._unfinished.drop((peer.user, piece.digest))
            self._report(BlobSpoiled(piece.digest, peer.user))

    def _take_whole(self, peer: Peer, piece: Piece) -> bool:
        """Decode a blob of one piece at once, if it is small, its key may unpack and nobody has begun it."""
        if not piece.is_last or piece.offset or (peer.user, piece.digest) in self._unfinished:
            return False
        if self._unpacking.left(peer.user, peer.progress_at) <= 0:
            return False
        try:
            blob = whole(self._store, piece.digest, piece.data)
        except BlobCorruptError:
            self._note_unpacked(peer, piece, MAX_AT_ONCE_BYTES)
            raise
        if blob is None:
            return False
        self._note_unpacked(peer, piece, blob.plain_bytes)
        try:
            blob.keep()
        except OSError as error:
            self._note_disk_fault(peer, error)
            self._report(BlobUnstorable(piece.digest, peer.user))
            return True
        self._recent.put(piece.digest, blob.frame)
        self._note_stored(piece.digest, peer.user)
        return True

    def _note_unpacked(self, peer: Peer, piece: Piece, unpacked_bytes: int) -> None:
        beyond_bytes = unpacked_bytes - UNPACKED_SHARE * len(piece.data)
        if beyond_bytes > 0:
            self._unpacking.use(peer.user, beyond_bytes, peer.progress_at)

    def _ask_anew(self, peer: Peer, digest: Digest) -> None:
        """A blob has passed by: now, or once its key may unpack more."""
        has_left = self._unpacking.left(peer.user, peer.progress_at) > 0
        if has_left or len(self._put_off) >= MAX_PUT_OFF:
            self._report(BlobSpoiled(digest, peer.user))
        else:
            self._put_off[peer.user, digest] = None

    def _feed(self, peer: Peer, piece: Piece, upload: Upload) -> None:
        place = (peer.user, piece.digest)
        before_bytes = upload.arrival.plain_bytes
        try:
            upload.arrival.feed(piece.data)
            if piece.is_last:
                upload.arrival.finish()
        except BlobCorruptError:
            if not upload.is_mixed:
                self._unfinished.drop(place)
                raise
            upload.is_useless = True
            if piece.is_last:
                self._unfinished.drop(place)
                self._report(BlobSpoiled(piece.digest, peer.user))
            return
        except OSError as error:
            self._note_disk_fault(peer, error)
            self._unfinished.drop(place)
            self._report(BlobUnstorable(piece.digest, peer.user))
            return
        finally:
            self._note_unpacked(peer, piece, upload.arrival.plain_bytes - before_bytes)
        if piece.is_last:
            self._unfinished.end(place)
            self._note_stored(piece.digest, peer.user)

    def _upload_for(self, peer: Peer, piece: Piece) -> Upload | None:
        """Where the piece belongs; None when it only passes by (another was asked since, ...)."""
        place = (peer.user, piece.digest)
        upload = self._unfinished.get(place)
        if upload is None and piece.offset == 0:
            if self._unpacking.left(peer.user, peer.progress_at) <= 0:
                return None
            try:
                upload = self._unfinished.begin(
                    place, peer.route, piece.data, is_whole=piece.is_last
                )
            except OSError as error:
                self._note_disk_fault(peer, error)
                self._report(BlobUnstorable(piece.digest, peer.user))
        return upload if upload is not None and upload.owner == peer.route else None

    def _note_disk_fault(self, peer: Peer, error: OSError) -> None:
        self.last_disk_fault_at = peer.progress_at
        logger.warning("the blob store cannot write: %s", error.strerror)

    def _note_stored(self, digest: Digest, user: str = "") -> None:
        self._known.add(digest)
        self._report(BlobStored(digest, user))
