"""What is wrong on a farm, in sentences: the page and the terminal say these and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.support import small_farm, watched_farm
from zcc import events as said
from zcc.events import FarmEvent
from zcc.watching.state import FarmState
from zcc.watching.troubles import BAD, NOTE, WARN, Trouble, troubles


def wrong(events: Sequence[FarmEvent]) -> list[Trouble]:
    state = FarmState()
    for event in events:
        state.apply(event)
    return troubles(state)


def test_of_a_farm_that_nobody_told_nothing_is_wrong() -> None:
    assert wrong([]) == []


def test_a_farm_without_nodes_and_one_that_lends_nothing() -> None:
    farm, *_ = small_farm.present()
    assert [each.text for each in wrong([farm])] == [
        "No node is connected: every compile runs on the machine that asks for it."
    ]
    paused = [small_farm.node(1, number, name, 2, state="paused", reason="no room")
              for number, name in ((1, "oak"), (2, "elm"))]  # fmt: skip
    assert wrong([farm, *paused]) == [
        Trouble(BAD, "No node lends a slot at present."),
        Trouble(NOTE, "oak lends 0 of 2 slots: no room."),
        Trouble(NOTE, "elm lends 0 of 2 slots: no room."),
    ]


def test_a_drained_node_is_worth_a_note_and_a_job_that_nobody_may_run_is_bad() -> None:
    queue = said.QueueShown(5, (said.QueueRow(1, 0, 2, 0, 0, 1, 9, "no-node-fits"),), 0)
    drained = small_farm.node(4, 1, "oak", 4, state="draining", reason="an admin has drained it")
    assert wrong([*small_farm.present(), drained, queue]) == [
        Trouble(BAD, "No node may run 3 jobs of ann."),
        Trouble(NOTE, "oak lends 0 of 4 slots: an admin has drained it."),
    ]


def test_faults_of_the_last_minutes_and_nodes_that_are_gone() -> None:
    lost = [
        said.LeaseLost(4000, 2, 2, "sandbox", "", True),
        said.LeaseLost(4001, 3, 3, "input", "", True),
        said.LeaseLost(4002, 4, 4, "taken-back", "", False),
        said.NodeLeft(4003, 2, "silent"),
    ]
    events = [*(each for batch in small_farm.batches() for each in batch), *lost]
    assert wrong(events) == [
        Trouble(WARN, "elm is gone: silent."),
        Trouble(WARN, "oak failed at 2 jobs in the last five minutes, the last time for: input."),
    ]
    assert wrong([*events, small_farm.pulse(400_000, 0)]) == []


def test_a_node_whose_jobs_copies_end_is_named() -> None:
    begun = watched_farm.two_copies()
    *_, queued, first, _, copy, _ = begun
    assert isinstance(queued, said.JobQueued)
    assert isinstance(first, said.JobLeased)
    assert isinstance(copy, said.JobLeased)
    events: list[FarmEvent] = [*begun, *watched_farm.two_copies_end(107)]
    assert not [each for each in wrong(events) if "second copies" in each.text]
    for job in (16, 17):
        events += [replace(queued, job=job), replace(first, job=job, lease=job * 10)]
        events += [replace(copy, job=job, lease=job * 10 + 1)]
        events += [said.LeaseLost(95, job, job * 10, "beaten", "", False)]
        events += [said.JobFinished(95, job, job * 10 + 1, "ok", 0, 50, 60, 1, 1, 1, 1, 1, 1, 1)]
    found = [each.text for each in wrong(events) if "second copies" in each.text]
    assert found == ["oak lost 3 of its last 3 jobs to second copies: it is slow or stuck."]


def test_nodes_of_one_name_are_told_apart() -> None:
    twins = [small_farm.node(1, number, "oak", 4, speed=0.3 if number == 3 else 1.0, member=number)
             for number in (1, 3)]  # fmt: skip
    (slow,) = wrong([*small_farm.present(), *twins])
    assert slow.text.startswith("oak (k-00000003) is slow")


def test_a_tier_that_is_left_alone_is_said() -> None:
    def tier(name: str, state: str, writes: str) -> said.TierShown:
        return said.TierShown(5, name, state, writes, 1, 0, 1, 3, 0, 9, 1, 0, 0)

    tiers = [tier("near", "half-open", "open"), tier("far", "closed", "read-only")]
    assert wrong([*small_farm.present(), *tiers]) == [
        Trouble(WARN, "The tier near fails: nobody looks up or writes anything there for now."),
    ]
