"""The node's sockets, clock and transfers around its pure core."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import zmq

from cache.blobs import Arrival, decompress
from cache.digest import Digest
from cache.errors import CacheError
from node.effects import (
    Effect,
    FetchInputs,
    FetchToolchain,
    ForgetLease,
    InstallToolchain,
    KillJob,
    Leave,
    Send,
    SendBehind,
    StartJob,
)
from node.errors import NodeError
from node.events import (
    BlobArrived,
    BlobFailed,
    Event,
    JobEnded,
    JobFaulted,
    LeaseRevoked,
    LeaseSettled,
    RunAsked,
    RunRejected,
    SessionLost,
    StopAsked,
    ToolchainFailed,
    ToolchainReady,
    Welcomed,
)
from node.machine import NodeMachine
from node.sandbox import Limits, Sandbox
from node.workshop import Finish, Workshop, digests_of
from zcc import __version__, codec
from zcc.errors import ProtocolError
from zcc.farm import Access, spoken
from zcc.job import MAX_BLOB_BYTES, MAX_JOB_BYTES, Job, decode_job, job_key
from zcc.link import DealerLink
from zcc.machine_class import floating_point_class, processor_class
from zcc.messages import (
    BEAT_S,
    LOST_AFTER_S,
    Absent,
    Announce,
    Beat,
    Bye,
    Chunk,
    Credit,
    Fault,
    Hello,
    Message,
    Refused,
    Revoke,
    Run,
    Settled,
    Want,
    Welcome,
    Who,
)
from zcc.transfer import Piece, Receiver, Sender

logger = logging.getLogger(__name__)

# A toolchain of 2 GiB unpacked is beyond any compiler known.
MAX_TOOLCHAIN_BYTES = 2 << 30


class NodeShell:
    """One node, one session. Runs until `left` is done."""

    def __init__(
        self,
        access: Access,
        name: str,
        slots: int,
        directory: str,
        sandbox: Sandbox,
        cache_bytes: int,
        limits: Limits,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.left: asyncio.Future[None] = self._loop.create_future()
        self._access = access
        self._name = name
        self._machine = NodeMachine(slots)
        self._executor = ThreadPoolExecutor(2, "unpack")
        self._workshop = Workshop(
            directory, name, sandbox, cache_bytes, limits, self._executor, self._job_ended
        )
        self._session = os.urandom(16)
        self._jobs: dict[bytes, tuple[Job, bytes]] = {}
        self._outputs: dict[bytes, dict[Digest, bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = False
        self._heard_s = 0.0
        self._arrivals: dict[Digest, Arrival] = {}
        self._toolchains: set[Digest] = set()
        self._reset()
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._link = DealerLink(
            self._context, access.endpoint, access.broker_public, access.keys, self._received
        )
        self._beating = self._loop.call_soon(self._beat)

    def stop(self) -> None:
        """Finish what runs, give back the rest, then leave."""
        self._handle(StopAsked())

    def close(self) -> None:
        """End at once; the broker hands the leases on."""
        self._beating.cancel()
        self._workshop.stop()
        self._send(Bye("stopped"))
        self._link.close()
        self._context.term()
        self._executor.shutdown(cancel_futures=True)

    # ---- the session ---------------------------------------------------------------------------

    def _reset(self) -> None:
        # Arrivals stay: what is asked for again goes on where it broke off.
        self._sender = Sender()
        self._receiver = Receiver()

    def _beat(self) -> None:
        self._beating = self._loop.call_later(BEAT_S, self._beat)
        self._workshop.sweep()
        if self._is_open and self._loop.time() - self._heard_s > LOST_AFTER_S:
            self._lose("silent")
        if self._is_open:
            self._send(Beat(os.getloadavg()[0]))
        else:
            self._hello()

    def _hello(self) -> None:
        access, machine = self._access, self._machine
        leases = machine.open_leases()
        classes = (b"", *filter(None, (floating_point_class(), processor_class())))
        self._send(
            Hello(
                session=self._session,
                role=access.role,
                farm=access.farm,
                name=self._name,
                version=__version__,
                slots=machine.slots,
                leases=leases,
                machine_classes=classes,
            )
        )

    def _lose(self, reason: str) -> None:
        if self._is_open:
            logger.warning("lost the broker (%s): dialling again", reason)
            self._is_open = False
            self._reset()
            self._handle(SessionLost())

    def _send(self, message: Message) -> None:
        # A message that finds no connection is lost; Hello after the reconnect brings both sides in step.
        self._link.send(codec.encode(message))

    def _received(self, frames: list[bytes]) -> None:
        self._heard_s = self._loop.time()
        try:
            self._take(codec.decode(frames))
        except ProtocolError as error:
            logger.error("the broker sent what it must not: %s", error)
            self._lose("protocol error")

    def _take(self, message: Message) -> None:
        match message:
            case Run():
                self._take_job(message)
            case Chunk():
                self._take_chunk(message)
            case Credit(amount_bytes):
                self._sender.add_credit(amount_bytes)
                self._pump()
            case Settled(lease):
                self._handle(LeaseSettled(lease))
            case Revoke(lease):
                self._handle(LeaseRevoked(lease))
            case Absent(digest):
                self._drop_arrival(digest, "the broker cannot supply it")
            case Welcome():
                if not self._is_open:
                    logger.info("welcomed by %s", spoken(message.farm))
                    self._is_open = True
                    self._reset()
                    self._handle(Welcomed())
            case Who():
                self._lose("it does not know this session")
                self._hello()
            case Refused(_, reason):
                logger.error("the broker refuses this node: %s", reason)
                self._lose("refused")
            case Bye(reason):
                self._lose(reason)
            case _:
                pass  # Beat: that the broker lives is all that it says

    # ---- jobs ----------------------------------------------------------------------------------

    def _take_job(self, message: Run) -> None:
        try:
            encoded = decompress(message.body, MAX_JOB_BYTES)
            if job_key(encoded) != message.key:
                raise ProtocolError("a job that is not what its key names")
            job = decode_job(encoded)
        except (ProtocolError, CacheError) as error:
            self._handle(RunRejected(message.lease, Fault.INPUT, str(error)))
            return
        missing = {
            digest
            for digest in digests_of(job.manifest.files)
            if not self._workshop.inputs.has(digest)
        }
        self._jobs.setdefault(message.lease, (job, message.client.encode()))
        is_here = self._workshop.toolchains.has(job.toolchain)
        self._handle(RunAsked(message.lease, job.toolchain, frozenset(missing), is_here))

    def _job_ended(self, lease: bytes, finish: Finish) -> None:
        if finish.fault is not None:
            self._handle(JobFaulted(lease, finish.fault, finish.detail))
            return
        self._outputs[lease] = dict(finish.outputs)
        self._handle(JobEnded(lease, tuple(self._outputs[lease]), finish.body))

    def _handle(self, event: Event) -> None:
        for effect in self._machine.handle(event):
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send(message):
                self._send(message)
            case SendBehind(outputs, message):
                if not self._is_open:
                    return  # said, and pushed, when a session stands again
                if outputs:
                    self._send(Announce(message.lease, outputs))
                for digest in outputs:
                    self._sender.offer(digest)
                self._sender.after(message)
                self._pump()
            case FetchInputs(digests):
                self._fetch(digests)
            case FetchToolchain(digest):
                self._toolchains.add(digest)
                self._fetch((digest,))
            case InstallToolchain(digest):
                self._spawn(self._install(digest))
            case StartJob(lease):
                job, client = self._jobs[lease]
                # From the loop, not from within the core: a start that fails reports at once.
                self._loop.call_soon(self._workshop.start, lease, job, client)
            case KillJob(lease):
                self._workshop.kill(lease)
            case ForgetLease(lease):
                self._jobs.pop(lease, None)
                self._outputs.pop(lease, None)
            case Leave():
                if not self.left.done():
                    self.left.set_result(None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _install(self, digest: Digest) -> None:
        self._toolchains.discard(digest)
        try:
            await self._workshop.install(digest)
        except NodeError as error:
            logger.error("%s", error)
            self._handle(ToolchainFailed(digest, str(error)))
            return
        logger.info("the toolchain %s is installed", digest.hex()[:12])
        self._handle(ToolchainReady(digest))

    # ---- bulk ----------------------------------------------------------------------------------

    def _pump(self) -> None:
        for message in self._sender.pump(self._read_output):
            self._send(message)

    def _read_output(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int] | None:
        for frames in self._outputs.values():
            frame = frames.get(digest)
            if frame is not None:
                return frame[offset : offset + length], len(frame)
        return None

    def _fetch(self, digests: tuple[Digest, ...]) -> None:
        blobs = []
        for digest in digests:
            arrival = self._arrivals.get(digest)
            blobs.append((digest, arrival.received_bytes if arrival else 0))
            self._receiver.expect(*blobs[-1])
        self._send(Want(tuple(blobs)))

    def _take_chunk(self, chunk: Chunk) -> None:
        if self._receiver.passes_over(chunk):
            is_last = chunk.offset + len(chunk.body) == chunk.total
            if is_last and self._receiver.is_expected(chunk.digest):
                # Asked for again while it was on its way, which does not begin it anew.
                self._send(Want(((chunk.digest, 0),)))
        else:
            self._take_piece(self._receiver.take(chunk))
        grant = self._receiver.consumed(len(chunk.body))
        if grant is not None:
            self._send(grant)

    def _take_piece(self, piece: Piece) -> None:
        try:
            self._store(piece)
        except CacheError as error:
            self._receiver.give_up(piece.digest)
            self._drop_arrival(piece.digest, str(error))
        except OSError as error:
            logger.error("no room for a blob: %s", error)
            self._receiver.give_up(piece.digest)
            self._drop_arrival(piece.digest, str(error), is_ours=True)

    def _store(self, piece: Piece) -> None:
        digest = piece.digest
        arrival = self._arrivals.get(digest)
        if arrival is None:
            is_toolchain = digest in self._toolchains
            store = self._workshop.frames if is_toolchain else self._workshop.inputs
            limit_bytes = MAX_TOOLCHAIN_BYTES if is_toolchain else MAX_BLOB_BYTES
            arrival = self._arrivals[digest] = store.arrival(digest, limit_bytes)
        arrival.feed(piece.data)
        if piece.is_last:
            del self._arrivals[digest]
            arrival.finish()
            self._handle(BlobArrived(digest))

    def _drop_arrival(self, digest: Digest, detail: str, is_ours: bool = False) -> None:
        arrival = self._arrivals.pop(digest, None)
        if arrival is not None:
            arrival.drop()
        self._receiver.forget(digest)
        self._handle(BlobFailed(digest, detail, is_ours))
