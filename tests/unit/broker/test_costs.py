"""What the broker remembers of jobs' costs: whose word counts, what is forgotten, and what a restart keeps."""

from __future__ import annotations

import math
import random
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.limits import FOREIGN, MAX_COST_ROWS, MAX_COST_ROWS_PER_KEY, REGRESSED
from broker.costbook import FILE_NAME, Costbook
from broker.scheduling.costs import MAX_DOUBTS, Costs
from broker.scheduling.model import Known, Model
from broker.scheduling.regression import Regression, features_of, prior_of
from cache.digest import digest_of
from zcc.traits import Traits, traits_of

GCC = digest_of(b"gcc")


def traits(name: str, closure_bytes: int = 1 << 20, **more: int) -> Traits:
    made = traits_of((b"g++", b"-O2"), b"/p/" + name.encode() + b".cc", b"/p", closure_bytes)
    return replace(made, **more)  # type: ignore[arg-type]


def named(number: int) -> Traits:
    return replace(traits("x"), name=number.to_bytes(16, "big"))


@pytest.mark.parametrize(
    ("words", "levels"),
    [
        (b"-c", (0, 0, 0)),
        (b"-O", (1, 0, 0)),
        (b"-O3 -O0", (0, 0, 0)),
        (b"-Os -g", (2, 2, 0)),
        (b"-Ofast -ggdb3", (3, 3, 0)),
        (b"-Og -g1 -g0", (1, 0, 0)),
        (b"-gdwarf-4 -gz -gsplit-dwarf", (0, 2, 0)),
        (b"-fsanitize=address,undefined -fsanitize=address", (0, 0, 2)),
        (b"-fsanitize=a,b,c,d,e,f", (0, 0, 4)),
    ],
)
def test_the_options_that_cost_are_read(words: bytes, levels: tuple[int, int, int]) -> None:
    found = traits_of((b"gcc", *words.split()), b"/p/x.c", b"/p", 1)
    assert (found.optimizes, found.debugs, found.sanitizers) == levels
    assert not found.is_cxx


def test_a_source_has_one_name_in_every_checkout_and_another_under_other_options() -> None:
    def name(words: bytes, source: bytes, root: bytes) -> bytes:
        return traits_of((b"gcc", *words.split()), source, root, 1).name

    here = name(b"-O2 -Ia", b"/home/a/p/src/x.c", b"/home/a/p")
    assert here == name(b"-O2 -Ib", b"/home/b/q/build/../src/x.c", b"/home/b/q")
    assert here != name(b"-O1", b"/home/a/p/src/x.c", b"/home/a/p")
    assert here != name(b"-O2 -fsanitize=address", b"/home/a/p/src/x.c", b"/home/a/p")
    assert here != name(b"-O2", b"/home/a/p/src/y.c", b"/home/a/p")


def test_what_a_key_has_seen_itself_is_what_it_expects() -> None:
    costs = Costs()
    costs.observe("a", GCC, traits("x"), math.log(20.0), 3 << 30)
    found = costs.expect("a", GCC, traits("x"))
    assert found.is_known
    assert found.cost_s == pytest.approx(20.0, rel=0.4)
    assert found.peak_bytes == pytest.approx(3 << 30, rel=0.01)


def test_another_key_profits_from_it() -> None:
    costs, job = Costs(), traits("x")
    before = costs.expect("b", GCC, job).cost_s
    costs.observe("a", GCC, job, math.log(3 * before), 1 << 30)
    found = costs.expect("b", GCC, job)
    assert not found.is_known
    assert found.cost_s == pytest.approx(3 * before, rel=0.2)


def test_a_liar_moves_what_others_expect_by_a_bounded_factor_and_never_their_own() -> None:
    costs, job = Costs(), traits("x")
    ln_prior_cost, ln_prior_peak = prior_of(job)
    costs.observe("honest", GCC, job, ln_prior_cost, int(math.exp(ln_prior_peak)))
    for number in range(2_000):
        costs.observe("liar", GCC, job, math.log(3600.0), 1 << 42)
        costs.observe("liar", GCC, replace(job, name=named(number).name), math.log(3600.0), 1 << 42)
    found = costs.expect("new", GCC, job)
    most = FOREIGN * REGRESSED * 1.001
    assert math.exp(ln_prior_cost) <= found.cost_s <= math.exp(ln_prior_cost) * most
    assert found.peak_bytes <= math.exp(ln_prior_peak) * most
    own = costs.expect("honest", GCC, job)
    assert own.cost_s == pytest.approx(math.exp(ln_prior_cost), rel=0.3)
    assert own.peak_bytes == pytest.approx(math.exp(ln_prior_peak), rel=0.01)


