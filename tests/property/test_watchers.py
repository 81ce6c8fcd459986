"""Whatever happens on a farm: who watches from the start, who begins later, and who falls behind have the same
farm before them, and it is the broker's."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from broker.core.events import Origin
from broker.core.jobs import Execution
from broker.watching.asking import is_hidden
from tests.property.test_broker import BrokerRules
from tests.support.broker_world import JobFacts
from tests.support.watched import Feed, Seer, present
from zcc.events import event_of, row_of
from zcc.subject import BuildName, Subject
from zcc.watching.present import present_events
from zcc.watching.state import FarmState


class WatchedRules(BrokerRules):
    @initialize()
    def start(self) -> None:
        super().start()
        self.feed = Feed(self.desk.machine.farm)
        self.seers: list[Seer] = [self.feed.begin("first")]
        submit = self.desk.submit

        def submit_named(at: Origin, ticket: int, facts: JobFacts, **more: bool) -> object:
            name = at.route[:1].decode()
            if name == "c":  # of a release before
                return submit(at, ticket, facts, **more)  # type: ignore[arg-type]
            subject = Subject(BuildName(7, f"build of {name}"), f"{facts.name}.c", "c", "gcc 12", 3)
            return submit(at, ticket, replace(facts, subject=subject), **more)  # type: ignore[arg-type]

        self.desk.submit = submit_named  # type: ignore[method-assign,assignment]

    @rule()
    def somebody_begins_to_watch(self) -> None:
        if len(self.seers) < 4:
            self.seers.append(self.feed.begin(f"seer{len(self.seers)}"))

    @rule(reads=st.booleans())
    def somebody_reads_or_does_not(self, reads: bool) -> None:
        self.feed.has_room = lambda route: reads or route == b"first"

    @rule()
    def all_fall_behind(self) -> None:
        """Their batches are gone before they are read."""
        self.feed.tick()
        ring = self.feed.watching._ring
        while ring._batches:
            ring._bytes -= len(ring._batches.popleft().body)

    @invariant()
    def all_see_the_same_farm(self) -> None:
        if not hasattr(self, "feed"):
            return
        self.feed.tick()
        for seer in self.seers:
            seer.read()
        first, *others = [each for each in self.seers if each.next == self.feed.watching._ring.next]
        for other in others:
            assert present(other.state) == present(first.state)
        assert first is self.seers[0]
        self.is_the_brokers(first.state)
        copy = FarmState()
        for event in present_events(first.state):
            assert event_of(row_of(event)) == event
            copy.apply(event)
        assert present(copy) == present(first.state)

    def is_the_brokers(self, state: FarmState) -> None:
        farm = self.desk.machine.farm
        # What only the broker waits for is told to nobody.
        told = [each for each in farm.executions.values() if not is_hidden(each)]
        assert {each.number for each in told} == set(state.jobs)
        for execution in told:
            self.is_this_job(execution, state)
        names = sorted(node.session.name for node in farm.nodes)
        assert sorted(node.shown.name for node in state.nodes.values()) == names
        held = sum(len(node.runs) for node in state.nodes.values())
        leases = (lease for each in told for lease in (each.lease, each.hedge))
        assert held == sum(each is not None for each in leases)

    def is_this_job(self, execution: Execution, state: FarmState) -> None:
        job = state.jobs[execution.number]
        assert len(job.requests) == len(execution.waiters)
        leases = [each for each in (execution.lease, execution.hedge) if each is not None]
        runs = [run for run in job.runs if not run.ending]
        assert {each.number: each.began_at is not None for each in leases} == {
            run.leased.lease: run.started_s is not None for run in runs
        }
        told = {"leased": "assigned", "running": "started", "sending": "fetching"}
        if execution.hedge is None:
            phase = "sending" if execution.phase.value == "parked" else job.phase
            expected = "queued" if execution.phase.value in ("checking", "ready") else None
            assert (
                told.get(phase, phase)
                == (execution.phase.value if phase != "sending" else "fetching")
                or phase == expected
            )


TestWatching = WatchedRules.TestCase
TestWatching.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
del WatchedRules, BrokerRules
