"""The running broker: socket, registry, blob store, clock and logs around the machine.

One thread, one loop. Each message becomes an event and its effects are carried out at once, in order;
placement waits until the batch at hand is read.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import zmq

from broker import effects, events
from broker.audit import AuditLog
from broker.effects import Effect
from broker.errors import StartError
from broker.events import Event, Origin
from broker.machine import Machine
from broker.membership import Membership
from broker.registry import Registry
from broker.results import SharedResults
from broker.roles import may_send
from broker.storage.service import Storage
from broker.traffic import Traffic
from cache.blobs import decompress
from cache.digest import Digest, digest_of
from cache.errors import BlobCorruptError
from cache.stores import DiskStore
from zcc import codec
from zcc.dumps import MAX_DUMPS
from zcc.errors import ProtocolError
from zcc.farm import spoken
from zcc.job import MAX_JOB_BYTES, MAX_RESULT_BYTES, decode_job, decode_result
from zcc.keys import KeyPair
from zcc.link import Frames, RouterLink
from zcc.messages import (
    Absent,
    Chunk,
    Credit,
    Done,
    Enrol,
    Hello,
    Leave,
    Message,
    Refused,
    Rejoin,
    Role,
    StorageGet,
    StoragePut,
    StorageRemove,
    Submit,
    Want,
)

logger = logging.getLogger(__name__)

TICK_S = 0.1
# How often the registry is asked whether another process has changed it.
REGISTRY_S = 0.5
# An expiry is not a change of the registry: all live keys are looked up again this often.
EXPIRY_S = 30.0
# Outputs that lack this soon after our own disk refused a write are not the node's fault.
DISK_FAULT_S = 60.0
# Digests kept once in memory however many queued jobs name them (a header is in most of them).
MAX_INTERNED = 1_000_000


class Shell:
    """Starts on construction, inside a running loop; `close` ends it.

    Raises:
        StartError: the endpoint cannot be bound.
    """

    def __init__(
        self,
        farm: str,
        listen: str,
        keys: KeyPair,
        state_dir: str,
        store: DiskStore,
        storage: Storage,
    ) -> None:
        self._farm = farm
        self._registry = Registry(state_dir)
        self._audit = AuditLog(state_dir)
        self._membership = Membership(farm, self._registry, self._audit)
        self._roles: dict[str, Role | None] = {}
        self._interned: dict[Digest, Digest] = {}
        self._heard: set[bytes] = set()
        self._events: deque[Event] = deque()
        self._is_running = self._has_batch = self._is_closed = False
        self.counts: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._machine = Machine(farm, random.SystemRandom(), self._now())
        self._traffic = Traffic(store.blobs, self._send, self._events.append)
        self._next_check = self._next_expiry = self._now()
        self._context = zmq.Context[zmq.Socket[bytes]]()
        try:
            self._link = RouterLink(self._context, listen, keys, self._admit, self._on_message)
        except zmq.ZMQError as error:
            self._context.term()
            raise StartError(
                f"cannot listen on {listen}: {error}; is another broker running, or is the"
                " address not this machine's? Say --listen tcp://HOST:PORT"
            ) from error
        self._results = SharedResults(store, self._traffic)
        self._storage = storage
        storage.serve_members(self._say)
        self._timer = self._loop.call_later(TICK_S, self._tick)
        logger.info("%s listens on %s", spoken(farm), self.endpoint)

    @property
    def endpoint(self) -> str:
        return self._link.endpoint

    @property
    def machine(self) -> Machine:
        return self._machine

    def close(self) -> None:
        """Say Bye to everybody and let go of everything."""
        if self._is_closed:
            return
        self._happen(events.StopRequested())
        self._is_closed = True
        self._timer.cancel()
        self._link.close()
        self._context.term()
        self._traffic.close_files()
        self._results.close()
        self._storage.close()
        self._membership.write_attendance(self._now(), is_last=True)
        self._audit.close()
        self._registry.close()

    # --- in -----------------------------------------------------------------------------------

    def _admit(self, public_key: str, address: str) -> str | None:
        """ZAP: a registered key's user id is the key itself."""
        if self._role_of(public_key) is None:
            return None
        self._membership.attendance.connected(public_key, address, time.time(), self._now())
        return public_key

    def _role_of(self, user: str) -> Role | None:
        if user not in self._roles:
            role = self._registry.role_of(user, time.time())
            if role is None:
                return None  # not remembered: strangers must not fill our memory
            self._roles[user] = role
        return self._roles[user]

    def _on_message(self, route: bytes, user: str, frames: Frames) -> None:
        role = self._role_of(user)
        if self._is_closed or role is None or self._machine.is_banned(route):
            self.counts["ignored"] += 1
            return
        origin = Origin(route, user, role)
        self._heard.add(route)
        self._membership.attendance.heard(user, time.time())
        try:
            self._take(origin, frames)
        except ProtocolError as error:
            self.counts["violations"] += 1
            logger.warning("dropping %s (%s): %s", user, role.value, error)
            self._happen(events.PeerMisbehaved(origin, str(error)[:200]))

    def _take(self, origin: Origin, frames: Frames) -> None:
        kind = frames[1] if len(frames) > 1 else b""
        if not may_send(origin.role, kind):
            raise ProtocolError(f"a {origin.role.value} may not send {kind[:24]!r}")
        message = codec.decode(frames)
        if isinstance(message, (Enrol, Rejoin, Leave)):
            self._change_membership(origin, message)
        elif not self._traffic.is_open(origin.route) and not isinstance(message, Hello):
            self._happen(events.StrangerSpoke(origin))
        else:
            said_as = self._traffic.role_on(origin.route)
            if said_as is not None and kind != Hello.KIND and not may_send(said_as, kind):
                raise ProtocolError(f"a {said_as.value}'s session may not send {kind[:24]!r}")
            reader = _READERS.get(type(message), Shell._read_other)
            reader(self, origin, message)
            self._run()

    def _read_chunk(self, origin: Origin, message: Chunk) -> None:
        self._traffic.take(origin.route, message, self._now())

    def _read_credit(self, origin: Origin, message: Credit) -> None:
        self._traffic.credit(origin.route, message.amount_bytes)

    def _read_absent(self, origin: Origin, message: Absent) -> None:
        self._traffic.absent(origin.route, message.digest)
        self._happen(events.MessageArrived(origin, message))

    def _read_want(self, origin: Origin, message: Want) -> None:
        present = [blob for blob in message.blobs if self._traffic.has(blob[0])]
        missing = [blob for blob in message.blobs if not self._traffic.has(blob[0])]
        self._happen(events.BlobsWanted(origin, tuple(present), tuple(missing)))

    def _read_submit(self, origin: Origin, message: Submit) -> None:
        try:
            encoded = _plain(message.body, MAX_JOB_BYTES)
            if digest_of(encoded) != message.key:
                raise ProtocolError("its bytes do not match its key")
            job = decode_job(encoded)
        except ProtocolError as error:
            # One command is at fault, perhaps for another release's bounds: its user's others go on.
            count = self.counts["unreadable_jobs"] = self.counts["unreadable_jobs"] + 1
            if count.bit_count() == 1:  # 1, 2, 4, 8 ...: nobody fills the log with them
                logger.warning(
                    "refused %d unreadable jobs, one of %s: %s", count, origin.user, error
                )
            self._send(origin.route, Refused(message.ticket, f"unreadable: {error}"[:200]))
            return
        inputs = dict.fromkeys(self._intern(file.digest) for file in job.manifest.files)
        if message.is_fresh:
            self._results.doubt(message.key)
        self._happen(
            events.JobSubmitted(
                origin=origin,
                ticket=message.ticket,
                key=message.key,
                cost_hint_s=message.cost_hint_s,
                build=message.build,
                toolchain=self._intern(job.toolchain),
                inputs=tuple(inputs),
                machine_class=job.machine_class,
                recalled=None if message.is_fresh else self._results.recall(message.key),
                body=message.body,
                most_outputs=len(job.outputs) + (MAX_DUMPS if job.dumps else 0),
            )
        )

    def _read_done(self, origin: Origin, message: Done) -> None:
        result = decode_result(_plain(message.body, MAX_RESULT_BYTES))
        outputs = tuple(dict.fromkeys(output.digest for output in result.outputs))
        self._happen(
            events.ResultArrived(
                origin=origin,
                lease=message.lease,
                exit_status=result.exit_status,
                outputs=outputs,
                is_complete=self._traffic.keep_pushes(origin.route, message.lease, outputs),
                is_excused=self._now() - self._traffic.last_disk_fault_at < DISK_FAULT_S,
                is_sound=not (result.lookups.flaw or result.lookups.undeclared),
                size_bytes=sum(output.size_bytes for output in result.outputs),
                cpu_s=result.usage.cpu_s,
                wall_s=result.usage.wall_s,
                body=message.body,
            )
        )

    def _read_storage(
        self, origin: Origin, message: StorageGet | StoragePut | StorageRemove
    ) -> None:
        self._storage.take(origin.route, message, self._now(), origin.user)

    def _read_other(self, origin: Origin, message: Message) -> None:
        self._happen(events.MessageArrived(origin, message))

    def _intern(self, digest: Digest) -> Digest:
        if len(self._interned) > MAX_INTERNED:
            self._interned.clear()
        return self._interned.setdefault(digest, digest)

    def _change_membership(self, origin: Origin, message: Enrol | Rejoin | Leave) -> None:
        answer, changed = self._membership.answer(origin.user, message)
        self._send(origin.route, answer)
        known = self._roles.pop(changed, None)
        if known is not None and self._role_of(changed) is not known:
            self._happen(events.KeyRevoked(changed))

    # --- the machine --------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        self._events.append(event)
        self._run()

    def _run(self) -> None:
        """Carry events out in order; what effects give rise to comes behind."""
        if self._is_running:
            return
        self._is_running = True
        try:
            while self._events:
                for effect in self._machine.handle(self._events.popleft(), self._now()):
                    _PERFORMERS[type(effect)](self, effect)
        finally:
            self._is_running = False
        if not self._has_batch and not self._is_closed:
            self._has_batch = True
            self._loop.call_soon(self._end_batch)

    def _end_batch(self) -> None:
        if self._is_closed:
            return
        self._happen(events.BatchEnded())
        # Placement may have asked for checks, whose answers let more be placed.
        self._has_batch = False
        if self._machine.farm.is_dirty:
            self._has_batch = True
            self._loop.call_soon(self._end_batch)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        now = self._now()
        heard, self._heard = frozenset(self._heard), set()
        self._happen(events.Ticked(heard))
        self._traffic.tick(now)
        if now >= self._next_check:
            self._next_check = now + REGISTRY_S
            if self._registry.has_changed() or now >= self._next_expiry:
                self._next_expiry = now + EXPIRY_S
                self._recheck_keys()
            self._membership.write_attendance(now)
        self._storage.tick(now)
        evicted = self._results.note_evictions()
        if evicted:
            logger.info("evicted %d blobs and results", evicted)
        self._run()

    def _recheck_keys(self) -> None:
        """Keys may have been revoked or have expired: drop their sessions."""
        known, self._roles = self._roles, {}
        for user, role in known.items():
            if self._role_of(user) is not role:
                logger.info("the key %s is no longer valid", user)
                self._happen(events.KeyRevoked(user))

    def _now(self) -> float:
        return time.monotonic()

    # --- effects ------------------------------------------------------------------------------

    def _send(self, route: bytes, message: Message) -> bool:
        return self._link.send(route, codec.encode(message))

    def _say(self, route: bytes, message: Message) -> None:
        if not self._send(route, message):
            self._events.append(events.PeerUnreachable(route))

    def _do_send(self, effect: effects.Send) -> None:
        self._say(effect.route, effect.message)

    def _do_open(self, effect: effects.OpenTraffic) -> None:
        self._traffic.open(effect.route, effect.role, self._now())
        self._storage.forget(effect.route)

    def _do_close(self, effect: effects.CloseTraffic) -> None:
        self._traffic.close(effect.route, self._now())
        self._storage.forget(effect.route)

    def _do_ask(self, effect: effects.AskBlobs) -> None:
        self._traffic.ask(effect.route, effect.digests, self._now())

    def _do_offer(self, effect: effects.OfferBlobs) -> None:
        self._traffic.offer(effect.route, effect.blobs)

    def _do_take_pushes(self, effect: effects.TakePushes) -> None:
        self._traffic.expect_pushes(effect.route, effect.lease, effect.outputs, effect.is_wanted)

    def _do_drop_pushes(self, effect: effects.DropPushes) -> None:
        self._traffic.drop_pushes(effect.route, effect.lease)

    def _do_deliver(self, effect: effects.Deliver) -> None:
        if not self._traffic.deliver(effect.route, effect.outputs, effect.message):
            self._events.append(events.PeerUnreachable(effect.route))

    def _do_find(self, effect: effects.FindMissing) -> None:
        missing = frozenset(each for each in effect.digests if not self._traffic.has(each))
        self._events.append(events.InputsChecked(effect.key, missing))

    def _do_verify(self, effect: effects.VerifyBlobs) -> None:
        self._traffic.verify(effect.digests)

    def _do_remember(self, effect: effects.Remember) -> None:
        self._results.remember(effect)

    def _do_audit(self, effect: effects.Audit) -> None:
        logger.debug("%s %s", effect.what, dict(effect.fields))
        self._audit.write(effect.what, effect.fields)


