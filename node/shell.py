"""The node's socket and clock around its pure core.

What grows with what a peer names (a job, its outputs) is gone through on the `hands`, worker threads, and
what arrives on one of its own (`Arrivals`), so that beats go on whatever comes. Whatever an effect or a job's
arrival raises ends its lease (`_give_up`), as the workshop does for what a job's run raises: no lease stays
open for an error.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, assert_never

import zmq

from cache.digest import Digest, short
from cache.frame import decompress
from node.bulk import Bulk
from node.core.effects import (
    Effect,
    FetchInputs,
    FetchToolchain,
    ForgetLease,
    InstallToolchain,
    KillJob,
    LeaveFarm,
    SayState,
    SendBehind,
    SendToBroker,
    StartJob,
    StepBack,
)
from node.core.events import (
    BlobFailed,
    Event,
    JobEnded,
    JobFaulted,
    JobSpoiled,
    LeaseRevoked,
    LeaseSettled,
    MemoryChanged,
    OfferChanged,
    RoomChanged,
    RunAsked,
    RunRejected,
    SessionLost,
    StopAsked,
    ToolchainFailed,
    ToolchainGone,
    ToolchainReady,
    Welcomed,
)
from node.core.machine import MAX_INSTALLING, NodeMachine
from node.faults import noted
from node.host import Host
from node.room import Room
from node.sandbox.command_line import Limits, Sandbox
from node.sandbox.freshness import Freshness
from node.sandbox.memory import Gauge
from node.sandbox.seats import job_threads
from node.workshop import Finish, Hands, Workshop, digests_of
from zcc import __version__, codec
from zcc.dialling import Dialler
from zcc.errors import ProtocolError
from zcc.farm import Access, first_endpoint, spoken
from zcc.job import MAX_JOB_BYTES, Job, decode_job, job_key
from zcc.link import DealerLink
from zcc.machine_class import architecture, floating_point_class, processor_class
from zcc.member_id import member_id
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
    Bye,
    Chunk,
    Credit,
    Done,
    Fault,
    Hello,
    Message,
    Revoke,
    Run,
    Settled,
)
from zcc.newer import NewerPeer
from zcc.reasons import Reason

logger = logging.getLogger(__name__)

# Worker threads: Python runs one at a time, and a disk is kept busy by a few.
MAX_HANDS = 8


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
        *,
        freshness: Freshness | None = None,
        host: Host | None = None,
        gauge: Gauge | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.left: asyncio.Future[None] = self._loop.create_future()
        self._access = access
        self._newer = NewerPeer("the broker")
        # Without one all slots are lent at any time.
        self._host = host
        self._machine = NodeMachine(slots, host.offer(self._loop.time()) if host else None)
        self._gauge = gauge or Gauge()
        self._machine.memory = self._gauge.look(0)
        self._hands = ThreadPoolExecutor(min(MAX_HANDS, slots + 1), "hands")
        # Toolchains are unpacked and stores swept for seconds, which no job waits for, nor one for the other.
        self._slow_hands = ThreadPoolExecutor(MAX_INSTALLING + 1, "slow-hands")
        self._job_threads = job_threads(slots)
        hands = Hands(self._hands, self._slow_hands, self._job_threads)
        self._workshop = Workshop(
            directory,
            name,
            sandbox,
            cache_bytes,
            limits,
            hands,
            freshness or Freshness(),
            self._job_ended,
            gauge=self._gauge,
        )
        self._room = Room(directory, limits.free_disk_bytes)
        self._sandbox = sandbox
        classes = dict.fromkeys((b"", architecture(), floating_point_class(), processor_class()))
        hello = Hello(
            os.urandom(16), access.role, access.farm, name, __version__, slots, (), tuple(classes)
        )
        self._member = MemberSession(hello, self._loop.time())
        # Leases whose job is being read.
        self._reading: set[bytes] = set()
        self._jobs: dict[bytes, tuple[Job, bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_sweeping = False
        self._is_asking = False
        self._bulk = Bulk(self._workshop, self._send, self._handle, self._no_room)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._link = DealerLink(
            self._context,
            first_endpoint(access),
            access.broker_public,
            access.keys,
            self._received,
            self._greeted,
        )
        self._dialler = Dialler(access, self._link.dial)
        self._beating = self._loop.call_soon(self._beat)

    @property
    def status(self) -> str:
        """This node in one line, for `systemctl status`."""
        where = f"{spoken(self._access.farm)} at {self._access.endpoint}"
        if not self._member.is_open:
            return f"dials {where}"
        machine = self._machine
        lent = machine.paused or f"{machine.offer.slots} slots lent"
        return f"on {where}: {lent}, {len(machine.leases)} jobs"

    def stop(self) -> None:
        """Finish what runs, give back the rest, then leave."""
        self._handle(StopAsked())

    def close(self) -> None:
        """End at once; the broker hands the leases on."""
        self._beating.cancel()
        self._dialler.close()
        self._workshop.stop()
        self._tell(LeaveAsked("stopped"))
        self._link.close()
        self._context.term()
        self._bulk.close()
        self._hands.shutdown(cancel_futures=True)
        self._slow_hands.shutdown(cancel_futures=True)
        self._job_threads.shutdown(cancel_futures=True)

    # ---- the session ---------------------------------------------------------------------------

    def _beat(self) -> None:
        self._beating = self._loop.call_later(BEAT_S, self._beat)
        self._spawn(self._sweep())
        self._spawn(self._ask_host())
        self._look_for_room()
        self._look_at_memory()
        self._tell(BeatDue(self._link.is_receiving()))
        self._dialler.beat(self._member.is_open)

    def _greeted(self, is_member: bool) -> None:
        if self._dialler.believes(is_member):
            self._tell(KeyAnswered(is_member))

    def _received(self, frames: list[bytes]) -> None:
        self._tell(FramesCame(frames))

    def _tell(self, event: MemberEvent) -> None:
        try:
            for effect in self._member.handle(event, self._loop.time()):
                self._follow(effect)
        except ProtocolError as error:
            self._tell(BrokerMisspoke(error))

    def _follow(self, effect: MemberEffect) -> None:
        """Do what the session asks for."""
        match effect:
            case Take(message):
                self._take(message)
            case Say(message):
                self._say(message)
            case Opened(welcome):
                self._newer.note_release(welcome.version)
                logger.info("welcomed by %s", spoken(welcome.farm))
                self._bulk.reset()
                self._handle(Welcomed())
            case Suspended():
                self._lose("it does not know this session")
            case Lost(Reason.KEY_REVOKED):
                self._turned_away()
            case Lost(reason, detail):
                self._lose(f"{reason}: {detail}" if detail else reason)
            case PassOver(kind):
                self._newer.note(kind)
            case _:
                assert_never(effect)

    def _say(self, message: Hello | Beat | Bye) -> None:
        """With what this node holds and lends."""
        machine = self._machine
        paused, offer, memory = machine.paused, machine.offer, machine.memory
        if isinstance(message, Hello):
            leases = machine.open_leases()
            message = replace(message, leases=leases, paused=paused, offer=offer, memory=memory)
        elif isinstance(message, Beat):
            message = Beat(os.getloadavg()[0], paused, offer, memory)
        self._send(message)

    def _lose(self, reason: str) -> None:
        logger.warning("lost the broker (%s): dialling again", reason)
        self._bulk.reset()
        self._handle(SessionLost())

    def _turned_away(self) -> None:
        """The broker does not take our key, which is for good."""
        if self.left.done():
            return
        logger.error(
            "the broker at %s does not admit this node's key %s any more: it was revoked, or the broker has"
            " lost it. The node ends. To lend this machine again: zcc-node leave --local (unless it has left),"
            " then zcc-node join TOKEN",
            self._dialler.endpoint,
            member_id(self._access.keys.public),
        )
        self.left.set_result(None)

    def _send(self, message: Message) -> None:
        # A message that finds no connection is lost; Hello after the reconnect brings both sides in step.
        self._link.send(codec.encode(message))

    # ---- this machine --------------------------------------------------------------------------

    def _look_at_memory(self) -> None:
        used_bytes = sum(each.used_bytes for each in self._workshop.holders())
        self._handle(MemoryChanged(self._gauge.look(used_bytes)))

    async def _sweep(self) -> None:
        if self._is_sweeping:
            return
        self._is_sweeping = True
        try:
            await self._loop.run_in_executor(self._slow_hands, self._workshop.sweep)
        except OSError as error:
            logger.warning("the stores could not be swept: %s", error)
        finally:
            self._is_sweeping = False

    async def _ask_host(self) -> None:
        """How much is lent from now on, and whether the node was told to leave."""
        if self._host is None or self._is_asking:
            return
        self._is_asking = True
        look, sandboxes, now = self._host.look, self._workshop.sandboxes(), self._loop.time()
        try:
            offer, wants_leave = await self._loop.run_in_executor(self._hands, look, sandboxes, now)
        except (OSError, ValueError) as error:
            logger.warning("it cannot be seen what else this machine does: %s", error)
            return
        finally:
            self._is_asking = False
        self._handle(OfferChanged(offer))
        if wants_leave:
            logger.info("asked to leave: no more jobs")
            self.stop()

    def _look_for_room(self) -> None:
        reason = self._room.why_none(self._loop.time()) or self._sandbox.why_none()
        if bool(reason) != bool(self._machine.paused):
            logger.warning("%s", f"no jobs for now: {reason}" if reason else "taking jobs again")
            self._handle(RoomChanged(reason))

    def _no_room(self, detail: str) -> None:
        """The disk would not take something: no more jobs, until it does."""
        self._room.refused(detail, self._loop.time())
        self._look_for_room()

    # ---- jobs ----------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        match message:
            case Run():
                self._reading.add(message.lease)
                self._spawn(self._take_job(message))
            case Chunk():
                self._bulk.take_chunk(message)
            case Credit(amount_bytes):
                self._bulk.add_credit(amount_bytes)
            case Settled(lease):
                self._handle(LeaseSettled(lease))
            case Revoke(lease):
                self._reading.discard(lease)
                self._handle(LeaseRevoked(lease))
            case Absent(digest):
                self._bulk.no_more_of(digest)
            case _:
                pass  # Beat: that the broker lives is all that it says; Unknown: nothing that a node asks

    async def _take_job(self, message: Run) -> None:
        """Read a job and ask for what it lacks; a lease that is revoked meanwhile never was."""
        lease = message.lease
        try:
            job, missing = await self._loop.run_in_executor(self._hands, self._read_job, message)
        except Exception as error:  # noqa: BLE001 - logged there
            if lease in self._reading:
                self._reading.discard(lease)
                self._handle(RunRejected(lease, *noted(error, "a job could not be read")))
            return
        if lease not in self._reading:
            return
        self._reading.discard(lease)
        client = message.client.encode()
        self._jobs.setdefault(lease, (job, client))
        is_here = self._workshop.toolchains.has(job.toolchain)
        asked = RunAsked(
            lease, job.toolchain, frozenset(missing), is_here, message.memory_bytes, client
        )
        self._handle(asked)
        if lease not in self._machine.leases:
            self._jobs.pop(lease, None)  # it was not taken

    def _read_job(self, message: Run) -> tuple[Job, set[Digest]]:
        """The job of a Run and the inputs that are not here. On one of the hands."""
        encoded = decompress(message.body, MAX_JOB_BYTES)
        if job_key(encoded) != message.key:
            raise ProtocolError("a job that is not what its key names")
        job = decode_job(encoded)
        return job, self._workshop.stock.missing(digests_of(job.manifest.files))

    def _job_ended(self, lease: bytes, finish: Finish) -> None:
        if finish.missing is not None:
            if not finish.is_toolchain_here and lease in self._jobs:
                self._handle(ToolchainGone(self._jobs[lease][0].toolchain))
            is_here = finish.is_toolchain_here
            self._handle(JobSpoiled(lease, finish.missing, is_here, finish.detail))
            return
        if finish.fault is not None:
            fault = finish.fault
            if fault is Fault.SANDBOX and self._sandbox.why_none():
                fault = Fault.PAUSED  # no job can be run here, this one neither
                self._look_for_room()
            elif fault is Fault.PAUSED:
                self._no_room(finish.detail)
            self._handle(JobFaulted(lease, fault, finish.detail, finish.used_bytes))
            return
        outputs = dict(finish.outputs)
        self._bulk.keep(lease, outputs)
        self._handle(JobEnded(lease, tuple(outputs), finish.body))

    def _handle(self, event: Event) -> None:
        for effect in self._machine.handle(event):
            try:
                self._do(effect)
            except Exception as error:  # noqa: BLE001 - logged there
                self._give_up(effect, error)

    def _give_up(self, effect: Effect, error: Exception) -> None:
        """An effect came to nothing: the leases that wait for it end."""
        fault, detail = noted(error, f"{type(effect).__name__} came to nothing")
        event: Event | None = None
        match effect:
            case StartJob(lease):
                event = JobFaulted(lease, fault, detail)
            case FetchInputs(digests):
                for digest in digests:
                    self._loop.call_soon(self._handle, BlobFailed(digest, detail, fault))
            case FetchToolchain(digest) | InstallToolchain(digest):
                event = ToolchainFailed(digest, detail, fault)
            case SendBehind(_, Done(lease)):
                event = JobFaulted(lease, fault, detail)
            case _:
                pass  # what is said again with the next Hello, or asks for nothing
        if event is not None:
            # Not from within the loop over its core's effects.
            self._loop.call_soon(self._handle, event)

    def _do(self, effect: Effect) -> None:
        match effect:
            case SendToBroker(message):
                self._send(message)
            case SendBehind(outputs, message):
                if self._member.is_open:  # else said, and pushed, when a session stands again
                    self._bulk.push(outputs, message)
            case FetchInputs(digests):
                self._bulk.fetch(digests)
            case FetchToolchain(digest):
                self._bulk.fetch_toolchain(digest)
            case SayState():
                self._say(Beat(0.0))
            case InstallToolchain(digest):
                self._spawn(self._install(digest))
            case StartJob(lease):
                self._workshop.start(
                    lease, *self._jobs[lease], self._machine.leases[lease].memory_bytes
                )
            case StepBack(lease):
                self._workshop.step_back(lease)
            case KillJob(lease):
                self._workshop.kill(lease)
            case ForgetLease(lease):
                self._jobs.pop(lease, None)
                self._bulk.forget(lease)
            case LeaveFarm():
                if not self.left.done():
                    self.left.set_result(None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _install(self, digest: Digest) -> None:
        self._bulk.installed(digest)
        try:
            await self._workshop.install(digest)
        except Exception as error:  # noqa: BLE001 - logged there
            fault, detail = noted(error, f"the toolchain {short(digest)} is of no use")
            if fault is Fault.PAUSED:
                self._no_room(detail)
            self._handle(ToolchainFailed(digest, detail, fault))
            return
        logger.info("the toolchain %s is installed", digest.hex()[:12])
        self._handle(ToolchainReady(digest))
