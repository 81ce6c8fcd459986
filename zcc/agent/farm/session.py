"""The agent's conversation with the broker: one session, uploads on demand, results with their outputs.

Owns the link's state (who spoke last, credit both ways) and nothing of what the jobs mean.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

import zmq

from cache.digest import Digest
from zcc import __version__, codec
from zcc.agent.farm.arrivals import OutputFrames
from zcc.agent.farm.showing import Showing
from zcc.errors import OtherProtocolError, ProtocolError, UnknownKindError
from zcc.farm import Access
from zcc.job import FileInput
from zcc.link import DealerLink
from zcc.messages import (
    BEAT_S,
    LOST_AFTER_S,
    Absent,
    Beat,
    Busy,
    Bye,
    Cancel,
    Chunk,
    Credit,
    Finished,
    Hello,
    Message,
    Nodes,
    Placed,
    Refused,
    Submit,
    Unknown,
    Voided,
    Want,
    Welcome,
    Who,
)
from zcc.newer import NewerPeer
from zcc.reasons import Reason
from zcc.transfer import Receiver, Sender

logger = logging.getLogger(__name__)

# What people read of a key that the broker does not take, and what to do then.
REVOKED = "this key was revoked, or the broker has lost it"
AFTER_REVOKED = "zcc leave --local, then zcc join TOKEN; compiles run here meanwhile"
# A broker that is there answers within a round trip or two; a first compile waits no longer for one.
FIRST_ANSWER_S = 3.0
# Outputs whose arrival is remembered until their Finished asks for it.
MAX_ARRIVALS = 4096


class Listener(Protocol):
    """Who is told what comes from the farm."""

    def farm_opened(self) -> None: ...
    def farm_closed(self, reason: Reason) -> None: ...
    def job_finished(self, message: Finished) -> None: ...
    def job_refused(self, ticket: int, reason: str) -> None: ...
    def job_begins(self, ticket: int, expected_s: float) -> None: ...
    def broker_answered(self, answer: Nodes | Placed | Unknown) -> None: ...
    def results_voided(self, message: Voided) -> None: ...


class FarmSession:
    """One session with the broker that `access` names; says Hello again whenever it is lost.

    `read` supplies the stretch of a blob's frame that the farm lacks, `path_of` says where an input lies.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        access: Access,
        name: str,
        listener: Listener,
        read: Callable[[Digest, int, int], tuple[bytes, int] | None],
        path_of: Callable[[Digest], bytes | None],
    ) -> None:
        self.is_open = False
        # What the listener was told last, or expects at first; and why it is not open, if it was told that.
        self._is_announced = True
        self._told_reason = ""
        # How many of this user's jobs the farm runs at a time, as it said last; None: it has not yet.
        self.share: int | None = None
        self.bytes_sent = 0
        self.bytes_received = 0
        self.outputs = OutputFrames()
        self.access = access
        self._name = name
        self._listener = listener
        self._read = read
        self._session = os.urandom(16)
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._loop.time() + FIRST_ANSWER_S - LOST_AFTER_S
        self._refusal = ""
        self._newer = NewerPeer("the broker")
        self._showing = Showing(self._send, path_of)
        self._reset()
        # For how long there has been something to send, and since when there is.
        self._sent_s = 0.0
        self._sending_since_s: float | None = None
        self._arrivals: OrderedDict[Digest, float] = OrderedDict()
        self._link = DealerLink(
            context,
            access.endpoint,
            access.broker_public,
            access.keys,
            self._received,
            self._greeted,
        )
        self._beating = self._loop.call_soon(self._beat)

    def close(self, reason: str) -> None:
        self._beating.cancel()
        self._showing.close()
        self._send(Bye(reason))
        self._link.close()

    def submit(self, message: Submit, inputs: Iterable[FileInput]) -> None:
        """Hand a job over; while the session is being resumed, `farm_opened` has it said again."""
        if self.is_open:
            self._showing.submit(message, inputs)

    def cancel(self, ticket: int) -> None:
        if self.is_open and not self._showing.void(ticket):
            self._send(Cancel(ticket))

    def ask(self, message: Message) -> bool:
        """Send a question; False when there is no connection."""
        return self.is_open and self._send(message)

    @property
    def refusal(self) -> str:
        """Why the broker would not have this session; empty when it has not said no."""
        return self._refusal

    @property
    def is_dialling(self) -> bool:
        """Whether it has just begun, and the broker may yet answer."""
        return self._is_announced and not self.is_open

    @property
    def sending_s(self) -> float:
        """For how long, all in all, this session had blobs to send."""
        since_s = self._sending_since_s
        return self._sent_s + (0.0 if since_s is None else self._loop.time() - since_s)

    def first_arrival(self, digests: Iterable[Digest]) -> float | None:
        """When the first chunk of these came; None when that is not known. The loop's time."""
        return min((at for d in digests if (at := self._arrivals.pop(d, None))), default=None)

    def _reset(self) -> None:
        self._sender = Sender()
        self._receiver = Receiver(takes_pushes=True)
        self._parts: dict[Digest, bytearray] = {}

    def _send(self, message: Message) -> bool:
        frames = codec.encode(message)
        sent = self._link.send(frames)
        if sent:
            self.bytes_sent += sum(map(len, frames))
        return sent

    def _hello(self) -> None:
        access = self.access
        self._send(
            Hello(self._session, access.role, access.farm, self._name, __version__, 0, (), ())
        )

    def _beat(self) -> None:
        self._beating = self._loop.call_later(BEAT_S, self._beat)
        if self._link.is_receiving():
            self._heard_s = self._loop.time()
        if self._is_announced and self._loop.time() - self._heard_s > LOST_AFTER_S:
            self._lose(Reason.BROKER_SILENT)
        if self.is_open:
            self._send(Beat(0.0))
        else:
            self._hello()

    def _greeted(self, is_member: bool) -> None:
        """The broker has taken our key, or has turned it away."""
        if is_member:
            self._refusal = ""
        else:
            self._refusal = REVOKED
            self._lose(Reason.KEY_REVOKED)

    def _lose(self, reason: Reason) -> None:
        self._suspend()
        self.share = None
        if self._is_announced or (self._refusal and reason != self._told_reason):
            self._is_announced = False
            self._told_reason = reason
            logger.warning("lost the farm (%s): dialling again", reason)
            self._listener.farm_closed(reason)

    def _suspend(self) -> None:
        """What was under way is void, but the broker is there: Hello, and all is said again."""
        if self.is_open:
            self.is_open = False
            self._reset()
            self._showing.suspend()
            self._note_sending()

    def _received(self, frames: list[bytes]) -> None:
        self._heard_s = self._loop.time()
        self.bytes_received += sum(map(len, frames))
        try:
            self._take(codec.decode(frames))
        except UnknownKindError as error:
            self._newer.note(error.kind)
        except ProtocolError as error:
            logger.error("the broker sent what it must not: %s", error)
            if isinstance(error, OtherProtocolError):
                self._refusal = str(error)
            self._lose(Reason.PROTOCOL_ERROR)

    def _take(self, message: Message) -> None:
        match message:
            case Chunk():
                self._take_chunk(message)
            case Want(blobs):
                for digest, offset in blobs:
                    self._sender.offer(digest, offset)
                self._note_sending()
                self._pump()
            case Credit(amount_bytes):
                self._sender.add_credit(amount_bytes)
                self._pump()
            case Finished():
                self._showing.answered(message.ticket)
                self._listener.job_finished(message)
            case Refused(0, reason):
                self._refusal = reason
                logger.error("the broker refuses this session: %s", reason)
                self._lose(Reason.SESSION_REFUSED)
            case Refused(ticket, reason):
                self._showing.void(ticket)
                self._listener.job_refused(ticket, reason)
            case Welcome():
                self._newer.note_release(message.version)
                self._welcomed(message.holding_key)
            case Who():
                self._suspend()
                self._hello()
            case Bye("revoked"):
                self._greeted(False)
            case Bye():
                self._lose(Reason.BROKER_STOPPED)
            case Nodes() | Placed() | Unknown():
                self._listener.broker_answered(message)
            case Voided():
                self._listener.results_voided(message)
            case Absent(digest):
                self._receiver.forget(digest)
                self._parts.pop(digest, None)
            case Busy(ticket, expected_s):
                self._listener.job_begins(ticket, expected_s)
            case Beat(_, _, offer):
                self.share = offer.slots if offer is not None else self.share

    def _welcomed(self, holding_key: bytes) -> None:
        if not self.is_open:
            self._reset()
            self._showing.welcomed(holding_key)
            self._refusal = self._told_reason = ""
            self.is_open = self._is_announced = True
            self._listener.farm_opened()

    def _pump(self) -> None:
        for message in self._sender.pump(self._read):
            self._send(message)
        self._note_sending()

    def _note_sending(self) -> None:
        if len(self._sender) and self._sending_since_s is None:
            self._sending_since_s = self._loop.time()
        elif not len(self._sender) and self._sending_since_s is not None:
            self._sent_s = self.sending_s
            self._sending_since_s = None

    def _take_chunk(self, chunk: Chunk) -> None:
        piece = self._receiver.take(chunk)
        if piece.offset == 0:
            self._parts[piece.digest] = bytearray()
            self._arrivals[piece.digest] = self._heard_s
            if len(self._arrivals) > MAX_ARRIVALS:
                self._arrivals.popitem(last=False)
        self._parts[piece.digest] += piece.data
        if piece.is_last:
            self.outputs.put(piece.digest, bytes(self._parts.pop(piece.digest)))
        grant = self._receiver.consumed(len(piece.data))
        if grant is not None:
            self._send(grant)
