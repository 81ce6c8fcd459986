"""What the core tells who watches: called where something happens, makes an event's row of it. Pure.

The core has one only while somebody watches (`Farm.watch`), and asks nothing of it: without it everything goes
the same way. Rows are those of `zcc/events.py`, which `docs/reference/events.md` explains. Nothing here looks
at more than it is given but `tick`, once a second.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from broker.core.jobs import Execution, Lease, Phase, Waiter
from broker.core.nodes import Node
from broker.core.onlookers import harmless
from broker.core.sessions import Session
from broker.watching.limits import PULSE_S
from broker.watching.lines import queue_rows
from broker.watching.nodes import NodesShown
from broker.watching.numbers import Describe, Register, digits, shown
from zcc.events import Row
from zcc.messages import LocalCounts, PeerRole

if TYPE_CHECKING:
    from broker.core.events import JobSubmitted, Recalled, ResultArrived
    from broker.core.farm import Farm
    from broker.scheduling.placement import Choice

# What a job waits for in this phase.
_SENDING = {Phase.FETCHING: "inputs", Phase.PARKED: "toolchain"}


# A reason, slots, idle ones, the node's rate, and the fastest one's.
Chosen = tuple[str, int, int, float, float]


def _lacks(phase: Phase) -> bool:
    """Whether a job in it waits for what it lacks. (Not `in`: an enumeration's hash is slow.)"""
    return phase is Phase.FETCHING or phase is Phase.PARKED


def ms(seconds: float) -> int:
    return max(0, int(seconds * 1000))


class Recorder:
    """`describe` gives a key's id, name and role. `rows` are what has happened since they were taken last,
    `failure` is a mistake of ours meanwhile: rows may lack, and the feed begins anew."""

    def __init__(self, farm: Farm, describe: Describe) -> None:
        self._farm = farm
        self._zero = farm.started_at
        self.rows: list[Row] = []
        self.failure: Exception | None = None
        self.register = Register(describe, self.rows.append)
        self.nodes = NodesShown(farm, self.register, self.rows.append)
        self._jobs = self._leases = 0
        # Of each run that is under way why it went there, of how many slots and idle ones, and at which rates.
        self._choices: dict[int, Chosen] = {}
        # Jobs that wait for what they lack, by lane and phase.
        self.waits_for: Counter[tuple[str, str, bytes, Phase]] = Counter()
        self._pulse_at = farm.now
        # The rate of the fastest node for a key's jobs of a machine class, in this second.
        self._fastest: dict[tuple[str, bytes], float] = {}
        self._has_queue = False
        # What the shell knows: bytes of the store, the most that it may have, and how much was evicted.
        self.store = (0, 0, 0)
        self.watchers = 0
        for execution in farm.executions.values():
            # What it was called in a feed before is void.
            execution.number, execution.sent_s = 0, 0.0
            execution.sending_at = farm.now if _lacks(execution.phase) else 0.0
            for lease in (execution.lease, execution.hedge):
                if lease is not None:
                    lease.number = 0
            if _lacks(execution.phase):
                self._count(execution, execution.phase, +1)

    @property
    def at_ms(self) -> int:
        return int((self._farm.now - self._zero) * 1000)

    def ms_at(self, moment: float) -> int:
        """A moment of the machine's as events have it; 0 where it was before the broker's start."""
        return ms(moment - self._zero)

    # --- requests -----------------------------------------------------------------------------

    @harmless
    def queued(self, execution: Execution) -> None:
        """A job is taken in, for its first request."""
        first = next(iter(execution.waiters.values()))
        self.rows.append(self.queued_row(execution, first, self.at_ms))

    def queued_row(self, execution: Execution, first: Waiter, at_ms: int) -> Row:
        subject, lane = first.subject, execution.lane
        member, build = self._whose(first, execution)
        toolchain, language = "", ""
        file, scan_ms = "", 0
        if subject is not None:
            file, language = shown(subject.file), shown(subject.language)
            toolchain, scan_ms = subject.toolchain, subject.scan_ms
        elif execution.is_rerun:
            file = "(audit)"
        known, needs = execution.known, lane.machine_class
        return (
            "queued",
            at_ms,
            self._job(execution),
            digits(execution.job),
            member,
            build,
            file,
            language,
            self.register.toolchain(execution.toolchain, toolchain, at_ms),
            ms(execution.cost_s),
            execution.is_known,
            execution.memory_bytes,
            len(execution.inputs),
            known.traits.closure_bytes if known is not None else 0,
            scan_ms,
            execution.nice,
            shown(needs.decode(errors="replace")) if needs else "",
        )

    @harmless
    def joined(self, execution: Execution, waiter: Waiter) -> None:
        """One more request waits for it."""
        self.rows.append(self.joined_row(execution, waiter, self.at_ms))

    def joined_row(self, execution: Execution, waiter: Waiter, at_ms: int) -> Row:
        file = shown(waiter.subject.file) if waiter.subject is not None else ""
        return "twin", at_ms, self._job(execution), *self._whose(waiter, execution), file

    @harmless
    def left(self, execution: Execution, waiter: Waiter) -> None:
        """One request of several is over."""
        self.rows.append(
            ("left", self.at_ms, self._job(execution), *self._whose(waiter, execution))
        )

    @harmless
    def answered(self, session: Session, event: JobSubmitted, recalled: Recalled) -> None:
        """A request is answered from memory at once."""
        at_ms = self.at_ms
        member, build, file, language, toolchain, scan_ms = self._asked(session, event, at_ms)
        self.rows.append(
            (
                "hit", at_ms, 0, digits(event.key), member, build, file, language, toolchain,
                shown(recalled.node), recalled.size_bytes, scan_ms,
            )
        )  # fmt: skip

    @harmless
    def recalled(self, execution: Execution, recalled: Recalled) -> None:
        """A job that waited is answered from memory."""
        at_ms = self.at_ms
        first = next(iter(execution.waiters.values()))
        subject = first.subject
        self.rows.append(
            (
                "hit",
                at_ms,
                self._job(execution),
                digits(execution.job),
                *self._whose(first, execution),
                shown(subject.file) if subject is not None else "",
                shown(subject.language) if subject is not None else "",
                self.register.toolchain(execution.toolchain, "", at_ms),
                shown(recalled.node),
                recalled.size_bytes,
                subject.scan_ms if subject is not None else 0,
            )
        )

    @harmless
    def not_taken(self, session: Session, event: JobSubmitted | None, reason: str) -> None:
        """A request is refused at once; None: unread."""
        at_ms, member, build, file = self.at_ms, 0, 0, ""
        if event is None:
            member = self.register.member(session.user, at_ms)
        else:
            member, build, file, *_ = self._asked(session, event, at_ms)
        self._refused(0, member, build, file, reason)

    @harmless
    def refused(self, execution: Execution, reason: str) -> None:
        """No to everybody who waits for this job."""
        first = next(iter(execution.waiters.values()), None)
        member, build = (0, 0) if first is None else self._whose(first, execution)
        subject = first.subject if first is not None else None
        file = shown(subject.file) if subject is not None else ""
        self._refused(self._job(execution), member, build, file, reason)

    def _refused(self, job: int, member: int, build: int, file: str, reason: str) -> None:
        code, _, detail = reason.partition(": ")
        self.rows.append(
            ("refused", self.at_ms, job, member, build, file, shown(code), shown(detail))
        )

    @harmless
    def abandoned(self, execution: Execution) -> None:
        """Nobody waits for it any more."""
        self.rows.append(("abandoned", self.at_ms, self._job(execution), "cancelled"))

    @harmless
    def opened(self, execution: Execution, *, is_merged: bool) -> None:
        """A private job has all its inputs: it goes on as the job of its key, or waits for that one."""
        self._stop_sending(execution)
        if is_merged:
            self.rows.append(("abandoned", self.at_ms, self._job(execution), "merged"))
        else:
            self.rows.append(("sending", self.at_ms, self._job(execution), "", 0))

    @harmless
    def removed(self, execution: Execution) -> None:
        """It has ended, in whatever way."""
        if _lacks(execution.phase):
            self._count(execution, execution.phase, -1)

    @harmless
    def phase_changed(self, execution: Execution, before: Phase) -> None:
        """It goes on, or back: what matters of it is whether it waits for what it lacks."""
        did_lack, lacks = _lacks(before), _lacks(execution.phase)
        if did_lack:
            self._count(execution, before, -1)
            self._stop_sending(execution)
        if lacks:
            self._count(execution, execution.phase, +1)
            execution.sending_at = self._farm.now
        if did_lack or lacks:
            self.rows.append(self.sending_row(execution, self.at_ms))

    def _stop_sending(self, execution: Execution) -> None:
        if execution.sending_at:
            execution.sent_s += max(0.0, self._farm.now - execution.sending_at)
        execution.sending_at = 0.0

    def sending_row(self, execution: Execution, at_ms: int) -> Row:
        what = _SENDING.get(execution.phase, "")
        missing = len(execution.missing) + len(execution.later) if what else 0
        return "sending", at_ms, self._job(execution), what, missing

    # --- leases -------------------------------------------------------------------------------

    def room_for(self, execution: Execution) -> tuple[int, int]:
        """Slots that it may have, and the idle ones of them: to be asked before it takes one."""
        lane = execution.lane
        return self._farm.seats.slots(lane.user, lane.machine_class, execution.toolchain)

    @harmless
    def leased(
        self, execution: Execution, lease: Lease, choice: Choice, room: tuple[int, int]
    ) -> None:
        """It goes to a node, of so much room that there was."""
        farm, lane = self._farm, execution.lane
        place = lane.user, lane.machine_class
        fastest = self._fastest.get(place)
        if fastest is None:
            fastest = self._fastest[place] = farm.seats.fastest_rate(*place, farm.now)
        reason = "copy" if lease is execution.hedge else choice.reason
        chosen = reason, *room, choice.seat.rate, fastest
        self._choices[self._lease(lease)] = chosen
        self.rows.append(self.leased_row(execution, lease, self.at_ms))

    @harmless
    def adopted(self, execution: Execution, lease: Lease) -> None:
        """A node has it since before our start."""
        self._choices[self._lease(lease)] = "adopted", 0, 0, 1.0 / lease.power, 0.0
        self.rows.append(self.leased_row(execution, lease, self.at_ms))
        self.started(lease)

    def leased_row(self, execution: Execution, lease: Lease, at_ms: int) -> Row:
        number = self._lease(lease)
        unknown = "", 0, 0, 1.0 / lease.power, 0.0  # it went there before anybody watched
        reason, slots, idle, rate, fastest = self._choices.get(number, unknown)
        return (
            "leased",
            at_ms,
            self._job(execution),
            number,
            self.nodes.number_of(lease.node),
            reason,
            max(0, slots),
            max(0, idle),
            rate,
            fastest,
            ms(lease.expected_end - lease.assigned_at),
            lease.memory_bytes,
            lease.had_to_fetch,
            lease is execution.hedge,
        )

    @harmless
    def started(self, lease: Lease) -> None:
        """Its compiler runs."""
        execution = self._farm.executions[lease.key]
        self.rows.append(self.started_row(execution, lease, self.at_ms))

    def started_row(self, execution: Execution, lease: Lease, at_ms: int) -> Row:
        return "started", at_ms, self._job(execution), self._lease(lease)

    @harmless
    def unleased(self, lease: Lease, why: str, detail: str, *, is_fault: bool) -> None:
        """It has ended without a result; who says it first knows best."""
        execution = self._farm.executions.get(lease.key)
        if not lease.number or execution is None:
            return
        number, lease.number = lease.number, 0
        self._choices.pop(number, None)
        job = self._job(execution)
        self.rows.append(("unleased", self.at_ms, job, number, why, shown(detail), is_fault))

    @harmless
    def finished(
        self,
        execution: Execution,
        lease: Lease,
        event: ResultArrived,
        took: tuple[float, float],
    ) -> None:
        """Its result has come; `took` are CPU seconds and those on the wall."""
        now, (cpu_s, wall_s) = self._farm.now, took
        first = next(iter(execution.waiters.values()), None)
        since = first.since if first is not None else lease.assigned_at
        began_at = lease.began_at if lease.began_at is not None else now - wall_s
        outcome = "ok" if event.is_sound else "unproven"
        number, lease.number = self._lease(lease), 0
        self._choices.pop(number, None)
        self.rows.append(
            (
                "finished",
                self.at_ms,
                self._job(execution),
                number,
                outcome if event.exit_status == 0 else "failed",
                event.exit_status,
                int(cpu_s * 1000),
                int(wall_s * 1000),
                event.peak_bytes,
                event.size_bytes,
                ms(lease.assigned_at - since - execution.sent_s),
                int(execution.sent_s * 1000),
                ms(began_at - lease.assigned_at),
                ms(now - began_at - wall_s),
                max(0, len(execution.waiters) - 1),
            )
        )

    # --- nodes and members --------------------------------------------------------------------

    @harmless
    def node_came(self, node: Node) -> None:
        self.nodes.show(node, self.at_ms, is_new=True)

    @harmless
    def node_left(self, node: Node, reason: str) -> None:
        self.nodes.left(node, reason, self.at_ms)

    @harmless
    def suspended(self, name: str, for_s: float, user: str) -> None:
        """A node is in quarantine, for everybody or for this key's jobs."""
        at_ms = self.at_ms
        row = "quarantine", at_ms, shown(name), ms(for_s), self.register.member(user, at_ms)
        self.rows.append(row)

    @harmless
    def turned_away(self, user: str, reason: str) -> None:
        key_id, name, _ = self.register.described(user)
        self.rows.append(("turned-away", self.at_ms, key_id, name, shown(reason)))

    @harmless
    def enrolled(self, user: str) -> None:
        """A key is a member's, or has another role now."""
        self.register.member_changed(user, self.at_ms)
        self.rows.append(("joined", self.at_ms, *self.register.described(user)))

    @harmless
    def counted(self, session: Session, message: LocalCounts) -> None:
        """What an agent did by itself."""
        at_ms = self.at_ms
        for each in message.builds:
            build = self.register.build(session, "", each.build, at_ms)
            member = self.register.member(session.user, at_ms)
            local = tuple((shown(reason), count) for reason, count in each.local)
            missed = tuple((shown(cause), count) for cause, count in each.missed)
            files = tuple((shown(one.reason), shown(one.file), one.waited_ms) for one in each.files)
            counts = each.local_hits, each.saved_ms, local, missed, files
            self.rows.append(("counted", at_ms, member, build, *counts))

    # --- time ---------------------------------------------------------------------------------

    @harmless
    def tick(self) -> None:
        """Time has passed: once a second, what goes by itself is looked at."""
        now = self._farm.now
        if now < self._pulse_at:
            return
        self._pulse_at = now + PULSE_S
        self._fastest.clear()
        self.nodes.look(self.at_ms)
        rows, others = queue_rows(self._farm, self.waits_for, self.build_of)
        if rows or self._has_queue:
            self.rows.append(("queue", self.at_ms, rows, others))
        self._has_queue = bool(rows)
        self.rows.append(self.pulse_row())

    def pulse_row(self) -> Row:
        farm = self._farm
        running = len(farm.leases) - len(farm.hedged)
        slots = sum(node.slots for node in farm.nodes) if len(farm.nodes) < 1000 else 0
        if not slots:
            slots, _ = farm.seats.slots("", b"")
        agents = sum(1 for each in farm.sessions if each.role is PeerRole.CLIENT)
        counts = agents, len(farm.nodes), self.watchers
        waiting = max(0, farm.total.jobs - running)
        return ("pulse", self.at_ms, waiting, running, slots, *counts, *self.store)

    # --- within -------------------------------------------------------------------------------

    def build_of(self, execution: Execution) -> tuple[int, int]:
        """The member and the build for which this job waits first."""
        first = next(iter(execution.waiters.values()), None)
        return (0, 0) if first is None else self._whose(first, execution)

    def _job(self, execution: Execution) -> int:
        if not execution.number:
            self._jobs += 1
            execution.number = self._jobs
        return execution.number

    def _lease(self, lease: Lease) -> int:
        if not lease.number:
            self._leases += 1
            lease.number = self._leases
        return lease.number

    def _whose(self, waiter: Waiter, execution: Execution) -> tuple[int, int]:
        session, at_ms = waiter.agent, self.at_ms
        if session is None:
            return 0, 0
        subject = waiter.subject
        name = subject.build if subject is not None else None
        build = self.register.build(session, execution.lane.build, name, at_ms)
        return self.register.member(session.user, at_ms), build

    def _asked(
        self, session: Session, event: JobSubmitted, at_ms: int
    ) -> tuple[int, int, str, str, int, int]:
        """Member, build, file, language, toolchain and milliseconds of the scan."""
        subject = event.subject
        name = subject.build if subject is not None else None
        build = self.register.build(session, event.build, name, at_ms)
        member = self.register.member(session.user, at_ms)
        called = subject.toolchain if subject is not None else ""
        toolchain = self.register.toolchain(event.toolchain, called, at_ms)
        if subject is None:
            return member, build, "", "", toolchain, 0
        file, language = shown(subject.file), shown(subject.language)
        return member, build, file, language, toolchain, subject.scan_ms

    def _count(self, execution: Execution, phase: Phase, sign: int) -> None:
        place = (*execution.lane, phase)
        self.waits_for[place] += sign
        if self.waits_for[place] <= 0:
            del self.waits_for[place]