def test_one_liar_among_three_has_no_say() -> None:
    costs, job = Costs(), traits("x")
    ln_cost, ln_peak = prior_of(job)
    for user in ("a", "b"):
        costs.observe(user, GCC, job, ln_cost, int(math.exp(ln_peak)))
    costs.observe("liar", GCC, job, math.log(3600.0), 1 << 42)
    assert costs.expect("new", GCC, job).cost_s == pytest.approx(math.exp(ln_cost), rel=0.01)


def test_a_key_that_names_a_million_sources_pushes_out_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broker.scheduling.costs.MAX_COST_ROWS", 300)
    monkeypatch.setattr("broker.scheduling.costs.MAX_COST_ROWS_PER_KEY", 200)
    costs = Costs()
    for number in range(100):
        costs.observe("honest", GCC, named(number), 0.0, 1 << 28)
    for number in range(1_000):
        costs.observe("flood", GCC, named(5_000 + number), 0.0, 1 << 28)
    assert len(costs) <= 300
    assert all(costs.expect("honest", GCC, named(number)).is_known for number in range(100))
    assert costs.expect("flood", GCC, named(5_999)).is_known
    assert not costs.expect("flood", GCC, named(5_000)).is_known
    assert MAX_COST_ROWS_PER_KEY < MAX_COST_ROWS


def test_a_peak_is_believed_at_once_and_forgotten_slowly() -> None:
    costs, job = Costs(), traits("x")
    costs.observe("a", GCC, job, 0.0, 1 << 30)
    costs.observe("a", GCC, job, 0.0, 4 << 30)
    assert costs.expect("a", GCC, job).peak_bytes == pytest.approx(4 << 30, rel=0.01)
    costs.observe("a", GCC, job, 0.0, 1 << 30)
    assert costs.expect("a", GCC, job).peak_bytes > 2.5 * (1 << 30)
    for _ in range(20):
        costs.observe("a", GCC, job, 0.0, 1 << 30)
    assert costs.expect("a", GCC, job).peak_bytes < 1.1 * (1 << 30)


def test_what_a_job_was_stopped_at_is_the_least_that_it_needs() -> None:
    costs, job = Costs(), traits("x")
    costs.needs_more("a", GCC, job, 8 << 30)
    costs.needs_more("a", GCC, job, 4 << 30)
    found = costs.expect("a", GCC, job)
    assert found.least_bytes == pytest.approx(8 << 30, rel=0.01)
    assert found.peak_bytes == pytest.approx(16 << 30, rel=0.01)
    refusals = 0
    while costs.expect("a", GCC, job).least_bytes > 4 << 30:
        costs.doubt("a", GCC, job)
        refusals += 1
    assert refusals == MAX_DOUBTS
    costs.observe("a", GCC, job, 0.0, 3 << 30)
    assert costs.expect("a", GCC, job).least_bytes < 3 << 30


def test_the_regression_finds_a_toolchain_s_own_weights() -> None:
    rng, regression = random.Random(1), Regression()
    true = (-1.0, 0.8, 1.0, 0.2, 0.6, 0.3, 0.7)

    def job() -> Traits:
        size = int(math.exp(rng.uniform(9, 16)))
        levels = rng.randrange(4), rng.randrange(4), rng.randrange(3)
        return Traits(bytes(16), size, rng.random() < 0.5, *levels)

    def cost(of: Traits) -> float:
        return sum(a * b for a, b in zip(true, features_of(of), strict=True))

    for _ in range(400):
        made = job()
        regression.learn(made, cost(made) + rng.gauss(0, 0.3), 20.0)
    errors = [regression.predict(made)[0] - cost(made) for made in [job() for _ in range(200)]]
    assert max(map(abs, errors)) < 0.4
    again = Regression.of_state(regression.state())
    assert again.predict(job()) == regression.predict(job()) or again.seen == regression.seen
    with pytest.raises(ValueError, match="numbers"):
        Regression.of_state([math.nan] * len(regression.state()))


