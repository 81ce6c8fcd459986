"""Submits and Dones on their way from the socket to the machine: who pays for reading them, what comes of it.

Owns the reader. Must not know of sockets: what it has to say it says through the machine, or `refuse`s.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from broker.core import events
from broker.core.events import Event, Origin
from broker.core.limits import DISK_FAULT_S, MAX_INTERNED, MAX_REASON
from broker.core.machine import Machine
from broker.errors import ReaderFullError
from broker.failures import BROKER_FAILED
from broker.results.shared_cache import SharedResults
from broker.transport.heads import JobHead, ResultHead, is_as_declared, split_digests
from broker.transport.held import HeldJobs
from broker.transport.reader import Head, Reader
from broker.transport.traffic import Traffic
from cache.digest import Digest
from zcc.errors import ProtocolError
from zcc.messages import Bye, Cancel, Done, Message, Refused, Submit
from zcc.reasons import Reason

logger = logging.getLogger(__name__)

# Why a Submit that was not read is refused.
UNREADABLE = Reason.UNREADABLE
# Who pays for the results of a key's jobs. No key looks like this: keys are Z85.
RESULTS_OF = "results of "


class Reception:
    """`blame` ends the session of whoever sent what no correct peer sends; what is done on a peer's behalf is
    done within `on_behalf_of`, as it may come long after its message."""

    def __init__(
        self,
        *,
        directory: str,
        holding_key: bytes,
        clock: Callable[[], float],
        machine: Machine,
        traffic: Traffic,
        results: SharedResults,
        happen: Callable[[Event], None],
        refuse: Callable[[bytes, Refused], None],
        blame: Callable[[Origin, Exception], None],
        on_behalf_of: Callable[[Origin], AbstractContextManager[None]],
        counts: Counter[str],
    ) -> None:
        self._clock = clock
        self._machine = machine
        self._traffic = traffic
        self._results = results
        self._happen = happen
        self._refuse = refuse
        self._blame = blame
        self._on_behalf_of = on_behalf_of
        self._counts = counts
        self._reader = Reader(directory, holding_key, clock, self._was_read, self._was_not_read)
        self._interned: dict[Digest, Digest] = {}
        self._held = HeldJobs()  # those whose results are looked for in the tiers

    def close(self) -> None:
        self._reader.close()

    def forget(self, route: bytes) -> None:
        """The session on this route is over, or begins anew: what came by it is void."""
        self._reader.forget(route)
        self._held.forget(route)

    # --- what comes ---------------------------------------------------------------------------

    def submit(self, origin: Origin, message: Submit) -> None:
        self._reader.read(origin, message, origin.user)

    def done(self, origin: Origin, message: Done) -> None:
        """A result is read for whoever has the job run. One of no job is settled unread, and of what is said
        twice the first is read."""
        payer = self._machine.payer_of(origin, message.lease)
        if payer is None:
            self._end_unread(origin, message, "no job of this lease is known")
        elif not self._reader.holds(origin.route, message.lease):
            self._reader.read(origin, message, RESULTS_OF + payer)

    def cancel(self, origin: Origin, message: Cancel) -> None:
        is_held = self._held.cancel(origin.route, message.ticket)
        if not self._reader.cancel(origin, message.ticket) and not is_held:
            self._happen(events.MessageArrived(origin, message))

    def bye(self, origin: Origin, message: Bye) -> None:
        """Its last results count."""
        self._reader.take_last(origin, message)

    # --- what was read ------------------------------------------------------------------------

    def _was_read(
        self, origin: Origin, message: Message, head: Head, shown: tuple[Digest, ...]
    ) -> None:
        with self._on_behalf_of(origin):
            match message, head:
                case Submit(), JobHead():
                    self._take_job(origin, message, head, shown)
                case Done(), ResultHead():
                    self._take_result(origin, message, head)
                case _:
                    self._happen(events.MessageArrived(origin, message))

    def _was_not_read(self, origin: Origin, message: Message, error: Exception) -> None:
        with self._on_behalf_of(origin):
            self._give_up(origin, message, error)

    def _give_up(self, origin: Origin, message: Message, error: Exception) -> None:
        """One command is at fault, perhaps for another release's bounds: its user's others go on. A node is at
        fault for what is no result, and for nothing else."""
        match message:
            case Submit() if isinstance(error, ReaderFullError):
                self._happen(events.SubmitUnread(origin, message.ticket))
            case Submit():
                self._refuse_unreadable(origin, message, error)
            case Done() if not isinstance(error, ProtocolError):
                self._end_unread(origin, message, str(error))
            case _:
                self._blame(origin, error)

    def _refuse_unreadable(self, origin: Origin, message: Submit, error: Exception) -> None:
        reason = UNREADABLE if isinstance(error, ProtocolError) else BROKER_FAILED
        count = self._counts["unreadable_jobs"] = self._counts["unreadable_jobs"] + 1
        if count.bit_count() == 1:  # 1, 2, 4, 8 ...: nobody fills the log with them
            logger.warning("refused %d unreadable jobs, one of %s: %s", count, origin.user, error)
        self._refuse(origin.route, Refused(message.ticket, f"{reason}: {error}"[:MAX_REASON]))

    def _end_unread(self, origin: Origin, message: Done, detail: str) -> None:
        """The lease ends without a verdict, and nobody is to blame."""
        self._happen(events.ResultUnread(origin, message.lease, detail))

    def _take_job(
        self, origin: Origin, message: Submit, head: JobHead, shown: tuple[Digest, ...]
    ) -> None:
        inputs = self._interned_all(split_digests(head.inputs))
        if shown:
            self._happen(events.InputsShown(origin.user, shown))
        recalled = None
        is_public = not self._machine.farm.holdings.unshown(origin.user, inputs)
        if is_public:
            if message.is_fresh:
                self._results.doubt(message.key)
            else:
                recalled = self._results.recall(message.key)
        if recalled is not None:
            self._reader.spend(origin.user, len(recalled.body))
        job = events.JobSubmitted(
            origin=origin,
            ticket=message.ticket,
            key=message.key,
            cost_hint_s=message.cost_hint_s,
            build=message.build,
            toolchain=self._intern(Digest(head.toolchain)),
            inputs=inputs,
            machine_class=head.machine_class,
            recalled=recalled,
            body=message.body,
            most_outputs=head.most_outputs,
            declared=head.declared,
            is_fresh=message.is_fresh,
            traits=message.traits,
            nice=message.nice,
            subject=message.subject,
        )
        if is_public and recalled is None and not message.is_fresh and self._hold(job):
            return
        self._happen(job)

    def _hold(self, job: events.JobSubmitted) -> bool:
        """Keep this until the tiers have said whether they have its result; False: nobody is asked.

        Who waits for a job that runs already gets its result anyway.
        """
        if not self._results.has_tiers:
            return False
        expected_s = self._machine.expected_s(job)
        if expected_s is None or not self._held.has_room(job):
            return False
        if not self._results.seek(job.key, expected_s, partial(self._go_on, job)):
            return False
        self._held.put(job)
        return True

    def _go_on(self, job: events.JobSubmitted, is_found: bool) -> None:
        """The tiers have said so; the job may have been cancelled, or its session be over."""
        if not self._held.take(job):
            return
        with self._on_behalf_of(job.origin):
            recalled = self._results.recall(job.key) if is_found else None
            if recalled is not None:
                self._reader.spend(job.origin.user, len(recalled.body))
            self._happen(replace(job, recalled=recalled))

    def _take_result(self, origin: Origin, message: Done, head: ResultHead) -> None:
        outputs = tuple(split_digests(head.outputs))
        execution = self._machine.farm.leased(origin, message.lease)
        is_declared = execution is None or is_as_declared(execution.declared, head)
        size_bytes = self._traffic.keep_pushes(origin.route, message.lease, outputs)
        self._happen(
            events.ResultArrived(
                origin=origin,
                lease=message.lease,
                exit_status=head.exit_status,
                outputs=outputs,
                is_complete=size_bytes is not None,
                is_excused=self._clock() - self._traffic.last_disk_fault_at < DISK_FAULT_S,
                is_sound=head.is_sound and is_declared,
                size_bytes=size_bytes or 0,
                cpu_s=head.cpu_s,
                wall_s=head.wall_s,
                peak_bytes=head.peak_bytes,
                body=message.body,
            )
        )

    def _interned_all(self, digests: Iterable[Digest]) -> tuple[Digest, ...]:
        return tuple(map(self._intern, digests))

    def _intern(self, digest: Digest) -> Digest:
        if len(self._interned) > MAX_INTERNED:
            self._interned.clear()
        return self._interned.setdefault(digest, digest)
