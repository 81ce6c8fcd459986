"""The page of metrics of farms that are played: what is counted, what is there, what nobody may read off it."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace

import pytest

from broker.core import events
from broker.core.limits import LOST_AFTER_S, STARTUP_GRACE_S
from broker.core.nodes import Node
from broker.metrics.farm import FAULTS, LOST
from broker.metrics.nodes import NODES_AT_ONCE, STATES
from broker.metrics.page import PAGE_S, Page
from broker.metrics.shell import LAG_S, Lag
from broker.metrics.tally import MOST_LOCAL_A_MESSAGE, FarmTally
from tests.support.broker_world import Desk, World, blob, job
from tests.support.prometheus import read_open, read_text, samples_of
from zcc import __version__
from zcc.exposition import Metric, gauge
from zcc.messages import (
    Beat,
    Cancel,
    Failed,
    Fault,
    Hello,
    LocalCounts,
    Offer,
    PeerRole,
    Refused,
    Started,
)
from zcc.reasons import Reason
from zcc.subject import BuildCounts, BuildName, LocalFile, Subject


def counted(desk: Desk) -> Desk:
    desk.machine.farm.tally = FarmTally()
    return desk


@pytest.fixture
def desk() -> Desk:
    desk = counted(Desk())
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


def others() -> list[Metric]:
    return [gauge("zcc_broker_x", "x", 1)]


def page_of(desk: Desk) -> Page:
    tally = desk.machine.farm.tally
    assert isinstance(tally, FarmTally)
    return Page(desk.machine.farm, tally, others, lambda: desk.now)


def text_of(page: Page, *, is_open: bool = False) -> str:
    while (text := page.text(is_open=is_open)) is None:
        pass
    return text


def read(desk: Desk) -> dict[str, float]:
    """All samples that are not 0, as they are written."""
    found = samples_of(text_of(page_of(desk)))
    return {name: value for name, value in found.items() if value}


GOLDEN = """\
zcc_farm_nodes{state="ready"} 1
zcc_farm_nodes{state="draining"} 1
zcc_farm_nodes_of_other_version 2
zcc_farm_slots_all 3
zcc_farm_slots_lent 1
zcc_farm_slots_used 1
zcc_farm_held_leases{state="running"} 1
zcc_farm_jobs{state="leased"} 1
zcc_farm_sessions{role="client"} 1
zcc_farm_sessions{role="node"} 2
zcc_farm_requests_total{outcome="compiled"} 1
zcc_farm_requests_total{outcome="hit"} 2
zcc_farm_requests_total{outcome="refused"} 1
zcc_farm_hits_total{tier="shared"} 1
zcc_farm_hits_total{tier="twin"} 1
zcc_farm_refusals_total{reason="no-nodes"} 1
zcc_farm_abandoned_total 1
zcc_farm_leases_total{kind="first"} 4
zcc_farm_leases_lost_total{reason="cancelled"} 1
zcc_farm_faults_total{reason="stopping"} 1
zcc_farm_runs_total{outcome="ok"} 1
zcc_farm_run_cpu_seconds_total 1.5
zcc_farm_run_seconds_bucket{le="3.0"} 1
zcc_farm_run_seconds_bucket{le="10.0"} 1
zcc_farm_run_seconds_bucket{le="30.0"} 1
zcc_farm_run_seconds_bucket{le="100.0"} 1
zcc_farm_run_seconds_bucket{le="300.0"} 1
zcc_farm_run_seconds_bucket{le="1000.0"} 1
zcc_farm_run_seconds_bucket{le="+Inf"} 1
zcc_farm_run_seconds_sum 2.0
zcc_farm_run_seconds_count 1
zcc_farm_queue_seconds_bucket{le="0.01"} 2
zcc_farm_queue_seconds_bucket{le="0.03"} 2
zcc_farm_queue_seconds_bucket{le="0.1"} 2
zcc_farm_queue_seconds_bucket{le="0.3"} 2
zcc_farm_queue_seconds_bucket{le="1.0"} 2
zcc_farm_queue_seconds_bucket{le="3.0"} 2
zcc_farm_queue_seconds_bucket{le="10.0"} 2
zcc_farm_queue_seconds_bucket{le="30.0"} 2
zcc_farm_queue_seconds_bucket{le="100.0"} 2
zcc_farm_queue_seconds_bucket{le="300.0"} 2
zcc_farm_queue_seconds_bucket{le="1000.0"} 2
zcc_farm_queue_seconds_bucket{le="+Inf"} 2
zcc_farm_queue_seconds_count 2
zcc_farm_results_kept_total 1
zcc_farm_results_kept_bytes_total 1
zcc_broker_x 1
"""


def test_a_played_farm_is_told_to_the_letter(desk: Desk) -> None:
    client = desk.client("c")
    desk.submit(client, 1, job("early", ()))  # there is no node yet
    node = desk.node("n")
    # One that runs, with a twin.
    desk.submit(client, 2, job("w", ()))
    desk.submit(client, 3, job("w", ()))
    (run,) = desk.runs(node)
    desk.say(node, Started(run.lease))
    desk.now += 5
    desk.done(node, run.lease, wall_s=2.0, cpu_s=1.5)
    # One from memory.
    desk.submit(client, 4, job("w", ()), events.Recalled("n", (blob("o"),), b"r", "user-n", 3))
    # One that is withdrawn.
    desk.submit(client, 5, job("unwanted", ()))
    desk.say(client, Cancel(5))
    # One that a node which stops gives to another.
    desk.submit(client, 6, job("moved", ()))
    (run,) = [each for each in desk.runs(node) if each.body == b"job moved"]
    desk.node("other", slots=1)
    desk.say(node, Failed(run.lease, Fault.STOPPING.value, "bye"))
    (run,) = desk.runs(replace(node, route=b"other"))
    desk.say(replace(node, route=b"other", user="user-other"), Started(run.lease))
    lines = text_of(page_of(desk)).splitlines(keepends=True)
    nought = (" 0\n", " 0.0\n")
    told = [line for line in lines if not (line.startswith("#") or line.endswith(nought))]
    assert "".join(told) == GOLDEN


def test_both_formats_are_read_by_prometheus_own_parsers(desk: Desk) -> None:
    page = page_of(desk)
    text, opened = text_of(page), text_of(page, is_open=True)
    old, new = read_text(text), read_open(opened)
    assert old.keys() == new.keys()
    assert len(old) > 25
    for name, family in old.items():
        assert family.type == new[name].type
        assert family.documentation == new[name].documentation != ""
        assert family.samples == new[name].samples
    for name, family in new.items():
        assert name.startswith("zcc_")
        assert re.search(r"_(seconds|bytes|total)$", name) or family.unit == ""
        has_total = all(sample.name.endswith("_total") for sample in family.samples)
        assert has_total == (family.type == "counter") or not family.samples


def test_nothing_that_a_member_says_freely_is_on_the_page(desk: Desk) -> None:
    subject = Subject(
        BuildName(1, "secret-build"), "/home/secret-file.c", "secret-lang", "secret-cc", 1
    )
    client = desk.client("secret-agent", user="secret-user")
    node = desk.node("secret-node", user="secret-owner")
    for number in range(1, 4):
        facts = replace(job(f"secret-{number}", (), build="secret-lane"), subject=subject)
        desk.submit(client, number, facts)
    first = desk.runs(node)[0]
    desk.say(node, Failed(first.lease, "secret-fault", "secret-detail"))
    desk.say(node, Beat(1.0, "secret-pause", Offer(1)))
    build = BuildCounts(
        BuildName(2, "secret"), 1, 1, (("secret-reason", 2),), (("secret-cause", 1),),
        (LocalFile("secret-reason", "secret.c", 1),),
    )  # fmt: skip
    desk.say(client, LocalCounts((build,)))
    desk.machine.farm.tally.refused("secret: secret")  # type: ignore[union-attr]
    text = text_of(page_of(desk))
    assert "secret" not in text
    assert 'zcc_farm_local_runs_total{kind="other"} 2\n' in text
    assert 'zcc_farm_refusals_total{reason="other"} 1\n' in text
    labels = set(re.findall(r'(\w+)="', text))
    assert labels == {"state", "role", "outcome", "tier", "kind", "reason", "le"}


def test_the_series_are_as_many_however_many_members_there_are(desk: Desk) -> None:
    before = len(text_of(page_of(desk)).splitlines())
    for number in range(40):
        desk.node(f"n{number}")
        desk.client(f"c{number}")
    assert len(text_of(page_of(desk)).splitlines()) == before


def test_each_node_is_counted_once_and_in_its_state(desk: Desk) -> None:
    for number in range(2 * NODES_AT_ONCE + 1):
        desk.machine.handle(
            events.MessageArrived(
                events.Origin(b"r%d" % number, f"u{number % 100}", PeerRole.NODE),
                hello_of(number),
            ),
            desk.now,
        )
    paused = events.Origin(b"r7", "u7", PeerRole.NODE)
    desk.say(paused, Beat(0.0, "its owner is back"))
    found = read(desk)
    assert found['zcc_farm_nodes{state="paused"}'] == 1
    assert found['zcc_farm_nodes{state="ready"}'] == 2 * NODES_AT_ONCE
    assert found["zcc_farm_slots_lent"] == 6 * NODES_AT_ONCE
    assert found["zcc_farm_slots_all"] == 6 * NODES_AT_ONCE + 3
    assert "zcc_farm_nodes_of_other_version" not in found


def hello_of(number: int) -> Hello:
    return Hello(b"s%015d" % number, "node", "", f"n{number}", __version__, 3, (), ())


def test_every_state_that_a_node_can_have_is_there_from_the_start() -> None:
    source = inspect.getsource(Node.state)
    assert set(re.findall(r'"([a-z-]+)"', source)) == set(STATES)


def test_what_waits_is_there_as_work_and_as_age(desk: Desk) -> None:
    client, node = desk.client("c"), desk.node("n", slots=1)
    for number in range(1, 6):
        desk.submit(client, number, job(f"j{number}", (), hint_s=10.0))
    held = len(desk.runs(node))
    desk.now += 7
    desk.say(client, Beat(0.0))
    found = read(desk)
    assert found["zcc_farm_waiting_jobs"] == 5 - held > 0
    assert found["zcc_farm_waiting_work_seconds"] == pytest.approx(
        sum(each.cost_s for each in desk.machine.farm.executions.values() if each.lease is None)
    )
    assert found["zcc_farm_oldest_wait_seconds"] == pytest.approx(7.0)
    known = states(found)
    assert known.pop("leased") == held
    assert known.keys() <= {"queued", "ready"}
    assert sum(known.values()) == 5 - held


def states(found: dict[str, float]) -> dict[str, float]:
    """Jobs by state, of those that there are."""
    prefix = "zcc_farm_jobs{"
    return {name.split('"')[1]: found[name] for name in found if name.startswith(prefix)}


def test_a_job_whose_inputs_are_on_their_way_waits_and_holds_no_slot(desk: Desk) -> None:
    client, _ = desk.client("c"), desk.node("n")
    desk.submit(client, 1, job("w"))
    found = read(desk)
    assert states(found) == {"sending": 1}
    assert found["zcc_farm_waiting_jobs"] == 1
    assert "zcc_farm_slots_used" not in found
    desk.stored(blob("w.c"))
    assert states(read(desk)) == {"leased": 1}


def test_leases_that_are_lost_and_faults_count_once_each_by_their_first_word(desk: Desk) -> None:
    client, node = desk.client("c"), desk.node("n", slots=2)
    desk.node("m", slots=2)
    for number in range(1, 5):
        desk.submit(client, number, job(f"j{number}", ()))
    run = desk.runs(node)[0]
    desk.say(node, Failed(run.lease, Fault.SANDBOX.value, "no room"))
    held = len(desk.machine.farm.node_at(node).leases)  # type: ignore[union-attr]
    assert held
    other = replace(node, route=b"m", user="user-m")
    desk.pass_time(LOST_AFTER_S + 1, frozenset((client, other)))
    found = read(desk)
    assert found['zcc_farm_faults_total{reason="sandbox"}'] == 1
    assert found['zcc_farm_leases_lost_total{reason="node-lost"}'] == held
    assert 'zcc_farm_leases_lost_total{reason="given-back"}' not in found
    assert 'zcc_farm_nodes{state="ready"}' in found


def test_what_agents_do_by_themselves_counts_by_kind_and_within_reason(desk: Desk) -> None:
    client = desk.client("c")
    local = (
        (Reason.SMALL.value, 3), (Reason.BROKER_DISK.value, 2), ("none-of-ours", 1),
        (Reason.UNKNOWN_OPTION.value, 1 << 60),
    )  # fmt: skip
    counts = BuildCounts(BuildName(1, "b"), 7, 0, local, (), ())
    desk.say(client, LocalCounts((counts,)))
    found = read(desk)
    assert found['zcc_farm_hits_total{tier="local"}'] == 7
    kinds = {
        name.split('"')[1]: count
        for name, count in found.items()
        if name.startswith("zcc_farm_local_runs_total")
    }
    assert kinds.pop("limit") == MOST_LOCAL_A_MESSAGE - 13
    assert kinds == {"choice": 3, Reason.BROKER_DISK.kind.value: 2, "other": 1}


def test_agents_are_asked_for_counts_where_metrics_are_wanted_and_not_elsewhere() -> None:
    for is_counted in (False, True):
        desk = counted(Desk()) if is_counted else Desk()
        client, node = desk.client("c"), desk.node("n")
        desk.pass_time(2.0, frozenset((client, node)))
        assert {beat.is_watched for beat in desk.got(client, Beat)} == {is_counted}
        assert {beat.is_watched for beat in desk.got(node, Beat)} == {False}


def test_a_mistake_in_the_counting_is_kept_and_harms_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, tally = desk.client("c"), desk.machine.farm.tally
    assert isinstance(tally, FarmTally)
    monkeypatch.setattr(tally, "refusals", None)
    desk.submit(client, 1, job("w", ()))
    assert len(desk.got(client, Refused)) == 1
    assert isinstance(tally.failure, TypeError)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_a_farm_where_much_goes_wrong_the_sums_are_those_of_the_members(seed: int) -> None:
    world = World(seed)
    tally = world.desk.machine.farm.tally = FarmTally()
    agents = [world.agent(f"a{number}") for number in range(3)]
    nodes = [world.node(f"n{number}", 2, fault_share=0.05) for number in range(4)]
    world.run(STARTUP_GRACE_S + 1)
    for number in range(120):
        agents[number % 3].submit(job(f"j{number % 80}", hint_s=1.0 + number % 5))
    world.run(3.0)
    world.leave(nodes[0])
    world.run_until(lambda: not any(agent.waiting for agent in agents))
    finished = [each for agent in agents for each in agent.finished.values()]
    assert len(finished) == 120 - sum(len(agent.refused) for agent in agents)
    assert tally.requests["compiled"] == sum(
        not (each.shared or each.is_recalled) for each in finished
    )
    assert tally.hits["twin"] == sum(each.shared and not each.is_recalled for each in finished)
    assert tally.requests["refused"] == sum(len(agent.refused) for agent in agents)
    assert sum(tally.queued.counts) == len(finished)
    assert sum(tally.ran_s.counts) == tally.runs.total()
    assert tally.lost["node-lost"] > 0
    assert tally.faults["sandbox"] > 0
    assert tally.lost.keys() <= set(LOST)
    assert tally.faults.keys() <= set(FAULTS)
    # Each lease has ended in one way.
    assert tally.leases.total() == tally.runs.total() + tally.lost.total() + tally.faults.total()
    assert tally.failure is None


# ---- the page ----------------------------------------------------------------------------------


def test_a_page_is_made_once_a_second_for_all_who_ask(desk: Desk) -> None:
    page = page_of(desk)
    first = text_of(page)
    desk.node("n")
    desk.now += PAGE_S / 2
    assert text_of(page) == first
    assert 'zcc_farm_nodes{state="ready"} 0\n' in text_of(page)
    desk.now += PAGE_S
    assert 'zcc_farm_nodes{state="ready"} 1\n' in text_of(page)


def test_two_who_ask_while_a_page_is_made_have_the_same_one(desk: Desk) -> None:
    for number in range(3):
        desk.node(f"n{number}")
    page = page_of(desk)
    assert page.text(is_open=False) is None
    assert page.text(is_open=True) is not None
    assert 'zcc_farm_nodes{state="ready"} 3\n' in text_of(page)


# ---- the loop's lag ----------------------------------------------------------------------------


def test_the_longest_lag_is_told_for_at_least_a_minute_to_whoever_asks() -> None:
    lag, now = Lag(0.1), 1000.0
    lag.note(now)
    for late_s in (0.0, 0.5, 0.0):
        now += 0.1 + late_s
        lag.note(now)
    assert lag.most_s == pytest.approx(0.5)
    begun = now
    while lag.most_s > 0.4:
        assert lag.most_s == pytest.approx(0.5)
        now += 0.1
        lag.note(now)
    assert LAG_S < now - begun + 0.7 < 2 * LAG_S + 1
