"""Reads Submits and Dones: at once what is small, else by a worker process, in the keys' turns.

Owns the intake, the worker and what is known of the blobs that keys show to hold. Must not know what a job or a
result means for the farm: `take` is told what was read, in the order in which each key has sent it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any

import msgpack

from broker.errors import WorkerLostError
from broker.events import Origin
from broker.heads import JobHead, ResultHead, read_job, read_result, split_digests
from broker.intake import Intake, Unread
from broker.limits import AT_ONCE_BYTES, MAX_SHOWN_VALUES
from broker.shares import Shares
from broker.worker import LENGTH
from cache.blobs import frame_size
from cache.digest import Digest
from cache.errors import BlobCorruptError
from zcc.errors import ProtocolError
from zcc.holding import unpack_shown
from zcc.job import MAX_JOB_BYTES, MAX_RESULT_BYTES
from zcc.messages import Done, Message, Submit

logger = logging.getLogger(__name__)


# In place of what shows that one holds a blob: nothing does, and it need not be read again to see that.
TOO_LARGE = b""

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
        words = (sys.executable, "-P", "-m", "broker.worker", self._directory)
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
    def __init__(
        self,
        directory: str,
        holding_key: bytes,
        clock: Callable[[], float],
        is_open: Callable[[bytes], bool],
        take: Take,
        fail: Fail,
    ) -> None:
        self._intake = Intake()
        self._worker = Worker(directory)
        self._holding_key = holding_key
        self._clock = clock
        self._is_open = is_open
        self._take = take
        self._fail = fail
        self._values: dict[Digest, bytes] = {}
        self._worked_out_for = Shares[Digest](MAX_SHOWN_VALUES, MAX_SHOWN_VALUES)
        self._task: asyncio.Task[None] | None = None
        self._reading: Unread | None = None

    def close(self) -> None:
        """End the worker; what was not read is lost."""
        if self._task is not None:
            self._task.cancel()
        self._worker.close()

    def is_waiting(self, origin: Origin) -> bool:
        """Whether something of this key's has not been read: what comes later has to wait behind it."""
        return self._intake.is_waiting(origin.user)

    def read(self, origin: Origin, message: Submit | Done) -> bool:
        """Read it now or later. False: the key has too much waiting already."""
        try:
            cost = _cost_of(message)
        except ProtocolError as error:
            self._fail(origin, message, error)
            return True
        user = origin.user
        if (
            cost > AT_ONCE_BYTES
            or self._intake.is_waiting(user)
            or not self._intake.may_read_at_once(user, cost, self._clock())
        ):
            return self.wait_behind(origin, message, cost)
        head: Head
        shown: tuple[Digest, ...] = ()
        try:
            if isinstance(message, Done):
                head = read_result(message.body)
            else:
                shown = tuple(_shown(message.shown)) if message.shown else ()
                if shown and not self._is_known(message.shown):
                    return self.wait_behind(origin, message, cost)
                head = read_job(message.body, message.key)
        except ProtocolError as error:
            self._fail(origin, message, error)
            return True
        self._take(origin, message, head, shown)
        return True

    def wait_behind(self, origin: Origin, message: Message, cost_bytes: int = 0) -> bool:
        """Take the message when all that this key sent before has been read. False: it has too much waiting."""
        size = len(getattr(message, "body", b"")) + len(getattr(message, "shown", b"")) + 500
        if not self._intake.has_room(origin.user, size):
            return False
        self._intake.put(Unread(origin, message, size, max(cost_bytes, 1)))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._task.add_done_callback(raise_failure)
        return True

    def cancel(self, origin: Origin, ticket: int) -> bool:
        """Nobody waits for this Submit any more; whether it was one that had not been read."""
        return self._drop(origin, ticket)

    def forget(self, origin: Origin) -> None:
        """The connection is over, or begins anew: what came by it is void."""
        self._drop(origin)

    def _drop(self, origin: Origin, ticket: int | None = None) -> bool:
        dropped = self._intake.drop(origin, ticket)
        reading = self._reading
        if (
            reading is not None
            and reading.origin.route == origin.route
            and ticket in (None, reading.ticket)
        ):
            self._reading, dropped = None, True
        return dropped

    async def _work(self) -> None:
        try:
            while (item := self._intake.take()) is not None:
                if self._is_open(item.origin.route):
                    self._reading = item
                    await self._read_later(item)
                self._intake.finished()
        finally:
            self._reading = self._task = None
            self._intake.finished()

    async def _read_later(self, item: Unread) -> None:
        message = item.message
        head: Head = None
        shown: tuple[Digest, ...] = ()
        try:
            if isinstance(message, Submit):
                head, shown = await self._job(item.origin.user, message)
            elif isinstance(message, Done):
                head = ResultHead(*await self._ask(["result", message.body]))
        except Exception as error:
            if not isinstance(error, (ProtocolError, WorkerLostError)):
                logger.exception("a mistake of the broker's over a message of %s", item.origin.user)
            if self._reading is item:
                self._fail(item.origin, message, error)
            return
        if self._reading is item:
            self._take(item.origin, message, head, shown)

    async def _job(self, user: str, message: Submit) -> tuple[JobHead, tuple[Digest, ...]]:
        given = _shown(message.shown)
        unknown = [digest for digest in given if digest not in self._values]
        key = self._holding_key
        answer = await self._ask(["job", message.key, message.body, key, b"".join(unknown)])
        rows, too_large, read_bytes = answer[-3:]
        self._intake.charge(user, read_bytes)
        values = self._values
        found = unpack_shown(rows) | dict.fromkeys(split_digests(too_large), TOO_LARGE)
        for digest, value in found.items():
            values[digest] = value
            for lost in self._worked_out_for.use(user, digest):
                values.pop(lost, None)
        shown = tuple(digest for digest, value in given.items() if values.get(digest) == value)
        return JobHead(*answer[:-3]), shown

    async def _ask(self, request: list[object]) -> Any:
        answer = await self._worker.ask(request)
        if isinstance(answer, str):
            raise ProtocolError(answer)
        return answer

    def _is_known(self, packed: bytes) -> bool:
        """Whether all of this is right, as was worked out before. What is wrong, or not to be had, takes the
        longer way in either case."""
        values = self._values
        return all(values.get(digest) == value for digest, value in _shown(packed).items())


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
