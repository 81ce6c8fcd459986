"""A node whose runs second copies elsewhere end is rated by those: it gives no result of its own."""

from __future__ import annotations

import math
from itertools import count

import pytest

from broker.core.events import Origin
from broker.core.limits import STARTUP_GRACE_S
from broker.core.listing import nodes_of
from broker.scheduling.lateness import LEAST_RUNS
from broker.scheduling.model import CHANGED, Identity, Model, cost_class
from broker.scheduling.outrun import MOST_TIMES
from cache.digest import digest_of
from tests.support.broker_world import Desk, job
from zcc.messages import Beat, Run, Started

# A job of one second has a second copy after this, and not much later.
HEDGED_AFTER_S = 4.0


class Race:
    """A node that is believed to be as fast as others, and one that is."""

    def __init__(self, *agents: str) -> None:
        self.desk = Desk()
        self.farm = self.desk.machine.farm
        self.farm.started_at -= STARTUP_GRACE_S
        self.agents = [self.desk.client(each) for each in agents]
        self.slow = self.desk.node("slow", slots=4)
        self.good = self.desk.node("good", slots=1)
        self.tickets = count(1)
        # Its toolchain comes with the first job, which so says nothing of its speed.
        self.desk.say(self.good, Beat(0.0, paused="busy"))
        ticket = next(self.tickets)
        self.desk.submit(self.agents[0], ticket, job(f"x{ticket}", inputs=()))
        (run,) = self.begin(self.slow)
        self.wait(1.0)
        self.desk.done(self.slow, run.lease, cpu_s=1.0, wall_s=1.0)
        self.desk.say(self.good, Beat(0.0))

    def begin(self, node: Origin) -> list[Run]:
        runs = self.desk.runs(node)
        for run in runs:
            self.desk.say(node, Started(run.lease))
        return runs

    def wait(self, seconds: float) -> None:
        sessions = self.farm.sessions
        heard = frozenset(Origin(each.route, each.user, each.role) for each in sessions)
        self.desk.pass_time(seconds, heard)

    def beat(self, agent: int = 0, takes_s: float = 1.0, hint_s: float = 1.0) -> None:
        """The slow node has a job until the other one, which gets it too, has done it in so many seconds."""
        self.desk.say(self.good, Beat(0.0, paused="busy"))
        ticket = next(self.tickets)
        self.desk.submit(self.agents[agent], ticket, job(f"x{ticket}", inputs=(), hint_s=hint_s))
        assert self.begin(self.slow), "it is given nothing"
        self.desk.say(self.good, Beat(0.0))
        copies: list[Run] = []
        while not copies:
            self.wait(0.5)
            copies = self.begin(self.good)
        self.wait(takes_s)
        self.desk.done(self.good, copies[0].lease, cpu_s=takes_s, wall_s=takes_s)

    def told(self) -> float:
        (row,) = [row for row in nodes_of(self.farm, self.desk.now).rows if row.name == "slow"]
        return row.speed

    def wall_s(self) -> float:
        return self.farm.model.wall_s(1.0, self._identity)

    def known_by(self) -> str:
        return self.farm.model.known_by(self._identity)

    @property
    def _identity(self) -> Identity:
        (node,) = [each for each in self.farm.nodes if each.session.name == "slow"]
        return node.identity


def test_a_node_whose_runs_all_end_elsewhere_first_is_known_to_be_slow() -> None:
    race = Race("a")
    for _ in range(LEAST_RUNS - 1):
        race.beat()
    assert race.told() > 0.8, "two may be late because of themselves"
    race.beat()
    assert race.told() < 0.4
    assert race.wall_s() > 1.5


def test_what_it_takes_next_says_all_again() -> None:
    race = Race("a")
    for _ in range(LEAST_RUNS):
        race.beat()
    ticket = next(race.tickets)
    race.desk.say(race.good, Beat(0.0, paused="busy"))
    race.desk.submit(race.agents[0], ticket, job(f"x{ticket}", inputs=()))
    (run,) = race.begin(race.slow)
    race.wait(1.0)
    race.desk.done(race.slow, run.lease, cpu_s=1.0, wall_s=1.0)
    assert race.told() > 0.8
    assert race.wall_s() < 1.5
    assert race.known_by() == "results"


def test_jobs_that_take_long_elsewhere_too_say_nothing_of_it() -> None:
    race = Race("a")
    for hint_s in (0.5, 2.0, 4.0, 8.0):  # of classes of which nothing is known
        race.beat(takes_s=10 * hint_s, hint_s=hint_s)
    assert race.known_by() == "results"


def test_of_several_keys_one_alone_makes_no_node_slow() -> None:
    race = Race("a", "b")
    # The other has a job on the farm all the time: one that no node may run yet.
    race.desk.submit(race.agents[1], 1000, job("held", inputs=("lacks",)))
    for _ in range(LEAST_RUNS + 1):
        race.beat(agent=0)
    assert race.told() > 0.8
    race.beat(agent=1)
    assert race.told() < 0.8


def test_what_never_answers_is_not_waited_for_ever_longer() -> None:
    race = Race("a")
    for _ in range(6 * LEAST_RUNS):
        race.beat()
    assert race.wall_s() <= 1.5 * MOST_TIMES


@pytest.mark.parametrize("has_runs_late", [False, True])
def test_what_runs_have_said_is_not_taken_back_where_they_were_outrun(has_runs_late: bool) -> None:
    model, node = Model(), ("key", "node")
    what = cost_class(digest_of(b"gcc"), 1.0, 1)
    model.observe(node, what, 1.0, 1.0, 1.0, now=0.0)
    if has_runs_late:
        model.note_slower(node, 8.0, 1.0)
    assert model.note_least_rate(node, math.log(4.0), CHANGED, 2.0)
    assert model.wall_s(1.0, node) == pytest.approx(8.0 if has_runs_late else 4.0)
    model.take_back_slower(node)
    assert model.wall_s(1.0, node) == pytest.approx(4.0)
    assert model.told_speed(node) == pytest.approx(0.25)
    assert model.known_by(node) == "runs"
    assert not model.note_least_rate(node, math.log(3.0), CHANGED, 3.0), "no less than is known"
    model.observe(node, what, 1.0, 1.0, 1.0, now=4.0)
    assert model.told_speed(node) == pytest.approx(1.0)
    assert model.known_by(node) == "results"
