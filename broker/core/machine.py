"""The broker's judgement: events in, effects out. Pure.

Owns the sessions and who may do what in which state; jobs are the ledger's, blobs the uploads', the
choice of nodes the dispatcher's. Must not know of sockets, disk, clocks or processes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable, Sequence
from math import ceil
from typing import Any

from broker.core import events
from broker.core.admission import expectation
from broker.core.allowance import Allowance
from broker.core.departures import Departures
from broker.core.effects import CloseTraffic, Effect, OfferBlobs, OpenTraffic, Send
from broker.core.events import Event, Origin
from broker.core.farm import Farm
from broker.core.fleet import Fleet
from broker.core.jobs import Phase
from broker.core.ledger import Ledger
from broker.core.limits import (
    BAN_S,
    BEAT_EVERY_S,
    GIVEN_BACK_A_BEAT,
    HELLO_BURST,
    HELLO_EVERY_S,
    HELLO_PER_S,
    MAX_SLOTS,
    RESUBMIT_S,
    RUN_LIMIT_S,
    STALL_S,
    STARTUP_GRACE_S,
    WHO_EVERY_S,
)
from broker.core.listing import nodes_of
from broker.core.sessions import Session
from broker.core.welcoming import open_session, reason_against
from broker.scheduling.dispatch import Dispatcher
from broker.scheduling.model import Identity
from broker.scheduling.stragglers import Stragglers
from broker.trust.reruns import Reruns
from broker.trust.trials import Trials
from cache.digest import Digest
from zcc import __version__
from zcc.holding import HOLDING_KEY_BYTES
from zcc.messages import (
    Absent,
    Announce,
    AskNodes,
    AskPlaced,
    Beat,
    Bye,
    Cancel,
    Drain,
    Drained,
    Failed,
    Fault,
    Hello,
    LocalCounts,
    Message,
    Offer,
    PeerRole,
    Placed,
    Refused,
    Started,
    Welcome,
    Who,
)
from zcc.reasons import Reason

DISK_FULL = Reason.BROKER_DISK
# What watchers are told of whoever breaks the protocol.
MISBEHAVED = "it broke the protocol"


class Machine:
    """`handle(event, now) -> effects`; `now` is monotonic seconds, `rng` makes lease ids."""

    def __init__(
        self,
        farm_name: str,
        rng: random.Random,
        now: float,
        toolchains: Iterable[tuple[Digest, str]] = (),
        holding_key: bytes = bytes(HOLDING_KEY_BYTES),
        run_limit_s: float = RUN_LIMIT_S,
        owing: Sequence[Identity] = (),
    ) -> None:
        self.farm = Farm(farm_name, rng, now, toolchains, run_limit_s, owing)
        self._holding_key = holding_key
        self.violations = 0
        self._ledger = Ledger(self.farm)
        self.uploads = self._ledger.uploads
        self._dispatcher = Dispatcher(self.farm, self._ledger)
        self._reruns = Reruns(self.farm, self._ledger)
        self._trials = Trials(self.farm, self._ledger, owing)
        self._stragglers = Stragglers(self.farm, self._ledger)
        self._fleet = Fleet(self.farm, self._ledger, self._dispatcher)
        self.departures = Departures(self.farm, self._ledger)
        self._ticked_at = now
        self._beat_at = now
        self._has_judged_grace = False
        self._hellos = Allowance(HELLO_BURST, HELLO_PER_S)
        # Routes that were asked who they are, and those that are not listened to, with the time.
        self._asked_who: dict[bytes, float] = {}
        self._banned: dict[bytes, float] = {}

    def handle(self, event: Event, now: float) -> list[Effect]:
        self.farm.now = now
        _HANDLERS[type(event)](self, event, now)
        self._fleet.judge(now)
        performed = self.farm.take_effects()
        if self.farm.tally is not None:
            self.farm.tally.note(performed)
        return performed

    def has_room(self, now: float) -> bool:
        """Whether nobody waits, and a slot is idle."""
        farm = self.farm
        nodes = farm.nodes.usable(now)
        return not (farm.queue or farm.ready) and any(node.idle_slots for node in nodes)

    def is_idle(self, now: float) -> bool:
        """Whether the farm has so little to do that a slot of it can be spent on an audit.

        What a node alone says that it holds is no work: it could put off the audit of its results so.
        """
        nodes = self.farm.nodes.usable(now)
        idle, slots = sum(node.unleased_slots for node in nodes), sum(node.width for node in nodes)
        return self.has_room(now) and 2 * idle >= slots

    def expected_s(self, job: events.JobSubmitted) -> float | None:
        """How long this job is expected to take on a node of average speed; None: it runs or waits already, or
        nobody here has sent it."""
        session = self.farm.sessions.find(job.origin)
        if session is None or job.key in self.farm.executions:
            return None
        return expectation(self.farm, session, job).cost_s

    def is_banned(self, route: bytes) -> bool:
        return route in self._banned

    def fetchable(self, origin: Origin, digests: Iterable[Digest]) -> Container[Digest]:
        """Which of these the node may fetch: they belong to leases that it holds."""
        node = self.farm.node_at(origin)
        return frozenset() if node is None else node.leases_for(digests)

    def payer_of(self, origin: Origin, lease_id: bytes) -> str | None:
        """Whose job this node holds under this lease, or has lost to a second copy just now; None: nobody's."""
        if (execution := self.farm.leased(origin, lease_id)) is not None:
            return execution.lane.user
        session = self.farm.sessions.find(origin)
        return None if session is None else self.farm.beaten.payer_of(session.id, lease_id)

    # --- sessions -----------------------------------------------------------------------------

    def _message(self, event: events.MessageArrived, now: float) -> None:
        origin, message = event.origin, event.message
        if isinstance(message, Hello):
            self._hello(origin, message, now)
            return
        session = self.farm.sessions.find(origin)
        if session is None:
            self._ask_who(origin, now)
            return
        session.seen_at = now
        _MESSAGE_HANDLERS[type(message)](self, session, message, now)

    def _stranger(self, event: events.StrangerSpoke, now: float) -> None:
        self._ask_who(event.origin, now)

    def _ask_who(self, origin: Origin, now: float) -> None:
        if now - self._asked_who.get(origin.route, -WHO_EVERY_S) >= WHO_EVERY_S:
            self._asked_who[origin.route] = now
            self._answer(origin, Who())

    def _answer(self, origin: Origin, message: Message) -> None:
        self.farm.emit(Send(origin.route, message))

    def _hello(self, origin: Origin, hello: Hello, now: float) -> None:
        known = self.farm.sessions.get(hello.session)
        if self._hellos.left(origin.user, now) <= 0 or hello.session in self.departures:
            if known is not None and known.user == origin.user:
                known.seen_at = now
            return  # it says Hello again until it is welcomed
        self._hellos.use(origin.user, 1 + len(hello.leases), now)
        reason = reason_against(self.farm, origin, hello)
        if reason:
            self.farm.audit("refuse", user=origin.user, reason=reason)
            if self.farm.watch is not None:
                self.farm.watch.turned_away(origin.user, reason)
            self._answer(origin, Refused(0, reason))
            return
        if self._fleet.is_too_much(hello):
            reason = f"{len(hello.leases)} leases for {hello.slots} slots"
            self._misbehaved(events.PeerMisbehaved(origin, reason), now)
            return
        self._asked_who.pop(origin.route, None)
        if known is not None and now - known.hello_at < HELLO_EVERY_S:
            known.seen_at = now
            return  # too soon
        there = self.farm.sessions.on_route(origin.route)
        if there is not None and there is not known:
            self._close(there, "replaced", now)
        session = known or open_session(self.farm, origin, hello, now)
        if session.route != origin.route:
            self.farm.emit(CloseTraffic(session.route))
            self.farm.sessions.rebind(session, origin.route)
        session.seen_at = session.hello_at = now
        self.farm.emit(OpenTraffic(session.route, session.role, session.user))
        key = self._holding_key if session.role is PeerRole.CLIENT else b""
        self.farm.send(session, Welcome(session.id, self.farm.name, __version__, key))
        if session.role is PeerRole.NODE:
            self._fleet.arrived(session, hello, now)
        else:
            session.unconfirmed = set(session.tickets)
            session.confirm_until = now + RESUBMIT_S
            self.uploads.source_returned(session)

    def _close(self, session: Session, reason: str, now: float) -> None:
        """The session is over: its requests are void, its leases go to others."""
        self.farm.sessions.close(session)
        self.farm.emit(CloseTraffic(session.route))
        self.farm.audit("close", user=session.user, name=session.name, reason=reason)
        self.departures.add(session)
        node = self.farm.nodes.leave(session.id)
        if node is not None:
            self._hellos.use(session.user, len(node.leases), now)
            self.farm.seats.drop(node)
            self._fleet.left(node, now)
            if self.farm.watch is not None:
                self.farm.watch.node_left(node, reason)

    def _say_bye(self, session: Session, reason: str, now: float) -> None:
        self.farm.send(session, Bye(reason))
        self._close(session, reason, now)

    def _bye(self, session: Session, message: Bye, now: float) -> None:
        node = self.farm.nodes.get(session.id)
        if node is not None:
            node.is_draining = True  # it leaves in order: no fault
        self._close(session, "bye", now)

    def _beat(self, session: Session, message: Beat, now: float) -> None:
        node = self.farm.nodes.get(session.id)
        if node is not None:
            user = session.user
            most = min(GIVEN_BACK_A_BEAT, max(0, int(self._hellos.left(user, now))))
            given_back = self._fleet.beat(node, message, now, most)
            if given_back:
                self._hellos.use(user, given_back, now)

    def _unreachable(self, event: events.PeerUnreachable, now: float) -> None:
        session = self.farm.sessions.on_route(event.route)
        if session is not None:
            self._close(session, "unreachable", now)

    def _misbehaved(self, event: events.PeerMisbehaved, now: float) -> None:
        self.violations += 1
        origin = event.origin
        self._banned[origin.route] = now + BAN_S
        self.farm.audit("violation", user=origin.user, reason=event.reason)
        if self.farm.watch is not None:
            # What it said that nobody may say is in the audit log: it may hold anything.
            self.farm.watch.turned_away(origin.user, MISBEHAVED)
        session = self.farm.sessions.find(origin)
        if session is not None:
            self._say_bye(session, f"protocol: {event.reason}", now)
        else:
            self._answer(origin, Bye(f"protocol: {event.reason}"))

    def _revoked(self, event: events.KeyRevoked, now: float) -> None:
        self.farm.holdings.forget_key(event.user)
        for session in self.farm.sessions.of_user(event.user):
            self._say_bye(session, event.reason, now)

    def _stop(self, event: events.StopRequested, now: float) -> None:
        for session in self.farm.sessions:
            self.farm.send(session, Bye("stopping"))

    # --- leases -------------------------------------------------------------------------------

    def _started(self, session: Session, message: Started, now: float) -> None:
        node = self.farm.nodes.get(session.id)
        lease = node.leases.get(message.lease) if node is not None else None
        if node is not None and lease is not None:
            self._ledger.start(lease, node, now)

    def _announced(self, session: Session, message: Announce, now: float) -> None:
        reason = self._fleet.announced(session, message, now)
        if reason:
            origin = Origin(session.route, session.user, session.role)
            self._misbehaved(events.PeerMisbehaved(origin, reason), now)

    def _failed(self, session: Session, message: Failed, now: float) -> None:
        try:
            fault = Fault(message.fault)
        except ValueError:
            fault = Fault.INTERNAL
        self._fleet.end_badly(
            session, message.lease, fault, message.detail, now, message.used_bytes
        )

    def _result(self, event: events.ResultArrived, now: float) -> None:
        session = self.farm.sessions.find(event.origin)
        if session is None:
            self._ask_who(event.origin, now)
            return
        self._fleet.result(session, event, now)

    def _result_unread(self, event: events.ResultUnread, now: float) -> None:
        session = self.farm.sessions.find(event.origin)
        if session is None:
            self._ask_who(event.origin, now)
            return
        self._fleet.end_badly(session, event.lease, None, event.detail, now)

    # --- requests and blobs -------------------------------------------------------------------

    def _submitted(self, event: events.JobSubmitted, now: float) -> None:
        session = self.farm.sessions.find(event.origin)
        if session is None:
            self._ask_who(event.origin, now)
            return
        session.seen_at = now
        session.unconfirmed.discard(event.ticket)
        known = session.tickets.get(event.ticket)
        if known is None:
            self._ledger.submit(session, event, now)
        elif self.farm.executions[known].job != event.key:
            reason = "a ticket for two jobs"
            self._misbehaved(events.PeerMisbehaved(event.origin, reason), now)

    def _unread(self, event: events.SubmitUnread, now: float) -> None:
        session = self.farm.sessions.find(event.origin)
        if session is not None and event.ticket not in session.tickets:
            self._ledger.turn_away(session, event.ticket)

    def _cancel(self, session: Session, message: Cancel, now: float) -> None:
        self._ledger.cancel(session, message.ticket)

    def _absent(self, session: Session, message: Absent, now: float) -> None:
        self.uploads.absent(session, message.digest)

    def _inputs_checked(self, event: events.InputsChecked, now: float) -> None:
        execution = self.farm.executions.get(event.key)
        if execution is not None and execution.phase is Phase.CHECKING:
            recalled = None if execution.is_new else event.recalled
            if recalled is None or not self._ledger.answer(execution, recalled, now):
                execution.toolchain_bytes = event.toolchain_bytes or execution.toolchain_bytes
                self._dispatcher.inputs_checked(execution, event.missing, now)

    def _inputs_shown(self, event: events.InputsShown, now: float) -> None:
        self.farm.holdings.note(event.user, event.digests)

    def _wanted(self, event: events.BlobsWanted, now: float) -> None:
        """A node fetches: only what belongs to its leases."""
        node = self.farm.node_at(event.origin)
        if node is None:
            self._ask_who(event.origin, now)
            return
        session = node.session
        leases = node.leases_for(digest for digest, _ in (*event.present, *event.missing))
        offered = []
        for digest, offset in event.present:
            if digest in leases:
                offered.append((digest, offset))
                self._fleet.asked(node, digest, offset, leases[digest], now)
            else:
                self.farm.send(session, Absent(digest))
        if offered:
            self.farm.emit(OfferBlobs(session.route, tuple(offered)))
        for digest, offset in event.missing:
            lease = leases.get(digest)
            if lease is None:
                self.farm.send(session, Absent(digest))
            else:
                execution = self.farm.executions[lease.key]
                self.uploads.need_for_node(session, execution, [(digest, offset)])

    def _taken(self, event: events.BlobsTaken, now: float) -> None:
        node = self.farm.node_at(event.origin)
        if node is not None:
            node.supplies.taken(event.amount_bytes, event.left, now)

    def _stored(self, event: events.BlobStored, now: float) -> None:
        self.uploads.stored(event.digest, event.user)

    def _spoiled(self, event: events.BlobSpoiled, now: float) -> None:
        self.uploads.spoiled(event.digest, event.user)

    def _unstorable(self, event: events.BlobUnstorable, now: float) -> None:
        self.uploads.unstorable(event.digest, event.user, DISK_FULL)

    def _stalled(self, event: events.UploadStalled, now: float) -> None:
        session = self.farm.sessions.on_route(event.route)
        if session is not None:
            self.uploads.source_stalled(session, is_moving=event.is_moving)

    def _ask_nodes(self, session: Session, message: AskNodes, now: float) -> None:
        self.farm.send(session, nodes_of(self.farm, now))

    def _drain(self, session: Session, message: Drain, now: float) -> None:
        found = self._fleet.drain(message, now)
        if found:
            word = "drain" if message.is_drained else "undrain"
            self.farm.audit(word, user=session.user, node=message.name, member=message.member)
        self.farm.send(session, Drained(found))

    def _counted(self, session: Session, message: LocalCounts, now: float) -> None:
        if session.role is not PeerRole.CLIENT:
            return
        if self.farm.watch is not None:
            self.farm.watch.counted(session, message)
        if self.farm.tally is not None:
            self.farm.tally.counted(message)

    def _ask_placed(self, session: Session, message: AskPlaced, now: float) -> None:
        """A member sees its own jobs, an admin all."""
        user = None if session.role is PeerRole.ADMIN else session.user
        self.farm.send(session, self.placed(message.job, user, now))

    def placed(self, job: bytes, user: str | None, now: float) -> Placed:
        """Where jobs went whose key begins so, of this key's (None: of everybody's), and why."""
        self.farm.seats.refresh(now)
        return Placed(tuple(self.farm.decisions.about(job, user, now)))

    # --- time ---------------------------------------------------------------------------------

    def _tick(self, event: events.Ticked, now: float) -> None:
        farm = self.farm
        pause_s = now - self._ticked_at
        self._ticked_at = now
        if pause_s > STALL_S:
            farm.sessions.forgive(pause_s)
        farm.sessions.note_heard(event.heard, now)
        for session in farm.sessions.silent(now):
            self._close(session, "silent", now)
        self._expire(now)
        if now - self._beat_at >= BEAT_EVERY_S:
            self._beat_at = now
            farm.seats.refresh(now)
            for session in farm.sessions:
                is_watched = farm.is_counting and session.role is PeerRole.CLIENT
                farm.send(session, Beat(0.0, offer=self._share_of(session), is_watched=is_watched))
        if not self._has_judged_grace and now >= farm.started_at + STARTUP_GRACE_S:
            self._has_judged_grace = True
            self._ledger.unservable.look(now)
        self._ledger.unservable.tick(now)
        self.uploads.ask_others(now)
        farm.seats.look_again()
        self._dispatcher.tick(now)
        self._stragglers.look(now)
        self._trials.look(now)
        if farm.watch is not None:
            farm.watch.tick()
        # Time alone changes what may be placed: quarantines end, jobs have waited enough.
        farm.is_dirty |= bool(farm.queue or farm.ready)

    def _share_of(self, session: Session) -> Offer | None:
        """How many jobs of this agent's user can run at a time, as long as those at work now stay at work."""
        if session.role is not PeerRole.CLIENT:
            return None
        farm = self.farm
        users = len(farm.tallies) + (session.user not in farm.tallies)
        slots, _ = farm.seats.slots(session.user, b"")
        return Offer(min(ceil(slots / users), MAX_SLOTS))

    def _expire(self, now: float) -> None:
        for session in self.farm.sessions:
            if session.unconfirmed and now >= session.confirm_until:
                self.departures.give_up(session)
        self._fleet.expire_orphans(now)
        self._banned = {route: until for route, until in self._banned.items() if until > now}
        self._asked_who = {
            route: at for route, at in self._asked_who.items() if now - at < WHO_EVERY_S
        }

    def _batch_ended(self, event: events.BatchEnded, now: float) -> None:
        if self.departures.has_begun:
            self.departures.take_turn()
        self._dispatcher.run(now)
        self.farm.is_dirty |= self.departures.has_begun  # there is to be another one soon


