"""Audits against nodes that lie, and against members whose compilers only seem to show that."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.effects import RerunEnded
from broker.core.events import Event
from broker.core.limits import CONDEMNED_S, MAX_QUARANTINE_S
from broker.results.auditor import Auditor
from tests.support.trial_world import Answer, TrialFarm, job_of, right, wrong
from zcc.job import Lookups, Result, job_key

NODES = ("n1", "n2", "n3", "n4")
Where = Callable[[str, str], Result]


class Audited(TrialFarm):
    """Everything that is remembered is audited at once."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.told_later: list[Event] = []
        self.auditor = Auditor(
            str(directory / "auditor"),
            1 << 30,
            1.0,
            self.results,
            self.desk.machine,
            self.told_later.append,
            self.log,
            lambda digest: digest in self.desk.store,
        )
        self.auditor._jobs = self.kept
        self.desk.on_rerun_ended = self._audited

    def close(self) -> None:
        self.auditor._executor.shutdown()
        super().close()

    def audit(self, name: str, user: str, maker: str, made: Answer = right) -> None:
        """Have this result remembered, and audited."""
        key = self.know(name, user, f"user-{maker}", made)
        self.auditor._begin(key, True, self.desk.now)
        while self.told_later:
            told, self.told_later[:] = list(self.told_later), []
            self.desk.happen(*told)
            self._answer()

    def verdicts(self) -> list[object]:
        return [line["verdict"] for line in self.lines("audit")]

    def _audited(self, effect: RerunEnded) -> list[Event]:
        self.auditor.ended(effect, self.desk.now)
        told, self.told_later[:] = list(self.told_later), []
        return told


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Audited]:
    made = Audited(tmp_path)
    yield made
    made.close()


def join(farm: Audited, *names: str, answer: Answer = right) -> None:
    for name in names:
        farm.node(name, answer)


def is_kept_from(farm: Audited, name: str, user: str) -> bool:
    return farm.record(name).is_aside_for(user, farm.desk.now)


def test_a_node_that_lies_is_kept_from_more_the_more_members_jobs_show_it(farm: Audited) -> None:
    join(farm, *NODES)
    for number in range(2):
        farm.audit(f"a{number}", "user-a", "n1", wrong)
    assert farm.verdicts() == ["maker-at-fault"] * 2
    assert farm.state("n1") == "ready"
    assert is_kept_from(farm, "n1", "user-a")
    assert not is_kept_from(farm, "n1", "user-b")
    farm.audit("b", "user-b", "n1", wrong)
    left_s = farm.record("n1").until - farm.desk.now
    assert left_s == MAX_QUARANTINE_S
    farm.audit("c", "user-c", "n1", wrong)
    left_s = farm.record("n1").until - farm.desk.now
    assert left_s == CONDEMNED_S
    assert [farm.state(name) for name in NODES[1:]] == ["ready"] * 3


def test_who_was_kept_from_a_node_is_so_whatever_it_is_called(farm: Audited) -> None:
    join(farm, *NODES)
    farm.audit("a", "user-a", "n1", wrong)
    farm.node("new", user="user-n1")
    assert is_kept_from(farm, "new", "user-a")


def test_a_compiler_that_gives_one_of_two_things_by_chance_puts_no_node_aside(
    farm: Audited,
) -> None:
    """By two of three that agreed two members' jobs had honest nodes put aside for a day."""
    rng = random.Random(5)

    def by_chance(name: str) -> Result:
        return rng.choice((right, wrong))(name)

    join(farm, *NODES, answer=by_chance)
    for number in range(24):
        farm.audit(f"{number}", f"user-{number % 2}", NODES[number % 4])
    assert "unstable" in farm.verdicts()
    assert all(farm.record(name).until < farm.desk.now for name in NODES)


def test_two_members_with_a_compiler_that_tells_nodes_apart_do_little(farm: Audited) -> None:
    """They had any node put aside for a day, and the next one."""
    join(farm, *NODES)
    for odd in NODES * 3:
        for user in ("user-a", "user-b"):
            farm.audit(f"{odd} {user} {len(farm.verdicts())}", user, odd, wrong)
    aside_s = [max(0.0, farm.record(name).until - farm.desk.now) for name in NODES]
    assert aside_s == [MAX_QUARANTINE_S, MAX_QUARANTINE_S, 0.0, 0.0]


def undeclared(name: str) -> Result:
    """What an honest node says of a job that reads what it does not name."""
    return replace(right(name), lookups=Lookups(undeclared=(b"/src/hidden.h",)))


def test_a_node_cannot_hide_behind_jobs_that_prove_nothing(farm: Audited) -> None:
    join(farm, "n1", "n2", "n3", answer=undeclared)
    farm.audit("a", "user-a", "n1", wrong)
    assert farm.verdicts() == ["maker-at-fault"]
    assert is_kept_from(farm, "n1", "user-a")
    assert farm.known(job_key(job_of("a"))) is None


def test_who_alone_says_that_a_job_proves_nothing_is_not_at_fault(farm: Audited) -> None:
    join(farm, "n1", "n2", "n3")
    farm.nodes["n2"].answer = undeclared
    for number in range(4):
        farm.audit(f"a{number}", "user-a", "n1")
    assert set(farm.verdicts()) <= {"equal"}
    assert not any(is_kept_from(farm, name, "user-a") for name in ("n1", "n2", "n3"))
    assert farm.known(job_key(job_of("a0"))) is not None


def test_a_result_that_one_other_node_cannot_prove_is_forgotten(farm: Audited) -> None:
    join(farm, "n1", "n2")
    for name, answer in (("a", undeclared), ("b", flawed)):
        farm.nodes["n2"].answer = answer
        farm.audit(name, "user-a", "n1")
        assert farm.known(job_key(job_of(name))) is None
    assert not is_kept_from(farm, "n1", "user-a")


def flawed(name: str) -> Result:
    return replace(right(name), lookups=Lookups(flaw="it was cut off"))


def test_a_node_that_lies_in_an_audit_is_found_as_well(farm: Audited) -> None:
    join(farm, "n1", "n2", "n3")
    farm.nodes["n2"].answer = wrong
    for number in range(4):
        farm.audit(f"a{number}", "user-a", "n1")
    assert "other-at-fault" in farm.verdicts()
    assert is_kept_from(farm, "n2", "user-a")
    assert not any(is_kept_from(farm, name, "user-a") for name in ("n1", "n3"))