def test_speeds_are_learnt_by_what_is_known_of_a_source() -> None:
    """The second run of a source, on another node: what it takes more there is the node's."""
    model = Model()
    for number in range(200):
        known = Known("u", GCC, named(number))
        expected = model.expect(GCC, 0.0, 1, known)
        cost = 1.0 + number % 7
        args = expected.job, expected.scale
        model.observe(("f", "fast"), *args, cost, cost, known, 1 << 28)
        model.observe(("s", "slow"), *args, 4 * cost, 4 * cost, known, 1 << 28)
    ratio = model.speed(("f", "fast")) / model.speed(("s", "slow"))
    assert ratio == pytest.approx(4.0, rel=0.25)


def test_costs_survive_a_restart_and_damage_costs_nothing_else(tmp_path: Path) -> None:
    costs = Costs()
    book = Costbook(str(tmp_path), costs, lambda: 0.0)
    for number in range(50):
        costs.observe("a", GCC, named(number), math.log(2.0 + number), 1 << 30)
    costs.observe("a", GCC, named(0), 0.0, 1 << 30, "one")
    costs.needs_more("a", GCC, named(0), 2 << 30, "another")
    before = costs.expect("b", GCC, traits("other", 1 << 22))
    book.close()
    again = Costs()
    Costbook(str(tmp_path), again, lambda: 0.0).close()
    assert len(again) == 50
    words = again.expect("a", GCC, named(0)).words
    assert words == costs.expect("a", GCC, named(0)).words
    assert [each.by for each in words] == ["another", "one"]
    assert again.expect("a", GCC, named(7)).cost_s == pytest.approx(
        costs.expect("a", GCC, named(7)).cost_s
    )
    assert again.expect("b", GCC, traits("other", 1 << 22)) == before
    (tmp_path / FILE_NAME).write_bytes(b"\0no database" * 5000)
    for name in (FILE_NAME + "-wal", FILE_NAME + "-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    third = Costs()
    book = Costbook(str(tmp_path), third, lambda: 0.0)
    assert len(third) == 0
    third.observe("a", GCC, named(1), 0.0, 1 << 30)
    book.close()
    fourth = Costs()
    Costbook(str(tmp_path), fourth, lambda: 0.0).close()
    assert len(fourth) == 1


def test_rows_that_make_no_sense_are_not_taken(tmp_path: Path) -> None:
    book = Costbook(str(tmp_path), Costs(), lambda: 0.0)
    book.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        rows = [
            (b"short", "a", 0.0, 20.0, 1, 0.0, "n", "", 0.0, 0.0, 1.0),
            (bytes(16), "a", 1e300, 20.0, 1, 0.0, "n", "", 0.0, 0.0, 1.0),
            (bytes(16), "b", 0.0, 20.0, 0, 0.0, "n", "", 0.0, 0.0, 1.0),
            (bytes(16), "c", 0.0, 20.0, 1, 0.0, "n", "m", 20.0, 1e300, 1.0),
            (bytes(16), "d", 0.0, 20.0, 1, 0.0, "n", "m", 20.0, 19.0, 1.0),
        ]
        db.executemany("INSERT INTO costs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute("INSERT INTO regressions VALUES (?, ?)", (bytes(32), b"no state"))
    costs = Costs()
    Costbook(str(tmp_path), costs, lambda: 0.0).close()
    assert len(costs) == 1


def test_what_is_forgotten_is_forgotten_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.scheduling.costs.MAX_COST_ROWS_PER_KEY", 10)
    costs = Costs()
    book = Costbook(str(tmp_path), costs, lambda: 0.0)
    for number in range(15):
        costs.observe("a", GCC, named(number), 0.0, 1 << 30)
    book.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        assert db.execute("SELECT count(*) FROM costs").fetchone() == (10,)
