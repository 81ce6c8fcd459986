"""The helper's conversation with the broker: ccache's values in pieces, over the member's own key.

A session like an agent's, without jobs. Owns the requests that wait for answers; when the session is lost they
fail at once, for a compile waits behind each. `zcc/membership.py` decides whether the session stands.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

import zmq

from cache.digest import digest_of
from zcc import __version__, codec
from zcc.dialling import Dialler
from zcc.errors import ZccError
from zcc.farm import Access, first_endpoint
from zcc.link import DealerLink
from zcc.membership import (
    BeatDue,
    FramesCame,
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
    CHUNK_BYTES,
    STORAGE_WINDOW,
    Hello,
    Message,
    StorageEnd,
    StorageGet,
    StorageMore,
    StoragePut,
    StorageRemove,
    StorageValue,
    Unknown,
)
from zcc.reasons import Reason

logger = logging.getLogger(__name__)

# A broker that is there has answered by then; ccache itself waits 10 s for a helper to start.
FIRST_ANSWER_S = 2.0
# An answer that takes longer is none. ccache gives a request 10 s on the whole.
ANSWER_S = 8.0
# Before the handshake is over the link takes nothing.
_HELLO_AGAIN_S = 0.005
# What is said to people of a session that is lost.
_SILENT = "the broker does not answer"
_LOST_BY = {
    Reason.BROKER_SILENT: _SILENT,
    Reason.BROKER_STOPPED: "the broker stops",
    Reason.KEY_REVOKED: "this key was revoked",
}


class FarmAwayError(ZccError):
    """The farm cannot be asked now: ccache goes on without it."""


class StorageSession:
    """One session with the broker that `access` names, in a running loop."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], access: Access, name: str) -> None:
        self.state = _SILENT  # for people, while the session is not open
        self._loop = asyncio.get_running_loop()
        self._opened = asyncio.Event()
        now = self._loop.time()
        self._patience_until_s = now + FIRST_ANSWER_S
        hello = Hello(os.urandom(16), access.role, access.farm, name, __version__, 0, (), ())
        self._member = MemberSession(hello, now)
        self._last_ticket = 0
        self._waiting: dict[int, asyncio.Queue[Message | None]] = {}
        self._link = DealerLink(
            context, first_endpoint(access), access.broker_public, access.keys, self._received
        )
        self._dialler = Dialler(access, self._link.dial)
        self._beating = self._loop.call_soon(self._beat)

    @property
    def is_open(self) -> bool:
        return self._member.is_open

    def close(self) -> None:
        self._beating.cancel()
        self._dialler.close()
        self._tell(LeaveAsked("the helper leaves"))
        self._lose("the helper leaves")
        self._link.close()

    # ---- requests ------------------------------------------------------------------------------

    async def get(self, key: bytes) -> bytes | None:
        """The value of a key, checked; None when there is none.

        Raises:
            FarmAwayError: nobody could be asked.
        """
        await self._wait_open()
        with self._ticket() as (ticket, answers):
            self._ask(StorageGet(ticket, key, 0))
            first = await self._answer(answers)
            if not isinstance(first, StorageValue):
                return None
            parts = bytearray(first.body)
            offsets = iter(range(len(parts), first.total, CHUNK_BYTES))
            asked = 0
            while len(parts) < first.total:
                for offset in offsets:
                    self._ask(StorageGet(ticket, key, offset))
                    asked += 1
                    if asked == STORAGE_WINDOW:
                        break
                piece = await self._answer(answers)
                asked -= 1
                if not _continues(piece, first, len(parts)):
                    return None  # another value has taken its place meanwhile
                assert isinstance(piece, StorageValue)
                parts += piece.body
        data = bytes(parts)
        if digest_of(data) != first.digest:
            logger.warning("the value of %s came damaged", key.hex())
            return None
        return data

    async def put(self, key: bytes, value: bytes, is_overwriting: bool) -> bool:
        """Store a value; False when the broker would not have it.

        Raises:
            FarmAwayError: nobody could be asked.
        """
        await self._wait_open()
        digest, total = digest_of(value), len(value)
        with self._ticket() as (ticket, answers):
            under_way = 0
            for offset in range(0, total, CHUNK_BYTES):
                if under_way == STORAGE_WINDOW or offset == CHUNK_BYTES:
                    # The first piece's answer says whether the others are wanted.
                    answer = await self._answer(answers)
                    if isinstance(answer, StorageEnd):
                        return answer.is_done
                    under_way -= 1
                body = value[offset : offset + CHUNK_BYTES]
                self._ask(StoragePut(ticket, key, is_overwriting, digest, offset, total, body))
                under_way += 1
            while True:
                answer = await self._answer(answers)
                if isinstance(answer, StorageEnd):
                    return answer.is_done

    async def remove(self, key: bytes) -> bool:
        """Whether there was one, and it is gone. Raises FarmAwayError."""
        await self._wait_open()
        with self._ticket() as (ticket, answers):
            self._ask(StorageRemove(ticket, key))
            answer = await self._answer(answers)
            return isinstance(answer, StorageEnd) and answer.is_done

    async def exists(self, key: bytes) -> bool:
        """Whether there is a value of this key. Raises FarmAwayError."""
        await self._wait_open()
        with self._ticket() as (ticket, answers):
            self._ask(StorageGet(ticket, key, 0))
            return isinstance(await self._answer(answers), StorageValue)

    async def _wait_open(self) -> None:
        """Only a helper that has just begun waits; who comes later learns at once that nobody is there."""
        left_s = self._patience_until_s - self._loop.time()
        if not self.is_open and left_s > 0:
            try:
                async with asyncio.timeout(left_s):
                    await self._opened.wait()
            except TimeoutError:
                pass
        if not self.is_open:
            raise FarmAwayError(self.state)

    @contextmanager
    def _ticket(self) -> Iterator[tuple[int, asyncio.Queue[Message | None]]]:
        self._last_ticket += 1
        ticket = self._last_ticket
        answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._waiting[ticket] = answers
        try:
            yield ticket, answers
        finally:
            del self._waiting[ticket]

    def _ask(self, message: Message) -> None:
        if not self._send(message):
            raise FarmAwayError("the connection to the broker is broken")

    async def _answer(self, answers: asyncio.Queue[Message | None]) -> Message:
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await answers.get()
        except TimeoutError as error:
            raise FarmAwayError("the broker takes too long") from error
        if answer is None:
            raise FarmAwayError(self.state)
        return answer

    # ---- the session ---------------------------------------------------------------------------

    def _send(self, message: Message) -> bool:
        return self._link.send(codec.encode(message))

    def _beat(self) -> None:
        self._beating = self._loop.call_later(BEAT_S, self._beat)
        self._tell(BeatDue(self._link.is_receiving()))
        self._dialler.beat(self.is_open)

    def _received(self, frames: list[bytes]) -> None:
        self._tell(FramesCame(frames))

    def _tell(self, event: MemberEvent) -> None:
        for effect in self._member.handle(event, self._loop.time()):
            self._do(effect)

    def _do(self, effect: MemberEffect) -> None:
        match effect:
            case Take(message):
                self._take(message)
            case Say(message):
                is_hello_lost = not self._send(message) and isinstance(message, Hello)
                if is_hello_lost and self._loop.time() < self._patience_until_s:
                    self._beating.cancel()
                    self._beating = self._loop.call_later(_HELLO_AGAIN_S, self._beat)
            case Opened():
                self._opened.set()
            case Suspended():
                self._lose("the broker was restarted")
            case Lost(Reason.SESSION_REFUSED, detail):
                self._patience_until_s = 0.0
                self._lose(f"the broker refuses this member: {detail}")
                logger.error("%s", self.state)
            case Lost(Reason.PROTOCOL_ERROR, detail):
                logger.error("the broker sent what it must not: %s", detail)
                self._lose("the broker speaks another protocol")
            case Lost(reason):
                self._lose(_LOST_BY[reason])
            case PassOver():
                pass  # of a later release: nothing that was asked for
            case _:
                assert_never(effect)

    def _lose(self, state: str) -> None:
        self._opened.clear()
        self._fail(state)

    def _fail(self, state: str) -> None:
        """Answer all who wait that there is no answer, and why."""
        self.state = state
        for answers in self._waiting.values():
            answers.put_nowait(None)

    def _take(self, message: Message) -> None:
        match message:
            case StorageValue() | StorageMore() | StorageEnd():
                answers = self._waiting.get(message.ticket)
                if answers is not None:
                    answers.put_nowait(message)
            case Unknown():
                self._fail(
                    "the broker does not keep ccache's values: it is older than this program"
                )
            case _:
                pass  # Beat


def _continues(piece: Message, first: StorageValue, offset: int) -> bool:
    return (
        isinstance(piece, StorageValue)
        and (piece.digest, piece.total, piece.offset) == (first.digest, first.total, offset)
        and 0 < len(piece.body) <= first.total - offset
    )