# Which method takes which event, and which message of a session; a test holds them against the types.
_HANDLERS: dict[type, Callable[[Machine, Any, float], None]] = {
    events.MessageArrived: Machine._message,
    events.StrangerSpoke: Machine._stranger,
    events.JobSubmitted: Machine._submitted,
    events.SubmitUnread: Machine._unread,
    events.InputsShown: Machine._inputs_shown,
    events.RerunAsked: lambda machine, *told: machine._reruns.ask(*told),
    events.NodeCondemned: lambda machine, *told: machine._reruns.condemn(*told),
    events.TrialEnded: lambda machine, *told: machine._trials.ended(*told),
    events.InputsChecked: Machine._inputs_checked,
    events.BlobsWanted: Machine._wanted,
    events.BlobsTaken: Machine._taken,
    events.BlobStored: Machine._stored,
    events.BlobSpoiled: Machine._spoiled,
    events.BlobUnstorable: Machine._unstorable,
    events.UploadStalled: Machine._stalled,
    events.ResultArrived: Machine._result,
    events.ResultUnread: Machine._result_unread,
    events.PeerUnreachable: Machine._unreachable,
    events.PeerMisbehaved: Machine._misbehaved,
    events.KeyRevoked: Machine._revoked,
    events.Ticked: Machine._tick,
    events.BatchEnded: Machine._batch_ended,
    events.StopRequested: Machine._stop,
}
_MESSAGE_HANDLERS: dict[type[Message], Callable[[Machine, Session, Any, float], None]] = {
    Beat: Machine._beat,
    Bye: Machine._bye,
    Cancel: Machine._cancel,
    Absent: Machine._absent,
    Started: Machine._started,
    Announce: Machine._announced,
    Failed: Machine._failed,
    AskNodes: Machine._ask_nodes,
    AskPlaced: Machine._ask_placed,
    Drain: Machine._drain,
    LocalCounts: Machine._counted,
}
