"""The agent's conversation with the broker: one session, uploads on demand, results with their outputs.

Owns the link and the credit both ways, and nothing of what the jobs mean. `zcc/membership.py` decides whether
the session stands.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol, assert_never

import zmq

from cache.digest import Digest
from zcc import __version__, codec
from zcc.agent.farm.arrivals import OutputFrames
from zcc.agent.farm.showing import Showing
from zcc.dialling import Dialler
from zcc.errors import ProtocolError
from zcc.farm import Access, first_endpoint
from zcc.job import FileInput
from zcc.link import DealerLink
from zcc.membership import (
    BeatDue,
    BrokerMisspoke,
    FramesCame,
    KeyAnswered,
    LeaveAsked,
    Lost,
    MemberEffect,
    MemberEvent,
    MemberSession,
    Opened,
    PassOver,
    Say,
    Suspended,
    Take,
)
from zcc.messages import (
    BEAT_S,
    Absent,
    Beat,
    Busy,
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
)
from zcc.newer import NewerPeer
from zcc.reasons import Reason
from zcc.transfer import Receiver, Sender

logger = logging.getLogger(__name__)

# What to do about a key that the broker does not take.
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
        # How many of this user's jobs the farm runs at a time, as it said last; None: it has not yet.
        self.share: int | None = None
        # Whether anybody watches the farm, as it said last.
        self.is_watched = False
        self.bytes_sent = 0
        self.bytes_received = 0
        self.outputs = OutputFrames()
        self.access = access
        self._listener = listener
        self._read = read
        self._loop = asyncio.get_running_loop()
        hello = Hello(os.urandom(16), access.role, access.farm, name, __version__, 0, (), ())
        self._member = MemberSession(hello, self._loop.time(), FIRST_ANSWER_S)
        self._newer = NewerPeer("the broker")
        self._showing = Showing(self._send, path_of)
        self._reset()
        # For how long there has been something to send, and since when there is.
        self._sent_s = 0.0
        self._sending_since_s: float | None = None
        self._arrivals: OrderedDict[Digest, float] = OrderedDict()
        self._link = DealerLink(
            context,
            first_endpoint(access),
            access.broker_public,
            access.keys,
            self._received,
            self._greeted,
        )
        self._dialler = Dialler(access, self._link.dial)
        self._beating = self._loop.call_soon(self._beat)

    def close(self, reason: str) -> None:
        self._beating.cancel()
        self._dialler.close()
        self._showing.close()
        self._tell(LeaveAsked(reason))
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
    def is_open(self) -> bool:
        return self._member.is_open

    @property
    def endpoint(self) -> str:
        """Where the broker is dialled; until DNS has said it, the name that it was asked for."""
        return self._dialler.endpoint or self.access.endpoint

    @property
    def refusal(self) -> str:
        """Why the broker would not have this session; empty when it has not said no."""
        return self._member.refusal

    @property
    def is_dialling(self) -> bool:
        """Whether it has just begun, and the broker may yet answer."""
        return self._member.is_awaited

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

    # ---- the session ---------------------------------------------------------------------------

    def _beat(self) -> None:
        self._beating = self._loop.call_later(BEAT_S, self._beat)
        self._tell(BeatDue(self._link.is_receiving()))
        self._dialler.beat(self.is_open)

    def _greeted(self, is_member: bool) -> None:
        if self._dialler.believes(is_member):
            self._tell(KeyAnswered(is_member))

    def _received(self, frames: list[bytes]) -> None:
        self.bytes_received += sum(map(len, frames))
        self._tell(FramesCame(frames))

    def _tell(self, event: MemberEvent) -> None:
        now = self._loop.time()
        try:
            for effect in self._member.handle(event, now):
                self._do(effect, now)
        except ProtocolError as error:
            self._tell(BrokerMisspoke(error))

    def _do(self, effect: MemberEffect, now: float) -> None:
        match effect:
            case Take(message):
                self._take(message, now)
            case Say(message):
                self._send(message)
            case Opened(welcome):
                self._newer.note_release(welcome.version)
                self._reset()
                self._showing.welcomed(welcome.holding_key)
                self._listener.farm_opened()
            case Suspended():
                self._suspend()
            case Lost():
                self._lose(effect)
            case PassOver(kind):
                self._newer.note(kind)
            case _:
                assert_never(effect)

    def _suspend(self) -> None:
        """What was under way is void."""
        self._reset()
        self._showing.suspend()
        self._note_sending()

    def _lose(self, lost: Lost) -> None:
        self._suspend()
        self.share, self.is_watched = None, False
        detail = f": {lost.detail}" if lost.detail else ""
        logger.warning("lost the farm (%s%s): dialling again", lost.reason, detail)
        self._listener.farm_closed(lost.reason)

    # ---- jobs ----------------------------------------------------------------------------------

    def _take(self, message: Message, now: float) -> None:
        match message:
            case Chunk():
                self._take_chunk(message, now)
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
            case Refused(ticket, reason):
                self._showing.void(ticket)
                self._listener.job_refused(ticket, reason)
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
                self.is_watched = message.is_watched

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

    def _take_chunk(self, chunk: Chunk, now: float) -> None:
        piece = self._receiver.take(chunk)
        if piece.offset == 0:
            self._parts[piece.digest] = bytearray()
            self._arrivals[piece.digest] = now
            if len(self._arrivals) > MAX_ARRIVALS:
                self._arrivals.popitem(last=False)
        self._parts[piece.digest] += piece.data
        if piece.is_last:
            self.outputs.put(piece.digest, bytes(self._parts.pop(piece.digest)))
        grant = self._receiver.consumed(len(piece.data))
        if grant is not None:
            self._send(grant)
