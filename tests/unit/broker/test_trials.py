"""Nodes back from quarantine: known jobs are put to them before anybody's, and what follows from those."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.effects import NoteOwing, TryNode
from broker.core.events import NodeCondemned, PeerUnreachable
from broker.core.jobs import LEASE_KEY_BYTES
from broker.core.limits import (
    ASK_PROOF_AGAIN_S,
    CONDEMNED_S,
    KNOWN_JOBS,
    LEAST_RUN_LIMIT_S,
    MAX_RECORDS_PER_KEY,
    PROBES,
    QUARANTINE_S,
)
from broker.core.listing import nodes_of
from broker.state import known_owing, note_owing
from cache.record import Record
from tests.support.broker_world import job
from tests.support.trial_world import Member, TrialFarm, other, right, wrong
from zcc.job import Result, Usage
from zcc.messages import Beat, Fault, Finished, Refused, Revoke

USERS = ("user-a", "user-b", "user-c")
BACK_S = QUARANTINE_S + 2.0


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[TrialFarm]:
    made = TrialFarm(tmp_path)
    yield made
    made.close()


def know_some(farm: TrialFarm, *users: str, count: int = 4, maker: str = "user-maker") -> None:
    for user in users or USERS:
        for number in range(count):
            farm.know(f"{user}-{number}", user, maker)


def never(name: str) -> Result:
    raise AssertionError(f"{name} was given to a node that should not have it")


def test_a_node_that_does_known_jobs_right_is_taken_by_all_again(farm: TrialFarm) -> None:
    farm.node("maker")
    suspect = farm.node("suspect")
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(QUARANTINE_S - 1.0)
    assert farm.state("suspect") == "quarantined"
    assert not suspect.ran
    farm.pass_time(3.0)
    assert farm.state("suspect") == "ready"
    assert len(suspect.ran) == KNOWN_JOBS
    assert {name[:6] for name in suspect.ran} == set(USERS), "one of each key's"
    assert [line["outcome"] for line in farm.lines("trial")] == ["passed"]
    assert not farm.nodes["maker"].ran, "nobody else need do them"


def test_a_node_that_does_them_wrong_is_in_quarantine_again_twice_as_long(farm: TrialFarm) -> None:
    for name in ("maker", "third"):
        farm.node(name)
    suspect = farm.node("suspect", wrong)
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "quarantined"
    assert "wrong" in farm.reason("suspect")
    assert farm.record("suspect").until - farm.desk.now > 2 * QUARANTINE_S - 4.0
    assert farm.record("suspect").faults == 1
    assert len(suspect.ran) == 2, "of two keys"
    assert farm.record("suspect").finished == 0, "nobody's jobs"
    (trial,) = farm.lines("trial")
    assert (trial["outcome"], len(str(trial["against"]).split())) == ("failed", 2)
    assert [line["verdict"] for line in farm.lines("trial-job")] == ["wrong"] * 2
    assert farm.lines("quarantine")[-1]["reason"] == "trial"
    assert farm.results.record_of(farm.know("user-a-0", "user-a", "user-maker")) is not None
    farm.pass_time(2 * QUARANTINE_S + 2.0)
    assert farm.record("suspect").until - farm.desk.now > 4 * QUARANTINE_S - 6.0
    suspect.answer = right
    farm.pass_time(4 * QUARANTINE_S + 2.0)
    assert farm.state("suspect") == "ready"
    assert farm.reason("suspect") == ""


def test_no_real_job_goes_to_a_node_before_its_trial(farm: TrialFarm) -> None:
    suspect = farm.node("suspect", lambda name: wrong(name) if name != "mine" else never(name))
    for name in ("maker", "third"):
        farm.node(name)
    know_some(farm)
    farm.quarantine("suspect")
    client = farm.client("a")
    for number in range(round(BACK_S)):
        farm.pass_time(1.0)
        farm.desk.submit(client, number + 1, job("mine", inputs=()))
        farm._answer()
    assert suspect.ran
    assert len(farm.desk.got(client, Finished)) == round(BACK_S)


@pytest.mark.parametrize("fault", [Fault.SANDBOX, Fault.INTERNAL, Fault.REFUSED, Fault.INPUT])
def test_a_node_that_fails_known_jobs_has_them_wrong(farm: TrialFarm, fault: Fault) -> None:
    farm.node("maker")
    farm.node("suspect", lambda _: fault)
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "quarantined"
    assert {line["what"] for line in farm.lines("trial-job")} == {fault.value}


def test_a_node_that_never_answers_has_them_wrong(farm: TrialFarm) -> None:
    farm.node("maker")
    farm.node("suspect", lambda _: None)
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S + 2 * LEAST_RUN_LIMIT_S + 10.0)
    assert [line["outcome"] for line in farm.lines("trial")] == ["failed"]


# --- who may say that a node is wrong -------------------------------------------------------------


def only_wrong_for(user: str) -> object:
    return lambda name: wrong(name) if name.startswith(user) else right(name)


def test_one_keys_known_jobs_keep_a_node_from_nobody_else(farm: TrialFarm) -> None:
    for name in ("maker", "third"):
        farm.node(name)
    farm.node("suspect", only_wrong_for("user-a"))  # type: ignore[arg-type]
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "ready"
    assert farm.record("suspect").is_aside_for("user-a", farm.desk.now)
    assert not farm.record("suspect").is_aside_for("user-b", farm.desk.now)


def test_where_one_key_alone_is_known_the_node_is_aside_for_it_until_it_is_mended(
    farm: TrialFarm,
) -> None:
    for name in ("maker", "third"):
        farm.node(name)
    suspect = farm.node("suspect", wrong)
    know_some(farm, "user-a")
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "probed"
    assert "wrong" in farm.reason("suspect")
    for _ in range(20):
        assert farm.record("suspect").is_aside_for("user-a", farm.desk.now)
        assert not farm.record("suspect").is_aside_for("user-b", farm.desk.now)
        farm.pass_time(ASK_PROOF_AGAIN_S)
    assert len(suspect.ran) < 8, "it is tried less and less often"
    suspect.answer = right
    farm.pass_time(400.0)
    assert farm.state("suspect") == "ready"
    assert not farm.record("suspect").is_aside_for("user-a", farm.desk.now)


def test_a_job_that_does_not_repeat_itself_says_nothing(farm: TrialFarm) -> None:
    """Two keys have had such jobs remembered, so that innocents fail."""
    for name in ("maker", "third"):
        farm.node(name, lambda job: other(job, "now") if "user-c" not in job else right(job))
    farm.node("suspect", lambda job: other(job, "here") if "user-c" not in job else right(job))
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "ready"
    assert [line["against"] for line in farm.lines("trial")] == [""]
    assert "unstable" in {line["verdict"] for line in farm.lines("trial-job")}


def test_a_remembered_result_that_a_third_node_denies_tells_on_its_maker(farm: TrialFarm) -> None:
    for name in ("maker", "third"):
        farm.node(name)
    farm.node("suspect")
    key = farm.know("x", "user-a", "user-maker", wrong)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "ready"
    ((record, told, node),) = farm.looked_into
    assert (record.source.node_key, told.node_key, node) == ("user-maker", "user-third", "third")
    assert farm.known(key) is None


def test_of_two_nodes_the_one_in_quarantine_is_wrong_and_what_they_dispute_is_forgotten(
    farm: TrialFarm,
) -> None:
    farm.node("maker")
    farm.node("suspect", wrong)
    keys = [farm.know(user, user, "user-maker") for user in USERS]
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "quarantined"
    assert [line["verdict"] for line in farm.lines("trial-job")] == ["disputed"] * 2
    assert sum(farm.known(key) is None for key in keys) == 2


def test_a_node_alone_is_held_against_what_others_have_done_before(farm: TrialFarm) -> None:
    suspect = farm.node("suspect", wrong)
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "quarantined"
    assert len(suspect.ran) == 4, "each twice: does it repeat itself?"


def test_a_node_on_trial_judges_nobody(farm: TrialFarm) -> None:
    farm.node("maker", never)
    for name in ("one", "two"):
        farm.node(name, wrong)
        farm.quarantine(name)
    know_some(farm)
    farm.nodes["maker"].answer = right
    farm.pass_time(BACK_S)
    assert {farm.state("one"), farm.state("two")} == {"quarantined"}
    assert {line["judge"] for line in farm.lines("trial-job")} == {"maker"}


# --- nothing known --------------------------------------------------------------------------------


def submit(farm: TrialFarm, user: str, count: int) -> None:
    client = farm.client(user)
    for number in range(count):
        farm.desk.submit(client, number + 1, job(f"{user}{number}", inputs=()))


def test_the_one_node_of_a_cold_farm_comes_back_with_one_job_at_a_time(farm: TrialFarm) -> None:
    silent = farm.node("suspect", lambda _: None, slots=8)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "probed"
    submit(farm, "a", 6)
    farm._answer()
    assert len(silent.ran) == 1
    (node,) = farm.desk.machine.farm.nodes
    (row,) = nodes_of(farm.desk.machine.farm, farm.desk.now).rows
    assert (row.state, row.slots, row.all_slots) == ("probed", 1, 8)
    assert farm.desk.machine.farm.seats.slots("user-a", b"") == (1, 0)
    silent.answer = right
    for _ in range(PROBES):
        farm.desk.done(silent.origin, next(iter(node.leases)))
    assert farm.state("suspect") == "probed"
    assert not node.leases
    farm.pass_time(1.0)
    assert farm.state("suspect") == "ready"
    assert len(farm.desk.got(next(iter(farm.clients)), Finished)) == 6
    assert [line["outcome"] for line in farm.lines("trial")] == ["nothing-known", "probed"]


def test_what_others_do_meanwhile_is_put_to_a_probed_node(farm: TrialFarm) -> None:
    farm.node("maker")
    suspect = farm.node("suspect", wrong)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "probed"
    know_some(farm)
    farm.pass_time(ASK_PROOF_AGAIN_S + 1.0)
    assert farm.state("suspect") == "quarantined"
    assert len(suspect.ran) == 2


def test_what_others_do_meanwhile_is_put_to_a_probed_node_before_it_is_trusted(
    farm: TrialFarm,
) -> None:
    """It is never idle, so that nothing could be put to it between two jobs."""
    farm.node("maker", lambda _: None)
    suspect = farm.node("suspect", wrong)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "probed"
    know_some(farm)
    farm.nodes["maker"].answer = right
    submit(farm, "a", 30)
    farm._answer()
    real = [name for name in suspect.ran if not name.startswith("user-")]
    assert len(real) == PROBES
    farm.pass_time(2.0)
    assert farm.state("suspect") == "quarantined"


def test_jobs_whose_inputs_are_gone_are_not_known(farm: TrialFarm) -> None:
    farm.node("maker")
    suspect = farm.node("suspect")
    know_some(farm)
    farm.desk.store.clear()
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "probed"
    assert not suspect.ran


def test_a_key_is_not_tried_with_what_its_own_nodes_have_done(farm: TrialFarm) -> None:
    twin = farm.node("twin", user="user-suspect")
    suspect = farm.node("suspect")
    know_some(farm, maker="user-suspect")
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "probed"
    assert not suspect.ran + twin.ran


# --- dodging --------------------------------------------------------------------------------------


def leave(farm: TrialFarm, member: Member, name: str) -> None:
    farm.desk.happen(PeerUnreachable(member.origin.route))
    del farm.nodes[name]


@pytest.mark.parametrize("name", ["suspect", "another"])
def test_who_leaves_and_comes_back_still_owes_the_proof(farm: TrialFarm, name: str) -> None:
    for each in ("maker", "third"):
        farm.node(each)
    suspect = farm.node("suspect", wrong)
    know_some(farm)
    farm.quarantine("suspect")
    leave(farm, suspect, "suspect")
    back = farm.node(name, wrong, user=suspect.origin.user)
    assert farm.state(name) == "quarantined"
    submit(farm, "a", 6)
    farm._answer()
    assert not back.ran
    farm.pass_time(BACK_S)
    assert farm.state(name) == "quarantined"
    assert len(back.ran) == 2


def test_who_owes_a_proof_takes_no_job_to_itself(farm: TrialFarm) -> None:
    farm.node("maker", lambda _: None)
    suspect = farm.node("suspect", wrong)
    farm.quarantine("suspect")
    leave(farm, suspect, "suspect")
    submit(farm, "a", 1)
    facts = job("a0", inputs=())
    claimed = facts.key[:LEASE_KEY_BYTES] + b"mine"
    back = farm.node("another", wrong, user=suspect.origin.user, leases=(claimed,))
    assert farm.desk.got(back.origin, Revoke) == [Revoke(claimed)]
    unknown = job("later", inputs=())
    claimed = unknown.key[:LEASE_KEY_BYTES] + b"mine"
    farm.desk.node("another", user=suspect.origin.user, leases=(claimed,))
    farm.desk.submit(next(iter(farm.clients)), 9, unknown)
    assert claimed not in farm.desk.machine.farm.leases


def test_who_leaves_in_the_middle_of_a_trial_is_not_trusted(farm: TrialFarm) -> None:
    farm.node("maker")
    suspect = farm.node("suspect", lambda _: None)
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert suspect.ran
    leave(farm, suspect, "suspect")
    back = farm.node("suspect", right, user=suspect.origin.user)
    assert farm.state("suspect") == "on-trial"
    assert [line["outcome"] for line in farm.lines("trial")] == ["untried"]
    submit(farm, "a", 6)
    farm._answer()
    assert not back.ran
    farm.pass_time(ASK_PROOF_AGAIN_S + 2.0)
    assert farm.state("suspect") == "ready"


def test_who_leaves_while_it_is_probed_is_asked_anew(farm: TrialFarm) -> None:
    suspect = farm.node("suspect")
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "probed"
    farm.pass_time(20 * ASK_PROOF_AGAIN_S)
    assert len(farm.lines("trial")) < 7, "less and less often"
    leave(farm, suspect, "suspect")
    farm.node("suspect")
    assert farm.state("suspect") == "on-trial"
    farm.pass_time(1.0)
    assert farm.state("suspect") == "probed"


@pytest.mark.parametrize("fault", [Fault.PAUSED, Fault.MEMORY, Fault.RESOURCES])
def test_who_excuses_itself_owes_the_proof_still(farm: TrialFarm, fault: Fault) -> None:
    farm.node("maker")
    suspect = farm.node("suspect", lambda _: fault)
    know_some(farm)
    farm.quarantine("suspect")
    for _ in range(60):
        farm.pass_time(5.0)
        farm.desk.say(suspect.origin, Beat(0.0))
        assert farm.state("suspect") in ("quarantined", "on-trial")
    assert 2 <= len(suspect.ran) <= 6
    suspect.answer = right
    farm.pass_time(400.0)
    farm.desk.say(suspect.origin, Beat(0.0))
    assert farm.state("suspect") == "ready"


def test_a_restart_of_the_broker_forgets_no_proof(farm: TrialFarm) -> None:
    for name in ("maker", "third"):
        farm.node(name)
    farm.node("suspect", wrong)
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(1.0)
    farm.restart()
    assert farm.state("suspect") == "on-trial"
    assert farm.state("maker") == "ready"
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "quarantined"


def test_of_a_key_that_comes_under_ever_new_names_no_more_is_written_than_remembered(
    farm: TrialFarm,
) -> None:
    suspect = farm.node("suspect")
    farm.quarantine("suspect")
    leave(farm, suspect, "suspect")
    for number in range(MAX_RECORDS_PER_KEY + 20):
        name = f"n{number}"
        back = farm.node(name, user=suspect.origin.user)
        farm.pass_time(1.0)
        leave(farm, back, name)
    notes = [each for each in farm.desk.effects if isinstance(each, NoteOwing)]
    assert len(notes[-1].nodes) == MAX_RECORDS_PER_KEY


def test_who_owes_a_proof_is_written_down(tmp_path: Path) -> None:
    assert known_owing(str(tmp_path)) == []
    note_owing(str(tmp_path), (("key", "n"), ("key", "m")))
    assert known_owing(str(tmp_path)) == [("key", "n"), ("key", "m")]
    (tmp_path / "owing.json").write_text("{")
    assert known_owing(str(tmp_path)) == []


def test_a_condemned_key_owes_a_proof_too_and_is_out_for_a_day_again(farm: TrialFarm) -> None:
    for name in ("maker", "third"):
        farm.node(name)
    suspect = farm.node("suspect", wrong)
    know_some(farm)
    farm.desk.happen(NodeCondemned(suspect.origin.user, CONDEMNED_S))
    farm.desk.now += CONDEMNED_S
    farm.pass_time(3.0)
    assert len(suspect.ran) == 2
    assert farm.record("suspect").until - farm.desk.now > CONDEMNED_S - 10.0
    late = farm.node("late", user=suspect.origin.user)
    assert farm.state("late") == "quarantined"
    assert not late.ran


# --- what nobody may get by it ----------------------------------------------------------------------


def publisher(farm: TrialFarm, name: str, answer: object = right) -> Member:
    """A publisher's own node, which may run its own key's jobs alone."""
    member = farm.node(name, answer)  # type: ignore[arg-type]
    node = next(each for each in farm.desk.machine.farm.nodes if each.session.name == name)
    node.session.is_own = True
    return member


def test_a_publishers_node_is_tried_with_its_own_keys_jobs_alone(farm: TrialFarm) -> None:
    farm.node("maker")
    own = publisher(farm, "ci")
    know_some(farm)
    farm.quarantine("ci")
    farm.pass_time(BACK_S)
    assert not own.ran
    assert farm.state("ci") == "probed"
    know_some(farm, "user-ci")
    farm.pass_time(ASK_PROOF_AGAIN_S + 1.0)
    assert {name[:7] for name in own.ran} == {"user-ci"}
    assert farm.state("ci") == "ready"


def test_a_publishers_node_is_convicted_by_its_own_key(farm: TrialFarm) -> None:
    farm.node("maker")
    publisher(farm, "ci", wrong)
    know_some(farm, *USERS, "user-ci")
    farm.quarantine("ci")
    farm.pass_time(BACK_S)
    assert farm.state("ci") == "quarantined"


def test_who_submits_a_known_job_meanwhile_is_not_served_by_the_node_on_trial(
    farm: TrialFarm,
) -> None:
    farm.node("maker")
    suspect = farm.node("suspect", lambda _: None)
    key = farm.know("x", "user-a", "user-maker")
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert suspect.ran == ["x"]
    (lease,) = farm.desk.machine.farm.leases.values()
    assert lease.key != key, "the trial has another name in the books"
    assert lease.id[:12] != key[:12], "and so has its lease, for a broker after us"
    (execution,) = farm.desk.machine.farm.executions.values()
    assert execution.job == key
    assert not execution.is_private


def test_a_trial_is_not_taken_back_for_an_idle_node(farm: TrialFarm) -> None:
    farm.node("maker", slots=8)
    suspect = farm.node("suspect", lambda _: None)
    farm.know("x", "user-a", "user-maker")
    farm.quarantine("suspect")
    farm.pass_time(BACK_S + 5.0)
    assert suspect.ran == ["x"]
    assert len(farm.desk.machine.farm.leases) == 1
    assert not farm.nodes["maker"].ran


def test_a_node_that_says_hello_again_keeps_its_known_job(farm: TrialFarm) -> None:
    farm.node("maker")
    suspect = farm.node("suspect", lambda _: None)
    farm.know("x", "user-a", "user-maker")
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    (lease,) = farm.desk.machine.farm.leases
    farm.desk.node("suspect", 2, leases=(lease,))
    assert list(farm.desk.machine.farm.leases) == [lease]
    assert suspect.ran == ["x"]


def test_jobs_that_only_a_node_on_trial_could_do_are_refused_until_it_is_back(
    farm: TrialFarm,
) -> None:
    farm.node("suspect", lambda _: None)
    know_some(farm)
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "on-trial"
    client = farm.client("a")
    farm.desk.submit(client, 1, job("mine", inputs=()))
    assert farm.desk.got(client, Refused)


# --- what is chosen, and what people see --------------------------------------------------------------


def test_each_key_is_asked_once_a_round_however_much_it_has_remembered(farm: TrialFarm) -> None:
    know_some(farm, "user-a", count=30)
    know_some(farm, "user-b", "user-c", count=2)
    known = list(farm.answers.known("user-suspect", ""))
    assert [sorted(each.source.user for each in known[at : at + 3]) for at in (0, 3)] == [
        list(USERS),
        list(USERS),
    ]
    assert {each.source.user for each in farm.answers.known("user-suspect", "user-b")} == {"user-b"}


def test_what_a_publishers_own_node_has_made_is_not_known(farm: TrialFarm) -> None:
    """Two publishers' keys had results of their own held against the one other node, for good."""
    suspect = farm.node("n")
    for user in ("user-ci", "user-cd"):
        for number in range(2):
            farm.know(f"{user}-{number}", user, user, wrong)
    farm.quarantine("n")
    farm.pass_time(BACK_S)
    assert not suspect.ran
    assert farm.state("n") == "probed"


