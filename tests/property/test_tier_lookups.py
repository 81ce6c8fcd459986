"""Whatever tiers do, who asks them is told once, in time, and nothing is left behind.

The tiers of the test answer, fail, hang and come back in any order; the broker asks for any keys meanwhile.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.tiers.lookups import MOST_WAIT_S, Batch, TierAnswer, TierLookups
from cache.digest import Digest, digest_of
from cache.remote.behind import BoundedBacklog

KEYS = [digest_of(b"%d" % at) for at in range(12)]
SIZES = [(3, 2), (1, 3), (2, 1)]
STEP_S = 0.01


class LookupsOfAnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lookups = TierLookups(SIZES)
        self.waiting: dict[Digest, float] = {}
        self.under_way: list[Batch] = []

    def tell(self, answers: list[TierAnswer]) -> None:
        for answer in answers:
            if answer.is_late:
                assert answer.key not in self.waiting
                assert answer.tier is not None
            else:
                del self.waiting[answer.key]  # told once

    def send(self) -> None:
        batches, answers = self.lookups.next_batches(self.now)
        self.tell(answers)
        for batch in batches:
            assert batch.keys
            assert len(batch.keys) <= SIZES[batch.tier][0]
            assert all(key in self.waiting for key in batch.keys)  # nobody else is asked for
        self.under_way += batches

    @rule(key=st.sampled_from(KEYS), patience_s=st.floats(0, MOST_WAIT_S))
    def ask(self, key: Digest, patience_s: float) -> None:
        until = self.now + patience_s
        if self.lookups.ask(key, until, self.now):
            self.waiting.setdefault(key, until)
        else:
            assert key not in self.waiting
        self.send()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.under_way))
        found = data.draw(st.sets(st.sampled_from(batch.keys)))
        self.under_way.remove(batch)
        self.tell(self.lookups.answered(batch, found, self.now))
        self.send()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(batch)
        self.tell(self.lookups.failed(batch, self.now))
        self.send()

    @rule(steps=st.integers(1, 400))
    def pass_time(self, steps: int) -> None:
        self.now += steps * STEP_S
        self.tell(self.lookups.expired(self.now))
        self.send()

    @invariant()
    def nobody_waits_beyond_his_time(self) -> None:
        assert all(until > self.now for until in self.waiting.values())
        assert all(key in self.lookups for key in self.waiting)

    @invariant()
    def no_more_is_under_way_than_there_are_lanes(self) -> None:
        for tier, (_, lanes) in enumerate(SIZES):
            assert sum(batch.tier == tier for batch in self.under_way) <= lanes

    def teardown(self) -> None:
        """When all has ended, nothing is left."""
        self.now += 1000.0
        self.tell(self.lookups.expired(self.now))
        assert not self.waiting
        for batch in self.under_way:
            self.tell(self.lookups.failed(batch, self.now))
        assert len(self.lookups) == 0


LookupsOfAnyOrder.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestLookupsOfAnyOrder = LookupsOfAnyOrder.TestCase


class BacklogOfAnySizes(RuleBasedStateMachine):
    """Against a list: what is taken comes in order, and only the oldest is ever dropped."""

    LIMIT = 100

    def __init__(self) -> None:
        super().__init__()
        self.waiting = BoundedBacklog[int](self.LIMIT)
        self.model: list[tuple[int, int]] = []
        self.put_in_all = self.taken_in_all = 0

    @rule(size=st.integers(0, 130))
    def put(self, size: int) -> None:
        self.waiting.put(self.put_in_all, size)
        if size <= self.LIMIT:
            self.model.append((self.put_in_all, size))
        self.put_in_all += 1
        while sum(each for _, each in self.model) > self.LIMIT:
            del self.model[0]

    @rule(most=st.integers(0, 5))
    def take(self, most: int) -> None:
        taken = self.waiting.take(most)
        assert taken == [item for item, _ in self.model[:most]]
        del self.model[:most]
        self.taken_in_all += len(taken)

    @invariant()
    def its_books_are_right(self) -> None:
        assert self.waiting.size_bytes == sum(size for _, size in self.model) <= self.LIMIT
        assert self.put_in_all == self.taken_in_all + len(self.waiting) + self.waiting.dropped


TestBacklogOfAnySizes = BacklogOfAnySizes.TestCase
