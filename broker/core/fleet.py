"""Nodes that arrive, fail and leave, and what becomes of their leases. Pure."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from broker.core.effects import Compare, TakePushes, VerifyBlobs
from broker.core.events import ResultArrived
from broker.core.farm import Farm
from broker.core.finishing import Finishing
from broker.core.jobs import Lease, Phase, Suspicion, lease_prefix
from broker.core.ledger import Ledger
from broker.core.limits import (
    CLAIMS_S,
    MAX_LOST_LEASES,
    MAX_NODE_SLOTS,
    MAX_PASSING,
    MAX_STOPS,
    MAX_WORD_BYTES,
    ORPHAN_S,
    REVOKES_A_TICK,
    REVOKES_AT_ONCE,
    SURPLUS_LEASES,
    SURPLUS_SHARE,
)
from broker.core.nodes import SUSPICIOUS, Node, most_leases
from broker.core.sessions import SESSION_ID_BYTES, Session
from broker.scheduling.dispatch import Dispatcher
from broker.scheduling.memory import was_stopped
from broker.trust import opinions
from cache.digest import Digest, short
from zcc.member_id import member_id
from zcc.messages import Announce, Beat, Drain, Fault, Hello, Offer, Revoke, Settled
from zcc.printable import brief, printable

# What a node says of itself and not of the job.
UNCOUNTED = frozenset((Fault.STOPPING, Fault.PAUSED, Fault.UNFIT, Fault.MEMORY))


class Fleet:
    def __init__(self, farm: Farm, ledger: Ledger, dispatcher: Dispatcher) -> None:
        self._farm = farm
        self._ledger = ledger
        self._finishing = Finishing(farm, ledger)
        self._uploads = ledger.uploads
        self._dispatcher = dispatcher
        self._turn = 0  # nodes that were told to give leases up, in all
        # Leases that went with their nodes, the oldest first: whose they were, until when they may be claimed.
        self._lost: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def is_too_much(self, hello: Hello) -> bool:
        """Whether it lists more leases than any such node can hold, or believe that it holds."""
        return len(hello.leases) > SURPLUS_SHARE * most_leases(hello.slots) + SURPLUS_LEASES

    def arrived(self, session: Session, hello: Hello, now: float) -> None:
        """A node is here, perhaps with leases: ours, another broker's before us, or void ones."""
        self._uploads.node_reset(session.id)
        slots = min(hello.slots, MAX_NODE_SLOTS)
        node = self._farm.nodes.join(session, slots, frozenset(hello.machine_classes))
        node.supplies.reset(now)
        for toolchain in node.toolchains:
            self._farm.seats.has_toolchain(node, toolchain)
        node.paused = brief(hello.paused, MAX_WORD_BYTES)
        _note_offer(node, hello.offer)
        node.memory = hello.memory
        if self._farm.watch is not None:
            self._farm.watch.node_came(node)
        node.unwanted.clear()
        held = set(hello.leases)
        for lease in list(node.leases.values()):
            if lease.id not in held:  # the Run was lost with the old connection
                self._unwant(node, lease.id)
                self._ledger.give_back(lease, node, now, is_counted=False)
        for lease_id in list(node.orphans):
            if lease_id not in held:
                self._farm.nodes.drop_orphan(node, lease_id)
        for lease_id in hello.leases:
            if lease_id not in node.leases and lease_id not in node.orphans:
                self._claim(node, lease_id, now)
        self._give_back_beyond(node, now, len(node.leases))
        self._revoke_some(node)
        self._farm.seats.touch(node)
        self._farm.is_dirty = True

    def beat(self, node: Node, beat: Beat, now: float, most: int) -> int:
        """What the node says of itself, each second: whether it takes jobs, how many, and why no more.

        Returns how many leases it gives back for that, which are `most` at a time.
        """
        node.load = beat.load
        if self._farm.watch is not None:
            self._farm.watch.node_changed(node)
        was_draining, was_slots, was_none = node.is_draining, node.slots, node.why_none
        node.paused = brief(beat.paused, MAX_WORD_BYTES)
        _note_offer(node, beat.offer)
        node.memory = beat.memory
        self._farm.seats.touch(node)
        self._farm.is_dirty |= node.slots != was_slots
        node.fill_slots(now)
        given_back = self._give_back_beyond(node, now, most)
        self._note_word(node, was_none, now, takes_no_more=node.is_draining > was_draining)
        return given_back

    def asked(self, node: Node, digest: Digest, offset: int, lease: Lease, now: float) -> None:
        """A node fetches a blob for this lease. Where that is the toolchain, the node lacks it, whatever it ran
        before."""
        farm, execution = self._farm, self._farm.executions[lease.key]
        if digest != execution.toolchain:
            return
        if digest in node.toolchains:
            node.toolchains.discard(digest)
            farm.seats.lacks_toolchain(node, digest)
            for each in node.leases.values():
                if each.began_at is None and farm.executions[each.key].toolchain == digest:
                    each.had_to_fetch = True
                    node.supplies.ordered(digest, execution.toolchain_bytes, each.slot_at, now)
        node.supplies.asked(digest, offset, now)
        farm.seats.touch(node)

    def say_paused(self, node: Node, reason: str, now: float) -> None:
        """The node takes no jobs for now, and why."""
        was_none, node.paused = node.why_none, brief(reason, MAX_WORD_BYTES)
        self._farm.seats.touch(node)
        self._note_word(node, was_none, now)

    def drain(self, order: Drain, now: float) -> int:
        """An admin takes the nodes of this key and name away, or lets them work again; how many are here."""
        found = [
            node
            for node in self._farm.nodes
            if node.session.name == order.name and member_id(node.session.user) == order.member
        ]
        for node in found:
            node.record.is_drained = order.is_drained
            if self._farm.watch is not None:
                self._farm.watch.node_changed(node)
            self._farm.seats.touch(node)
            self._give_back_beyond(node, now, len(node.leases))
        if found:
            self._farm.is_dirty = True
            self._ledger.unservable.look(now)
            self._dispatcher.tell_all(now)
        return len(found)

    def _note_word(
        self, node: Node, was_none: str, now: float, *, takes_no_more: bool = False
    ) -> None:
        """What follows for others when a node begins to take no jobs by its own word, or takes them again."""
        why_none = node.why_none
        if bool(why_none) != bool(was_none):
            user, name = node.session.user, node.session.name
            self._farm.audit("pause", user=user, node=name, reason=why_none or "over")
            self._farm.is_dirty = True
        if takes_no_more or (why_none and not was_none):
            self._ledger.unservable.look(now)
            self._dispatcher.tell_all(now)

    def _give_back_beyond(self, node: Node, now: float, most: int) -> int:
        """The node lends less than it did: what it has not begun, beyond what it may hold now, goes to others
        and is nobody's fault. What runs there is let end. Returns how many go now: `most` of them."""
        given_back, surplus = 0, min(node.held - node.most_leases, most)
        for lease in reversed(list(node.leases.values())) if surplus > 0 else ():
            if given_back >= surplus:
                break
            if lease.began_at is None:
                given_back += 1
                self._farm.lease_ended(lease, "lends-less")
                self._ledger.revoke(node, lease.id)
                self._ledger.give_back(lease, node, now, is_counted=False)
        return given_back

    def _claim(self, node: Node, lease_id: bytes, now: float) -> None:
        """A node holds a lease that is not its own in our books."""
        # Over, as the node will read: it wrote this Hello before, while we stood still for example.
        is_over = lease_id in node.ended
        # Who owes a proof takes no job to itself, under whatever name it has come back.
        is_over |= not node.record.standing.is_trusted
        is_over |= not self._may_be_ours(node, lease_id, now)
        if is_over or len(lease_id) != SESSION_ID_BYTES or node.held >= node.most_held:
            self._unwant(node, lease_id)
            return
        execution = self._farm.by_prefix.get(lease_prefix(Digest(lease_id)))
        if execution is None:
            if self._farm.nodes.find_orphan(Digest(lease_id)) is not None:
                self._unwant(node, lease_id)  # two nodes with one key: one is enough
                return
            self._farm.nodes.add_orphan(node, lease_id, now + ORPHAN_S)
        elif (
            execution.phase is Phase.STARTED
            or execution.hedge is not None
            or not self._farm.may_adopt(execution, node)
        ):
            self._unwant(node, lease_id)
        else:
            if execution.lease is not None:  # sent to another node, which has not begun
                other = self._farm.nodes.get(execution.lease.node)
                newer = execution.lease
                self._farm.lease_ended(newer, "runs-elsewhere")
                self._ledger.end_lease(newer)
                if other is not None:
                    self._ledger.revoke(other, newer.id)
            self._ledger.adopt(execution, node, lease_id, now)

    def _may_be_ours(self, node: Node, lease_id: bytes, now: float) -> bool:
        """Whether this node was given such a lease, as far as we can know: else it would choose its jobs."""
        user, until = self._lost.get(lease_id, ("", 0.0))
        was_given = user == node.session.user and now < until
        return was_given or now < self._farm.started_at + CLAIMS_S

    def _note_lost(self, lease: Lease, now: float) -> None:
        self._lost[lease.id] = lease.node_key, now + CLAIMS_S
        while len(self._lost) > MAX_LOST_LEASES or next(iter(self._lost.values()))[1] <= now:
            self._lost.popitem(last=False)

    def left(self, node: Node, now: float) -> None:
        """The node's session is over."""
        self._uploads.node_reset(node.session.id)
        is_lost = not node.is_draining
        suspicion = Suspicion(node.identity) if is_lost else None
        for lease in list(node.leases.values()):
            self._farm.lease_ended(lease, "node-lost" if is_lost else "node-left")
            self._note_lost(lease, now)
            self._ledger.give_back(lease, node, now, is_counted=is_lost, suspicion=suspicion)
        node.supplies.end(now)
        node.let_go()
        self._ledger.unservable.look(now)
        self._dispatcher.tell_all(now)
        self._farm.is_dirty = True

    def judge(self, now: float) -> None:
        """Put nodes aside that have failed too often. What waits for them alone is refused, which may tell on
        others in turn."""
        while blamed := self._farm.blame.judge(now):
            put_aside = {id(self._farm.nodes.record(each.node)) for each in blamed}
            for node in self._farm.nodes:
                if id(node.record) in put_aside:
                    self._farm.seats.touch(node)
            for each in blamed:
                self._farm.audit(
                    "quarantine", node=each.node[1], for_s=round(each.for_s, 1), user=each.key
                )
                if self._farm.watch is not None:
                    self._farm.watch.suspended(each.node[1], each.for_s, each.key)
            self._ledger.unservable.look(now)

    def result(self, session: Session, event: ResultArrived, now: float) -> None:
        """A node has done a job, or says so."""
        farm, node = self._farm, self._farm.nodes.get(session.id)
        winner = farm.beaten.take(session.id, event.lease)
        if winner is not None:
            farm.send(session, Settled(event.lease))
            farm.emit(Compare(winner, session.name, session.user, event.body))
            return
        lease = node.leases.get(event.lease) if node is not None else None
        if node is None or lease is None or not event.is_complete:
            fault = None if event.is_excused else Fault.INTERNAL
            self.end_badly(session, event.lease, fault, "outputs were not pushed", now)
            return
        execution = farm.executions[lease.key]
        user = execution.lane.user
        # Whether an answer to a known job is right is for whoever has asked to say.
        if not execution.is_trial:
            node.record.note_success(user)
        if not execution.is_rerun:
            opinions.note_use(farm, lease, node, event, now)
        farm.audit(
            "result",
            user=user,
            job=short(lease.key),
            node=session.name,
            status=event.exit_status,
            cpu_s=round(event.cpu_s, 3),
        )
        verdict = "" if not event.exit_status else f"exit status {event.exit_status}"
        farm.decisions.ended(lease.id, "finished", now, verdict, event.cpu_s)
        self._finishing.finish(lease, node, event, now)
        farm.send(session, Settled(event.lease))

    def end_badly(
        self,
        session: Session,
        lease_id: bytes,
        fault: Fault | None,
        detail: str,
        now: float,
        used_bytes: int = 0,
    ) -> None:
        """A lease ended without a verdict. Without a fault it is neither the node's nor the job's."""
        detail = printable(detail)
        self._farm.send(session, Settled(lease_id))
        node = self._farm.nodes.get(session.id)
        assert node is not None
        self._farm.nodes.drop_orphan(node, lease_id)
        self._farm.seats.touch(node)
        self._farm.is_dirty = True
        lease = node.leases.get(lease_id)
        if lease is None:
            return
        named = fault.value if fault is not None else "broker"
        self._farm.audit(
            "fault",
            user=self._farm.executions[lease.key].lane.user,
            job=short(lease.key),
            node=session.name,
            fault=named,
            detail=detail,
        )
        detail = brief(detail, MAX_WORD_BYTES)
        self._farm.lease_ended(lease, named, detail, is_fault=fault is not None)
        execution = self._farm.executions[lease.key]
        execution.fault = named
        if fault is Fault.REFUSED:
            key = session.user
            if execution.is_rerun or not self._farm.can_ask_another(execution, key, now):
                self._ledger.reject(lease, node, detail)
                return
            execution.called_wrong = detail or "it says so"
        if fault is Fault.STOPPING:
            node.is_draining = True
        elif fault is Fault.INPUT:
            execution.complaints.append(Suspicion(node.identity))
            execution.is_doubted = True
            self._farm.emit(VerifyBlobs(tuple(sorted(lease.may_fetch))))
        elif fault is Fault.PAUSED and not node.paused:
            self.say_paused(node, detail or "it says so", now)  # until its next beat
        elif fault is Fault.MEMORY and used_bytes:
            most_bytes = node.memory.limit_bytes if node.memory else lease.memory_bytes
            said_bytes = min(used_bytes, 2 * most_bytes)
            was_stopped(self._farm, execution, session.user, said_bytes, now)
        elif fault is Fault.RESOURCES:
            if not execution.is_rerun:
                node.record.note_short(execution.lane.user, now)
        elif fault is Fault.UNFIT:
            node.note_unfit(execution.toolchain, detail or "it says so")
        if _is_early(fault, lease, used_bytes, now) and not execution.is_rerun:
            self._farm.denials.note_denial(session.user, lease.payer, lease.expected_end, now)
        suspicion = Suspicion(node.identity) if fault in SUSPICIOUS else None
        is_counted = fault not in UNCOUNTED
        if fault is Fault.MEMORY:
            execution = self._farm.executions[lease.key]
            execution.stops += 1
            is_counted = execution.stops > MAX_STOPS
        self._ledger.give_back(lease, node, now, is_counted=is_counted, suspicion=suspicion)
        if fault in UNCOUNTED:
            self._ledger.unservable.look(now)

    def announced(self, session: Session, message: Announce, now: float) -> str:
        """A node will push: as many blobs as the job may write, for a lease that it holds; for one that is
        over they pass by. Returns what is wrong with it, or nothing."""
        node = self._farm.nodes.get(session.id)
        assert node is not None
        if not node.knows(message.lease):
            return "outputs were announced under a lease that this node does not hold"
        lease, count = node.leases.get(message.lease), len(message.outputs)
        most = MAX_PASSING
        if lease is not None:
            most = self._farm.executions[lease.key].most_outputs
        if count > most:
            return f"{count} outputs were announced of a job that writes at most {most}"
        if lease is not None and message.outputs:  # nothing takes no time to send
            self._farm.patience.announced(lease, now)
        is_wanted = lease is not None
        self._farm.emit(TakePushes(session.route, message.lease, message.outputs, is_wanted))
        return ""

    def expire_orphans(self, now: float) -> None:
        """No agent has come back for these: the slots are needed. Nodes take turns at being told."""
        owed = [node for node in self._farm.nodes if node.is_owed_revokes(now)]
        if not owed:
            return
        first = self._turn % len(owed)
        left = REVOKES_A_TICK
        for node in owed[first:] + owed[:first]:
            if left < REVOKES_AT_ONCE:
                break
            for lease_id, until in list(islice(node.orphans.items(), REVOKES_AT_ONCE)):
                if until <= now:
                    self._unwant(node, lease_id)
            left -= self._revoke_some(node)
            self._turn += 1

    def _unwant(self, node: Node, lease_id: bytes) -> None:
        """The node is to give this lease up, which it is told in its turn."""
        self._farm.nodes.drop_orphan(node, lease_id)
        node.note_ended(lease_id)
        node.unwanted[lease_id] = None

    def _revoke_some(self, node: Node) -> int:
        """Tell the node of leases that it is to give up, as many as it may be told at once; how many."""
        told = list(islice(node.unwanted, REVOKES_AT_ONCE))
        for lease_id in told:
            del node.unwanted[lease_id]
            self._farm.send(node.session, Revoke(lease_id))
        self._farm.seats.touch(node)
        self._farm.is_dirty |= bool(told)
        return len(told)


def _is_early(fault: Fault | None, lease: Lease, used_bytes: int, now: float) -> bool:
    """Whether a run was ended for a limit that it had not reached: as little use as an exit status."""
    if fault is Fault.DEADLINE:
        return now < lease.limit_at
    return fault is Fault.MEMORY and used_bytes < lease.memory_bytes


def _note_offer(node: Node, offer: Offer | None) -> None:
    """Take the node's word for what it lends; of more slots than its Hello has nobody can know."""
    if offer is None:
        node.slots, node.lends_less = node.all_slots, ""
        return
    node.slots = min(offer.slots, node.all_slots)
    node.mode = printable(offer.mode)
    is_less = node.slots < node.all_slots
    node.lends_less = (brief(offer.why, MAX_WORD_BYTES) or "it does not say why") if is_less else ""
    # Once: what it was told to end it may still have to be asked for.
    node.is_draining |= offer.is_leaving