def test_long_jobs_are_not_known(farm: TrialFarm) -> None:
    def long(name: str) -> Result:
        return replace(right(name), usage=Usage(60.0, 60.0, 1))

    farm.know("x", "user-a", "user-maker", long)
    assert not farm.answers.known("user-suspect", "")


def test_why_node_shows_the_trial(farm: TrialFarm) -> None:
    farm.node("maker")
    suspect = farm.node("suspect")
    key = farm.know("x", "user-a", "user-maker")
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    placed = farm.desk.machine.placed(key, None, farm.desk.now)
    (row,) = placed.rows
    assert (row.node, row.reason, row.ending) == ("suspect", "trial", "finished")
    suspect.answer = lambda _: None
    farm.quarantine("suspect")
    farm.pass_time(3 * QUARANTINE_S)
    client = farm.client("b")
    mine = job("mine", inputs=())
    farm.desk.submit(client, 1, mine)
    (row,) = farm.desk.machine.placed(mine.key, None, farm.desk.now).rows
    assert {each.name: each.verdict for each in row.candidates} == {
        "maker": "chosen",
        "suspect": "on-trial",
    }


def test_a_store_that_cannot_be_searched_knows_nothing(farm: TrialFarm) -> None:
    farm.node("suspect")
    broken: Future[deque[Record]] = Future()
    broken.set_exception(OSError("no disk"))
    farm.examiner._gather = lambda *_: broken
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert farm.state("suspect") == "probed"


def test_a_trial_that_nobody_ends_is_given_up(farm: TrialFarm) -> None:
    """A mistake of ours costs a node some time, not the farm its node."""
    farm.node("suspect")
    asked: list[TryNode] = []
    farm.desk.on_try = lambda due: asked.append(due) or []  # type: ignore[func-returns-value]
    farm.quarantine("suspect")
    farm.pass_time(BACK_S)
    assert len(asked) == 1
    farm.desk.now += 3600.0
    farm.pass_time(2.0)
    assert farm.state("suspect") == "probed"
