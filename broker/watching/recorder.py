"""What the core tells who watches: called where something happens, makes an event's row of it. Pure.

The core has one only while somebody watches (`Farm.watch`, a `FarmWatch` of broker/core/onlookers.py): without
it all goes the same way. Rows are those of `zcc/events.py`, which `docs/reference/events.md` explains. Nothing
here looks at more than it is given but `tick`, once a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from broker.core.jobs import Execution, Lease, Phase, Waiter
from broker.core.nodes import Node
from broker.core.onlookers import harmless
from broker.core.sessions import Session
from broker.watching.asking import first_of, is_hidden, requests_of
from broker.watching.counts import counts_row
from broker.watching.limits import MAX_SHOWN_REQUESTS, PULSE_S
from broker.watching.lines import pulse_row, queue_rows
from broker.watching.moving import Moving, Wires
from broker.watching.nodes import NodesShown
from broker.watching.numbers import Describe, Register, digits, shown, without_paths
from zcc.bounds import MAX_SECONDS
from zcc.events import Row
from zcc.messages import LocalCounts
from zcc.reasons import Reason

if TYPE_CHECKING:
    from broker.core.events import JobSubmitted, Recalled, ResultArrived
    from broker.core.farm import Farm
    from broker.scheduling.placement import Choice

# What a job waits for in this phase. (Their own names: a member is looked up in its class anew each time.)
_FETCHING, _PARKED = Phase.FETCHING, Phase.PARKED
_SENDING = {_FETCHING: "inputs", _PARKED: "toolchain"}


# A reason, slots, idle ones, the node's rate, and the fastest one's.
Chosen = tuple[str, int, int, float, float]


def _lacks(phase: Phase) -> bool:
    """Whether a job in it waits for what it lacks. (Not `in`: an enumeration's hash is slow.)"""
    return phase is _FETCHING or phase is _PARKED


def ms(seconds: float) -> int:
    """Milliseconds as events have them: no row of ours may break a bound, for every watcher would read it."""
    if 0.0 <= seconds < MAX_SECONDS:
        return int(1000 * seconds)
    return int(1000 * min(MAX_SECONDS, max(0.0, seconds)))


class Recorder:
    """`describe` gives a key's id, name and role. `rows` are what has happened since they were taken last,
    `failure` is a mistake of ours meanwhile: rows may lack, and the feed begins anew."""

    def __init__(self, farm: Farm, describe: Describe, wires: Wires) -> None:
        self._farm = farm
        self._zero = farm.started_at
        self.rows: list[Row] = []
        self.failure: Exception | None = None
        self.register = Register(describe, self.rows.append)
        self.nodes = NodesShown(farm, self.register, self.rows.append)
        self._moving = Moving(farm, wires, self.register, self.nodes, self.rows.append)
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
        # Of each tier what stands behind the time in its row, and as it was told last.
        self.tiers: list[Row] = []
        self._told_tiers: list[Row] = []
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
        return max(0, int((moment - self._zero) * 1000))

    # --- requests -----------------------------------------------------------------------------

    @harmless
    def queued(self, execution: Execution) -> None:
        """A job is taken in, for its first request."""
        first = first_of(execution)
        if first is not None:
            self.rows.append(self.queued_row(execution, first, self.at_ms))

    def queued_row(self, execution: Execution, first: Waiter, at_ms: int) -> Row:
        subject, lane = first.subject, execution.lane
        member, build = self._whose(first, execution)
        toolchain, language = "", ""
        file, scan_ms = "", 0
        if subject is not None:
            file, language = shown(subject.file), shown(subject.language)
            toolchain, scan_ms = subject.toolchain, subject.scan_ms
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
        """One more request waits for it; the first one for what the broker has run again by itself."""
        if first_of(execution) is waiter:
            self.rows += self.rows_of(execution)
        else:
            self.rows.append(self.joined_row(execution, waiter, self.at_ms))

    def rows_of(self, execution: Execution) -> Iterator[Row]:
        """What makes it of nothing, with as many requests as a snapshot lists."""
        requests = islice(requests_of(execution), MAX_SHOWN_REQUESTS)
        first = next(requests, None)
        if first is None:
            return
        yield self.queued_row(execution, first, self.ms_at(first.since))
        for waiter in requests:
            yield self.joined_row(execution, waiter, self.ms_at(waiter.since))
        if _lacks(execution.phase):
            yield self.sending_row(execution, self.ms_at(execution.sending_at))
        for lease in (execution.lease, execution.hedge):
            if lease is not None:
                yield self.leased_row(execution, lease, self.ms_at(lease.assigned_at))
                if lease.began_at is not None:
                    yield self.started_row(execution, lease, self.ms_at(lease.began_at))

    def joined_row(self, execution: Execution, waiter: Waiter, at_ms: int) -> Row:
        file = shown(waiter.subject.file) if waiter.subject is not None else ""
        return "twin", at_ms, self._job(execution), *self._whose(waiter, execution), file

    @harmless
    def left(self, execution: Execution, waiter: Waiter) -> None:
        """One request of several is over."""
        if is_hidden(execution):
            self.abandoned(execution)
            execution.number = 0
            return
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
        if is_hidden(execution):
            return
        first = first_of(execution)
        member, build = (0, 0) if first is None else self._whose(first, execution)
        subject = first.subject if first is not None else None
        file = shown(subject.file) if subject is not None else ""
        self._refused(self._job(execution), member, build, file, reason)

    def _refused(self, job: int, member: int, build: int, file: str, reason: str) -> None:
        code, _, detail = reason.partition(": ")
        if code == Reason.JOB_REFUSED:
            detail = ""  # a node's word: it may name what is only its own, or the job's agent's
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

    def phase_changed(self, execution: Execution, before: Phase) -> None:
        """It goes on, or back: what matters of it is whether it waits for what it lacks."""
        phase = execution.phase
        if phase is _FETCHING or phase is _PARKED or before is _FETCHING or before is _PARKED:
            self._lacks_other(execution, before)

    @harmless
    def _lacks_other(self, execution: Execution, before: Phase) -> None:
        did_lack, lacks = _lacks(before), _lacks(execution.phase)
        if did_lack:
            self._count(execution, before, -1)
            self._stop_sending(execution)
        if lacks:
            self._count(execution, execution.phase, +1)
            execution.sending_at = self._farm.now
        if not is_hidden(execution):
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
        if is_hidden(execution):
            self._moving.hide(lease.node)
        else:
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
        if not is_hidden(execution):
            self.rows.append(self.started_row(execution, lease, self.at_ms))

    def started_row(self, execution: Execution, lease: Lease, at_ms: int) -> Row:
        return "started", at_ms, self._job(execution), self._lease(lease)

    @harmless
    def unleased(self, lease: Lease, why: str, *, is_fault: bool) -> None:
        """It has ended without a result; who says it first knows best. What a node says of it besides may name
        paths and sources: it stays with the decisions and the audit log.
        """
        execution = self._farm.executions.get(lease.key)
        if not lease.number or execution is None:
            return
        number, lease.number = lease.number, 0
        self._choices.pop(number, None)
        if is_hidden(execution):
            self._moving.hide(lease.node)
        else:
            job = self._job(execution)
            self.rows.append(("unleased", self.at_ms, job, number, why, "", is_fault))

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
        first = first_of(execution)
        since = first.since if first is not None else lease.assigned_at
        began_at = lease.began_at if lease.began_at is not None else now - wall_s
        outcome = "ok" if event.is_sound else "unproven"
        number, lease.number = self._lease(lease), 0
        self._choices.pop(number, None)
        if is_hidden(execution):
            self._moving.hide(lease.node)
            return
        self.rows.append(
            (
                "finished",
                self.at_ms,
                self._job(execution),
                number,
                outcome if event.exit_status == 0 else "failed",
                event.exit_status,
                ms(cpu_s),
                ms(wall_s),
                event.peak_bytes,
                event.size_bytes,
                ms(lease.assigned_at - since - execution.sent_s),
                ms(execution.sent_s),
                ms(began_at - lease.assigned_at),
                ms(now - began_at - wall_s),
                max(0, len(execution.waiters) - execution.is_rerun - 1),
            )
        )

    # --- nodes and members --------------------------------------------------------------------

    @harmless
    def node_came(self, node: Node) -> None:
        self.nodes.show(node, self.at_ms, is_new=True)

    def node_changed(self, node: Node) -> None:
        self.nodes.changed(node)

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
        self.rows.append(("turned-away", self.at_ms, key_id, name, without_paths(reason)))

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
            member, build = self.register.whose(session, "", each.build, at_ms)
            self.rows.append(counts_row(each, member, build, at_ms))

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
        self._moving.look(self.at_ms)
        rows, others = queue_rows(self._farm, self.waits_for, self.build_of)
        if rows or self._has_queue:
            self.rows.append(("queue", self.at_ms, rows, others))
        self._has_queue = bool(rows)
        self.rows.append(self.pulse_row())
        self.rows += [self._tier_row(each) for each in self.tiers if each not in self._told_tiers]
        self._told_tiers = self.tiers

    def tier_rows(self) -> list[Row]:
        """All tiers, as they were told last."""
        return [self._tier_row(each) for each in self._told_tiers]

    def _tier_row(self, fields: Row) -> Row:
        return "tier", self.at_ms, *fields

    def pulse_row(self) -> Row:
        return pulse_row(self._farm, self.at_ms, self.watchers, self.store)

    # --- within -------------------------------------------------------------------------------

    def build_of(self, execution: Execution) -> tuple[int, int]:
        """The member and the build for which this job waits first."""
        first = first_of(execution)
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
        session, subject = waiter.agent, waiter.subject
        if session is None:
            return 0, 0
        name = subject.build if subject is not None else None
        return self.register.whose(session, execution.lane.build, name, self.at_ms)

    def _asked(
        self, session: Session, event: JobSubmitted, at_ms: int
    ) -> tuple[int, int, str, str, int, int]:
        """Member, build, file, language, toolchain and milliseconds of the scan."""
        subject = event.subject
        name = subject.build if subject is not None else None
        member, build = self.register.whose(session, event.build, name, at_ms)
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
