"""The running broker: socket, registry, blob store, clock and logs around the machine.

One thread, one loop. Each message becomes an event and its effects are carried out at once, in order;
placement waits until the batch at hand is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from broker.audit import AuditLog
from broker.commands.placed_files import PlacedFiles
from broker.core import effects, events
from broker.core.effects import Effect
from broker.core.events import Event, Origin
from broker.core.limits import KEY_CONNECTIONS, LAST_WORDS_S, MAX_REASON, RUN_LIMIT_S
from broker.core.machine import Machine
from broker.core.manners import Manners
from broker.core.roles import may_send
from broker.costbook import Costbook
from broker.errors import StartError
from broker.failures import BROKER_FAILED, Failures
from broker.membership.joins import Joins
from broker.membership.registry import Registry
from broker.membership.requests import Membership
from broker.membership.roster import KeyRoles
from broker.metrics.service import Metrics
from broker.metrics.shell import ShellNumbers
from broker.results.auditor import Auditor
from broker.results.shared_cache import SharedResults
from broker.results.tombstones import Tombstones
from broker.results.voided import Crier
from broker.state import add_toolchain, known_owing, known_toolchains, note_owing
from broker.storage.service import Storage
from broker.tiers.service import TierService
from broker.transport.asking import Asking
from broker.transport.newer import UnknownKinds
from broker.transport.outgoing import Outgoing
from broker.transport.reception import Reception
from broker.transport.router import RouterLink
from broker.transport.search import Search
from broker.transport.traffic import Traffic
from broker.transport.wires import SeenWires
from broker.watching.feed import Watching
from cache.digest import Digest
from cache.frame import compress
from cache.stores import DiskStore
from zcc import codec
from zcc.errors import ProtocolError, UnknownKindError
from zcc.farm import spoken
from zcc.holding import HOLDING_KEY_BYTES
from zcc.keys import KeyPair
from zcc.link import Frames
from zcc.messages import (
    FEED_BYTES,
    Absent,
    AskVoided,
    Bye,
    Cancel,
    Chunk,
    Credit,
    Done,
    Enrol,
    Hello,
    Leave,
    LocalCounts,
    Message,
    PeerRole,
    Refused,
    Rejoin,
    StorageGet,
    StoragePut,
    StorageRemove,
    Submit,
    Want,
    Watch,
)
from zcc.summing import Summing

logger = logging.getLogger(__name__)

TICK_S = 0.1
# How often the registry is asked whether another process has changed it.
REGISTRY_S = 0.5


class Shell:
    """Starts on construction, inside a running loop; `close` ends it. `listen` may be empty: who made it binds
    what comes.

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
        audit_share: float = 0.0,
        key_connections: int = KEY_CONNECTIONS,
        *,
        run_limit_s: float = RUN_LIMIT_S,
        metrics: Metrics | None = None,
        tombstones: Tombstones | None = None,
        tiers: TierService | None = None,
    ) -> None:
        self._farm = farm
        self._state_dir = state_dir
        self._registry = Registry(state_dir)
        self._registry.reserve()
        self._audit = AuditLog(state_dir)
        self._membership = Membership(farm, self._registry, self._audit)
        self._newer = UnknownKinds(self._send, self._audit)
        self.roster = KeyRoles(self._registry, self._now())
        self._heard: set[tuple[bytes, str]] = set()
        self._manners = Manners(key_connections)
        self._warnings = Summing[str]()
        self._failures = Failures(self._now)
        self._events: deque[Event] = deque()
        self._is_running = self._has_batch = self._is_closed = False
        self.counts: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        holding_key = os.urandom(HOLDING_KEY_BYTES)
        known, rng = known_toolchains(state_dir), random.SystemRandom()
        self._machine = Machine(
            farm, rng, self._now(), known, holding_key, run_limit_s, known_owing(state_dir)
        )
        self._costbook = Costbook(state_dir, self._machine.farm.model.costs, self._now)
        self._traffic = Traffic(store.blobs, self._send, self._events.append)
        self._next_check = self._next_batch = self._now()
        self._context = zmq.Context[zmq.Socket[bytes]]()
        try:
            hears = (self._admit, self._on_message, self._offended)
            self._link = RouterLink(self._context, listen, keys, *hears, key_connections)
        except zmq.ZMQError as error:
            self._context.term()
            raise StartError(
                f"cannot listen on {listen}: {error}; is another broker running, or is the"
                " address not this machine's? Say --listen tcp://HOST:PORT"
            ) from error
        self._search = Search(
            self._traffic,
            self._machine.fetchable,
            self._happen,
            self._failures,
            self._now,
            self._seek,
        )
        self._asking = Asking(
            lambda route, digests: self._traffic.ask(route, digests, self._now()),
            self._failed_for,
            self._now,
        )
        self._crier = Crier(state_dir, self._say)
        self._tombstones = tombstones or Tombstones(state_dir)
        self._results = SharedResults(store, self._traffic, self._search.check, self._void, tiers)
        self._outgoing = Outgoing(
            self._link, state_dir, self._traffic.read, self._results.body_of, self._failures
        )
        self._reception = Reception(
            directory=store.blobs.directory,
            holding_key=holding_key,
            clock=self._now,
            machine=self._machine,
            traffic=self._traffic,
            results=self._results,
            happen=self._happen,
            refuse=self._refuse,
            blame=self._misbehaved,
            on_behalf_of=self._on_behalf_of,
            counts=self.counts,
        )
        self._auditor: Auditor = Auditor(
            state_dir,
            store.limit_bytes,
            audit_share,
            self._results,
            self._machine,
            self._happen,
            self._audit,
            self._traffic.has,
        )
        self._joins = Joins(self._change_membership, self._on_behalf_of)
        self._placed = PlacedFiles(state_dir, self._machine.placed)
        self._watching = Watching(
            self._machine.farm,
            self._registry.describe,
            self._outgoing.outbox.offer,
            compress,
            lambda: os.urandom(FEED_BYTES),
            time.time(),
            lambda error: self._failures.note(error, "what is told to watchers"),
            SeenWires(self._link, self._traffic),
        )
        self._storage = storage
        storage.serve_members(self._say, self._outgoing.outbox.offer)
        self._metrics = metrics
        if metrics is not None:
            parts = self._link, self._results, self._outgoing.spool, storage, self._failures
            metrics.show(self._machine.farm, ShellNumbers(state_dir, *parts, self.counts, TICK_S))
        self._timer = self._loop.call_later(TICK_S, self._tick)
        if listen:
            logger.info("%s listens on %s", spoken(farm), self.endpoint)

    @property
    def endpoint(self) -> str:
        return self._link.endpoint

    def bind(self, endpoint: str) -> str:
        """Listen there as well. Raises zmq.ZMQError."""
        return self._link.bind(endpoint)

    def unbind(self, endpoint: str) -> None:
        self._link.unbind(endpoint)

    @property
    def failures(self) -> Failures:
        return self._failures

    @property
    def auditor(self) -> Auditor:
        return self._auditor

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
        self._joins.close()
        self._link.close()
        self._reception.close()
        self._search.close()
        self._asking.close()
        self._context.term()
        self._traffic.close_files()
        self._auditor.close()
        self._crier.close()
        self._tombstones.close()
        self._results.close()
        self._costbook.close()
        self._outgoing.stop()
        self._storage.close()
        if self._metrics is not None:
            self._metrics.close()
        self._membership.write_attendance(self._now(), is_last=True)
        self._audit.close()
        self._registry.close()

    # --- in -----------------------------------------------------------------------------------

    def _admit(self, public_key: str, address: str) -> str | None:
        """ZAP: a registered key's user id is the key itself."""
        if self.roster.role_of(public_key) is None:
            self.counts["unknown_keys"] += 1
            return None
        self._membership.attendance.connected(public_key, address, time.time(), self._now())
        return public_key

    def _on_message(self, route: bytes, user: str, frames: Frames) -> None:
        with self._failures.noted("a message"):
            self._hear(route, user, frames)

    def _hear(self, route: bytes, user: str, frames: Frames) -> None:
        role = self.roster.role_of(user)
        if self._is_closed or role is None:
            self.counts["ignored"] += 1
            return
        origin = Origin(route, user, role)
        if self._machine.is_banned(route):
            self.counts["ignored"] += 1
            self._is_mannerly(origin, Message, "message")  # what nobody reads floods as well
            return
        session = self._machine.farm.sessions.on_route(route)
        if session is not None and session.user != user:
            self._happen(events.PeerUnreachable(route))  # another has its route: it is gone
        self._heard.add((route, user))
        self._membership.attendance.heard(user, time.time())
        with self._on_behalf_of(origin):
            self._take(origin, frames)

    @contextlib.contextmanager
    def _on_behalf_of(self, origin: Origin) -> Iterator[None]:
        """What goes wrong over a peer's message ends its session, whoever is at fault, and nothing else."""
        try:
            yield
        except ProtocolError as error:
            self._misbehaved(origin, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours: other peers' work goes on
            self._failures.note(error, f"a session of {origin.user}")
            self._happen(events.PeerMisbehaved(origin, BROKER_FAILED))

    def _misbehaved(self, origin: Origin, error: Exception) -> None:
        self.counts["violations"] += 1
        if self._warnings.admits(origin.user, self._now()):
            logger.warning("dropping %s (%s): %s", origin.user, origin.role.value, error)
        self._happen(events.PeerMisbehaved(origin, str(error)[:MAX_REASON]))

    def _offended(self, user: str, reason: str) -> None:
        """A connection of this key's, or all of them, have been shut."""
        self.counts["violations"] += 1
        self._audit.write("violation", (("user", user), ("reason", reason)))
        if self._warnings.admits(user, self._now()):
            logger.warning("shut out %s: %s", user, reason)

    def _take(self, origin: Origin, frames: Frames) -> None:
        try:
            kind = codec.kind_of(frames)
        except UnknownKindError as error:
            if self._is_mannerly(origin, Message, "unknown message"):
                self._newer.pass_over(origin, error.kind, frames, self._now())
            return
        if not may_send(origin.role, kind):
            raise ProtocolError(f"a {origin.role.value} may not send {kind!r}")
        if kind == LocalCounts.KIND and not self._are_counts_wanted(origin):
            return
        message = codec.decode(frames)
        # Chunks are bounded by credit, which nobody has without a session.
        has_credit = type(message) is not Chunk or self._traffic.is_open(origin.route)
        counted = type(message) if has_credit else Message
        if not self._is_mannerly(origin, counted, kind.decode()):
            return
        if isinstance(message, (Enrol, Rejoin, Leave)):
            self._joins.add(origin, message)
        elif not self._traffic.is_open(origin.route) and not isinstance(message, Hello):
            self._happen(events.StrangerSpoke(origin))
        else:
            said_as = self._traffic.role_on(origin.route)
            if said_as is not None and kind != Hello.KIND and not may_send(said_as, kind):
                raise ProtocolError(f"a {said_as.value}'s session may not send {kind!r}")
            reader = _READERS.get(type(message), Shell._read_other)
            reader(self, origin, message)
            self._run()

    def _is_mannerly(self, origin: Origin, kind: type[Message], name: str) -> bool:
        """Whether its key may say one more of this kind; else it is shut out."""
        if self._manners.allows(origin.user, kind, self._now()):
            return True
        self._link.ban(origin.user, f"more {name}s than any peer has to say")
        return False

    def _are_counts_wanted(self, origin: Origin) -> bool:
        """Whether somebody counts them, and this agent has said none in this second. Else they are passed over,
        but count as any message.
        """
        is_counting = self._machine.farm.is_counting
        if is_counting and self._manners.takes_counts(origin.route, self._now()):
            return True
        self._is_mannerly(origin, LocalCounts, LocalCounts.KIND.decode())
        return False

    def _read_absent(self, origin: Origin, message: Absent) -> None:
        self._traffic.absent(origin.route, message.digest)
        self._happen(events.MessageArrived(origin, message))

    def _read_credit(self, origin: Origin, message: Credit) -> None:
        left = self._outgoing.deliveries.credit(origin.route, message.amount_bytes)
        if left and self._traffic.role_on(origin.route) is PeerRole.NODE:
            self._happen(events.BlobsTaken(origin, message.amount_bytes, left))

    def _read_storage(
        self, origin: Origin, message: StorageGet | StoragePut | StorageRemove
    ) -> None:
        self._storage.take(origin.route, message, self._now(), origin.user)

    def _read_other(self, origin: Origin, message: Message) -> None:
        self._happen(events.MessageArrived(origin, message))

    def _read_watch(self, origin: Origin, message: Watch) -> None:
        refusal = self._watching.watch(origin.route, origin.user, message)
        if refusal is not None:
            self._send(origin.route, refusal)

    def _change_membership(self, origin: Origin, message: Enrol | Rejoin | Leave) -> None:
        answer, changed = self._membership.answer(origin.user, message)
        self.counts["refused_joins" if isinstance(answer, Refused) else "joins"] += 1
        self._outgoing.answer(origin.route, answer)
        self._watching.membership_changed(origin.user, message, answer)
        if self.roster.has_changed(changed):
            self._drop_key(changed)

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
                self._carry_out(self._events.popleft())
        finally:
            self._is_running = False
        if not self._has_batch and not self._is_closed:
            self._has_batch = True
            self._loop.call_soon(self._end_batch)

    def _carry_out(self, event: Event) -> None:
        """One event and its effects. A mistake of ours in one of them ends the session that it is for."""
        try:
            performed = self._machine.handle(event, self._now())
        except Exception as error:  # noqa: BLE001 - the other events go on
            self._failures.note(error, f"the handling of {type(event).__name__}")
            origin = getattr(event, "origin", None)
            if origin is not None and not isinstance(event, events.PeerMisbehaved):
                self._events.append(events.PeerMisbehaved(origin, BROKER_FAILED))
            return
        for effect in performed:
            try:
                _PERFORMERS[type(effect)](self, effect)
            except Exception as error:  # noqa: BLE001 - the other effects go on
                route = getattr(effect, "route", None)
                if route is not None and not isinstance(effect, effects.CloseTraffic):
                    self._failed_for(route, error, f"the effect {type(effect).__name__}")
                else:
                    self._failures.note(error, f"the effect {type(effect).__name__}")

    def _failed_for(self, route: bytes, error: Exception, what: str = "what was due") -> None:
        """A mistake of ours over what was for this peer ends its session."""
        self._failures.note(error, what)
        self._events.append(events.PeerUnreachable(route))
        self._loop.call_soon(self._run)

    def _end_batch(self) -> None:
        if self._is_closed:
            return
        failed = self._failures.count
        self._happen(events.BatchEnded())
        # Placement may have asked for checks, whose answers let more be placed.
        self._has_batch = False
        # After a mistake not at once again: the next message or tick will do.
        if self._machine.farm.is_dirty and self._failures.count == failed:
            self._has_batch = True
            self._loop.call_soon(self._end_batch)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        now = self._now()
        heard, self._heard = self._link.take_receiving() | self._heard, set()
        self._happen(events.Ticked(heard))
        steps: list[Callable[[float], None]] = [
            self._link.look,
            self._traffic.tick,
            self._outgoing.tick,
            self._storage.tick,
        ]
        if now >= self._next_batch:
            self._next_batch = now + self._watching.period_s - TICK_S / 2
            steps.append(self._watching.tick)
        if self._metrics is not None:
            steps.append(self._metrics.tick)
        if now >= self._next_check:
            self._next_check = now + REGISTRY_S
            steps += [self._check_registry, self._membership.write_attendance, self._auditor.tick]
            steps += [self._placed.tick, self._crier.tick, lambda now: self._tombstones.tick()]
        for step in (self._write_down, *steps, self._sum_up, self._note_evictions):
            with self._failures.noted(f"{step.__qualname__}, due now and then"):
                step(now)
        self._run()

    def _check_registry(self, now: float) -> None:
        """Keys may have been revoked or have expired: drop their sessions."""
        for user in self.roster.changed(now):
            self._drop_key(user)

    def _drop_key(self, user: str) -> None:
        """It has another role now, or none: its sessions end, and without a role its connections too."""
        if self.roster.role_of(user) is not None:
            self._happen(events.KeyRevoked(user, "another role"))
            return
        logger.info("the key %s is no longer valid", user)
        self._happen(events.KeyRevoked(user))
        self._loop.call_later(LAST_WORDS_S, self._link.shut, user)

    def _write_down(self, now: float) -> None:
        self._results.write_down()
        self._auditor.write_down()
        self._costbook.write_down(now)

    def _sum_up(self, now: float) -> None:
        self._failures.sum_up()
        self._audit.sum_up()
        for user, more in self._warnings.due(now):
            logger.warning("dropped %s %d times more", user or "others", more)

    def _note_evictions(self, now: float) -> None:
        evicted = self._results.note_evictions()
        self._watching.note_store(self._results.figures)
        self._watching.note_tiers(lambda: [each.row() for each in self._results.tiers()])
        if evicted:
            logger.info("evicted %d blobs and results", evicted)

    def _refuse(self, route: bytes, message: Refused) -> None:
        """No to a request of which the machine is not told."""
        if self._machine.farm.tally is not None:
            self._machine.farm.tally.refused(message.reason)
        self._send(route, message)

    def _now(self) -> float:
        return time.monotonic()

    # --- effects ------------------------------------------------------------------------------

    def _send(self, route: bytes, message: Message) -> bool:
        return self._outgoing.say(route, message)

    def _say(self, route: bytes, message: Message) -> None:
        if not self._send(route, message):
            self._events.append(events.PeerUnreachable(route))

    def _do_send(self, effect: effects.Send) -> None:
        self._say(effect.route, effect.message)

    def _do_open(self, effect: effects.OpenTraffic) -> None:
        self._traffic.open(effect.route, effect.role, effect.user, self._now())
        self._outgoing.open(effect.route, effect.user)
        self._forget(effect.route)

    def _do_close(self, effect: effects.CloseTraffic) -> None:
        self._traffic.close(effect.route, self._now())
        self._outgoing.close(effect.route)
        self._forget(effect.route)

    def _forget(self, route: bytes) -> None:
        """What came by this route is void."""
        self._reception.forget(route)
        self._asking.forget(route)
        self._search.forget(route)
        self._storage.forget(route)
        self._crier.forget(route)
        self._watching.forget(route)

    def _do_ask(self, effect: effects.AskBlobs) -> None:
        session = self._machine.farm.sessions.on_route(effect.route)
        if session is not None:
            self._asking.add(effect.route, session.user, effect.digests)

    def _do_deliver(self, effect: effects.Deliver) -> None:
        deliver = self._outgoing.deliveries.deliver
        if not deliver(effect.route, effect.outputs, effect.message, effect.key):
            self._events.append(events.PeerUnreachable(effect.route))

    def _seek(self, key: Digest, then: Callable[[bool], None]) -> bool:
        """Look for the result of a job that is taken in, in the tiers."""
        execution = self._machine.farm.executions.get(key)
        return execution is not None and self._results.seek(key, execution.cost_s, then)

    def _void(self, key: Digest) -> None:
        """A result was found wrong: agents are to forget it too, and it may not come back from a tier."""
        self._tombstones.add(key)
        self._crier.add(key)

    def _do_find(self, effect: effects.FindMissing) -> None:
        self._search.find(effect, self._results.recall)

    def _do_remember(self, effect: effects.Remember) -> None:
        self._results.remember(effect)
        self._auditor.remembered(effect)

    def _do_audit(self, effect: effects.Audit) -> None:
        logger.debug("%s %s", effect.what, dict(effect.fields))
        self._audit.write(effect.what, effect.fields)


_READERS: dict[type[Message], Callable[[Shell, Origin, Any], None]] = {
    Chunk: lambda shell, origin, said: shell._traffic.take(origin.route, said, shell._now()),
    Credit: Shell._read_credit,
    Absent: Shell._read_absent,
    Want: lambda shell, origin, said: shell._search.want(origin, said.blobs),
    Submit: lambda shell, *said: shell._reception.submit(*said),
    Done: lambda shell, *said: shell._reception.done(*said),
    Cancel: lambda shell, *said: shell._reception.cancel(*said),
    Bye: lambda shell, *said: shell._reception.bye(*said),
    AskVoided: lambda shell, origin, said: shell._crier.ask(origin.route, said),
    Watch: Shell._read_watch,
    StorageGet: Shell._read_storage,
    StoragePut: Shell._read_storage,
    StorageRemove: Shell._read_storage,
}
_PERFORMERS: dict[type[Effect], Callable[[Shell, Any], None]] = {
    effects.Send: Shell._do_send,
    effects.OpenTraffic: Shell._do_open,
    effects.CloseTraffic: Shell._do_close,
    effects.AskBlobs: Shell._do_ask,
    effects.OfferBlobs: lambda shell, due: shell._outgoing.deliveries.offer(due.route, due.blobs),
    effects.TakePushes: lambda shell, due: shell._traffic.expect_pushes(
        due.route, due.lease, due.outputs, due.is_wanted
    ),
    effects.DropPushes: lambda shell, due: shell._traffic.drop_pushes(due.route, due.lease),
    effects.Deliver: Shell._do_deliver,
    effects.FindMissing: Shell._do_find,
    effects.VerifyBlobs: lambda shell, due: shell._search.check(due.digests),
    effects.Remember: Shell._do_remember,
    effects.RerunEnded: lambda shell, due: shell._auditor.ended(due, shell._now()),
    effects.Compare: lambda shell, due: shell._auditor.compare(due),
    effects.TryNode: lambda shell, due: shell._auditor.try_node(due),
    effects.NoteOwing: lambda shell, due: note_owing(shell._state_dir, due.nodes),
    effects.NoteToolchain: lambda shell, due: add_toolchain(shell._state_dir, due.digest, due.user),
    effects.Audit: Shell._do_audit,
}