def _plain(frame: bytes, limit_bytes: int) -> bytes:
    try:
        return decompress(frame, limit_bytes)
    except BlobCorruptError as error:
        raise ProtocolError(str(error)) from error


_READERS: dict[type[Message], Callable[[Shell, Origin, Any], None]] = {
    Chunk: Shell._read_chunk,
    Credit: Shell._read_credit,
    Absent: Shell._read_absent,
    Want: Shell._read_want,
    Submit: Shell._read_submit,
    Done: Shell._read_done,
    StorageGet: Shell._read_storage,
    StoragePut: Shell._read_storage,
    StorageRemove: Shell._read_storage,
}
_PERFORMERS: dict[type[Effect], Callable[[Shell, Any], None]] = {
    effects.Send: Shell._do_send,
    effects.OpenTraffic: Shell._do_open,
    effects.CloseTraffic: Shell._do_close,
    effects.AskBlobs: Shell._do_ask,
    effects.OfferBlobs: Shell._do_offer,
    effects.TakePushes: Shell._do_take_pushes,
    effects.DropPushes: Shell._do_drop_pushes,
    effects.Deliver: Shell._do_deliver,
    effects.FindMissing: Shell._do_find,
    effects.VerifyBlobs: Shell._do_verify,
    effects.Remember: Shell._do_remember,
    effects.Audit: Shell._do_audit,
}
