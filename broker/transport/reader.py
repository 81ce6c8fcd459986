"""Reads Submits and Dones: at once what is small, else by a worker process, in the payers' turns.

Owns the intake, the worker and what is known of the blobs that keys show to hold. Must not know what a job or a
result means for the farm: `take` is told what was read, of each payer in the order in which it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

import msgpack

from broker.core.events import Origin
from broker.core.limits import (
    AT_ONCE_BYTES,
    AT_ONCE_BYTES_A_SECOND_OF_LOOP,
    MAX_JUDGED_AT_ONCE,
    MAX_SHOWN_VALUES,
)
from broker.core.shares import Shares
from broker.errors import ReaderFullError, WorkerLostError
from broker.transport.heads import (
    JobHead,
    ResultHead,
    read_job,
    read_result,
    shown_values,
    split_digests,
)
from broker.transport.intake import Intake, Ticket, Unread
from broker.transport.worker import LENGTH
from cache.digest import Digest
from cache.errors import BlobCorruptError
from cache.frame import frame_size
from zcc.errors import ProtocolError
from zcc.holding import unpack_shown
from zcc.job import MAX_JOB_BYTES, MAX_RESULT_BYTES
from zcc.messages import Done, Message, Submit

logger = logging.getLogger(__name__)


# In place of what shows that one holds a blob: nothing does, and it need not be read again to see that.
TOO_LARGE = b""
# What a message takes while it waits, beside its body and what it shows.
UNREAD_BYTES = 500

Head = JobHead | ResultHead | None
# Origin, message, what was read of it, and the blobs that were shown with it.
Take = Callable[[Origin, Message, Head, tuple[Digest, ...]], None]
Fail = Callable[[Origin, Message, Exception], None]


class Worker:
    """One process, started when it is first needed and again when it has died.

    A thread talks to it: that waits for pipes nearly all the time, and needs no loop to be let go of.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # of the process, while it is asked or ended
        self._is_closed = False

    async def ask(self, request: list[object]) -> Any:
        """One answer.

        Raises:
            WorkerLostError: it has died over this, twice.
        """
        return await asyncio.to_thread(self._ask_twice, request)

    def close(self) -> None:
        """End it; whoever is asking hears that it is lost."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._end()

    def _ask_twice(self, request: list[object]) -> Any:
        with self._lock:
            for _ in range(2):
                if self._is_closed:
                    break
                try:
                    return self._ask(request)
                except (OSError, EOFError) as error:
                    self._end()
                    if not self._is_closed:
                        logger.warning("the worker process is gone: %r", error)
        raise WorkerLostError("the broker's worker process has died twice over one message")

    def _ask(self, request: list[object]) -> Any:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        packed = msgpack.packb(request)
        process.stdin.write(LENGTH.pack(len(packed)) + packed)
        process.stdin.flush()
        (length,) = LENGTH.unpack(_read(process.stdout, LENGTH.size))
        return msgpack.unpackb(_read(process.stdout, length))

    def _start(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        # -P: a directory `broker` where we were started is not ours.
        words = (sys.executable, "-P", "-m", "broker.transport.worker", self._directory)
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


def _read(source: IO[bytes], length: int) -> bytes:
    data = source.read(length)
    if len(data) < length:
        raise EOFError("it has closed its output")
    return data


class Reader:
    """`take` gets what was read, `fail` what was not and why: NoRoomError where too much waits."""

    def __init__(
        self,
        directory: str,
        holding_key: bytes,
        clock: Callable[[], float],
        take: Take,
        fail: Fail,
    ) -> None:
        self._intake = Intake()
        self._directory = directory
        self._worker = Worker(directory)
        self._holding_key = holding_key
        self._clock = clock
        self._take = take
        self._fail = fail
        self._values: dict[Digest, bytes] = {}
        self._worked_out_for = Shares[Digest](MAX_SHOWN_VALUES, MAX_SHOWN_VALUES)
        # By route: what is to be taken when all that came before it has been read.
        self._last: dict[bytes, tuple[Origin, Message]] = {}
        self._task: asyncio.Task[None] | None = None
        self._reading: Unread | None = None

    def close(self) -> None:
        """End the worker; what was not read is lost."""
        if self._task is not None:
            self._task.cancel()
        self._worker.close()

    def holds(self, route: bytes, ticket: Ticket | None = None) -> bool:
        """Whether something that came by this route, or came so under this ticket, has not been read."""
        reading = self._reading
        is_read = (
            reading is not None
            and reading.origin.route == route
            and ticket in (None, reading.ticket)
        )
        return is_read or self._intake.holds(route, ticket)

    def read(self, origin: Origin, message: Submit | Done, payer: str) -> None:
        """Read it now or later, in the turn of whoever pays for it."""
        try:
            cost = _cost_of(message)
        except ProtocolError as error:
            self._fail(origin, message, error)
            return
        if (
            cost > AT_ONCE_BYTES
            or self._intake.is_waiting(payer)
            or not self._intake.may_read_at_once(payer, cost, self._clock())
        ):
            self._wait(origin, message, payer, cost)
            return
        head: Head
        shown: tuple[Digest, ...] = ()
        began_s = time.thread_time()
        try:
            if isinstance(message, Done):
                head = read_result(message.body)
            else:
                given = _shown(message.shown) if message.shown else {}
                if not self._may_judge_at_once(payer, given):
                    self._wait(origin, message, payer, cost)
                    return
                shown = self._rightly_shown(given)
                head = read_job(message.body, message.key)
        except ProtocolError as error:
            self._fail(origin, message, error)
            return
        finally:
            self._charge_time(payer, cost, time.thread_time() - began_s)
        self._take(origin, message, head, shown)

    def _charge_time(self, payer: str, cost_bytes: int, taken_s: float) -> None:
        """What has taken longer than its bytes let expect is paid for as well."""
        excess = int(taken_s * AT_ONCE_BYTES_A_SECOND_OF_LOOP) - cost_bytes
        if excess > 0:
            self._intake.spend(payer, excess, self._clock())

    def spend(self, payer: str, cost_bytes: int) -> None:
        """Something has cost this payer more than its message said."""
        self._intake.spend(payer, cost_bytes, self._clock())

    def take_last(self, origin: Origin, message: Message) -> None:
        """Take this message when all that came by its route has been read."""
        self._last[origin.route] = (origin, message)
        self._say_last(origin.route)

    def cancel(self, origin: Origin, ticket: int) -> bool:
        """Nobody waits for this Submit any more; whether it was one that had not been read."""
        dropped = self._intake.drop(origin, ticket)
        reading = self._reading
        if reading is not None and reading.origin == origin and reading.ticket == ticket:
            self._reading, dropped = None, True
        self._say_last(origin.route)
        return dropped

    def forget(self, route: bytes) -> None:
        """The session on this route is over, or begins anew: what came by it is void."""
        self._last.pop(route, None)
        self._intake.drop_route(route)
        if self._reading is not None and self._reading.origin.route == route:
            self._reading = None

    def _wait(self, origin: Origin, message: Submit | Done, payer: str, cost_bytes: int) -> None:
        shown = message.shown if isinstance(message, Submit) else b""
        size = len(message.body) + len(shown) + UNREAD_BYTES
        has_room, lost = self._intake.make_room(payer, size)
        if has_room:
            self._intake.put(Unread(payer, origin, message, size, max(cost_bytes, 1)))
        for item in lost:
            self._fail(item.origin, item.message, ReaderFullError())
            self._say_last(item.origin.route)
        if not has_room:
            self._fail(origin, message, ReaderFullError())
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._task.add_done_callback(raise_failure)

    def _say_last(self, route: bytes) -> None:
        if route in self._last and not self.holds(route):
            origin, message = self._last.pop(route)
            self._take(origin, message, None, ())

    async def _work(self) -> None:
        try:
            while (item := self._intake.take()) is not None:
                self._reading = item
                await self._read_later(item)
                self._reading = None
                self._intake.finished()
                self._say_last(item.origin.route)
        finally:
            self._reading = self._task = None
            self._intake.finished()

    async def _read_later(self, item: Unread) -> None:
        message = item.message
        head: Head = None
        shown: tuple[Digest, ...] = ()
        try:
            if isinstance(message, Submit):
                head, shown = await self._job(item.payer, message)
            else:
                head = ResultHead(*await self._ask(["result", message.body]))
        except Exception as error:
            if not isinstance(error, (ProtocolError, WorkerLostError)):
                logger.exception("a mistake of the broker's over a message of %s", item.origin.user)
            if self._reading is item:
                self._fail(item.origin, message, error)
            return
        if self._reading is item:
            self._take(item.origin, message, head, shown)

    async def _job(self, payer: str, message: Submit) -> tuple[JobHead, tuple[Digest, ...]]:
        given = _shown(message.shown)
        unknown = [digest for digest in given if digest not in self._values]
        key = self._holding_key
        answer = await self._ask(["job", message.key, message.body, key, b"".join(unknown)])
        rows, too_large, read_bytes = answer[-3:]
        self._intake.charge(payer, read_bytes)
        found = unpack_shown(rows) | dict.fromkeys(split_digests(too_large), TOO_LARGE)
        self._note_values(payer, found)
        return JobHead(*answer[:-3]), self._rightly_shown(given)

    async def _ask(self, request: list[object]) -> Any:
        answer = await self._worker.ask(request)
        if isinstance(answer, str):
            raise ProtocolError(answer)
        return answer

    def _may_judge_at_once(self, payer: str, given: Mapping[Digest, bytes]) -> bool:
        """Whether it is known by now which of these are shown rightly. Of a few, blobs that are small are read
        here: an edited source is mostly not in the store at all."""
        unknown = [digest for digest in given if digest not in self._values]
        if len(unknown) > MAX_JUDGED_AT_ONCE:
            return False
        if unknown:
            found = shown_values(self._directory, unknown, self._holding_key, AT_ONCE_BYTES)
            is_paid = self._intake.may_read_at_once(payer, found.read_bytes, self._clock())
            if found.read_bytes > AT_ONCE_BYTES or not is_paid:
                return False
            self._note_values(payer, found.values)
        return True

    def _note_values(self, payer: str, found: Mapping[Digest, bytes]) -> None:
        for digest, value in found.items():
            self._values[digest] = value
            for lost in self._worked_out_for.use(payer, digest):
                self._values.pop(lost, None)

    def _rightly_shown(self, given: Mapping[Digest, bytes]) -> tuple[Digest, ...]:
        values = self._values
        return tuple(digest for digest, value in given.items() if values.get(digest) == value)


def _shown(packed: bytes) -> dict[Digest, bytes]:
    try:
        return unpack_shown(packed)
    except ValueError as error:
        raise ProtocolError(str(error)) from error


def _cost_of(message: Submit | Done) -> int:
    """What the message is when it is unpacked, by its own word: the decoder holds it to that.

    Raises:
        ProtocolError: it says more than any job or result may be. A word costs nothing, and turns go by it.
    """
    shown = len(message.shown) if isinstance(message, Submit) else 0
    limit_bytes = MAX_JOB_BYTES if isinstance(message, Submit) else MAX_RESULT_BYTES
    try:
        size = frame_size(message.body)
    except BlobCorruptError:
        return len(message.body) + shown
    if size > limit_bytes:
        raise ProtocolError(f"a frame of {size} bytes where at most {limit_bytes} may be")
    return size + shown


def raise_failure(task: asyncio.Task[None]) -> None:
    """A mistake of ours must end the broker, not stop its work in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        context = {"message": "a task of the broker's", "exception": error}
        task.get_loop().call_exception_handler(context)
