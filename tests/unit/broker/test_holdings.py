"""What keys have shown and named: each table is full of its filler's own, and of nobody else's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from broker.core.holdings import Holdings
from broker.core.limits import MAX_NAMED_PER_KEY, MAX_PROVEN_PER_KEY, MAX_RECORDS_PER_KEY
from broker.core.nodes import Roster
from broker.core.sessions import Session
from broker.core.shares import Lines, Shares
from broker.scheduling.model import Model
from broker.state import TOOLCHAINS_FILE, add_toolchain, known_toolchains
from cache.digest import Digest
from tests.support.broker_world import blob
from zcc.messages import PeerRole


def blobs(name: str, count: int) -> list[Digest]:
    return [blob(f"{name} {number}") for number in range(count)]


def test_who_fills_a_table_loses_his_own_oldest() -> None:
    shares = Shares[int](most=10, most_of_one=100)
    for number in range(4):
        shares.use("other", number)
    for number in range(100, 200):
        shares.use("filler", number)
    assert len(shares) == 10
    assert shares.items() == [(n, "other") for n in range(4)] + [
        (n, "filler") for n in range(194, 200)
    ]


def test_what_two_keys_name_is_there_until_both_have_lost_it() -> None:
    shares = Shares[int](most=10, most_of_one=2)
    shares.use("a", 1)
    shares.use("b", 1)
    shares.use("a", 2)
    shares.use("a", 3)
    assert 1 in shares
    shares.use("b", 1)
    shares.use("b", 2)
    shares.use("b", 3)
    assert 1 not in shares


def test_toolchains_that_were_only_named_push_out_none_that_compiled() -> None:
    holdings = Holdings([(blob("noted before"), "")])
    assert holdings.prove_toolchain("honest", blob("gcc"))
    holdings.name_toolchain("honest", blob("new"))
    for digest in blobs("junk", 20_000):
        holdings.name_toolchain("attacker", digest)
    for known in ("noted before", "gcc", "new"):
        assert holdings.is_toolchain(blob(known))
    assert len(holdings.toolchains) == 3 + MAX_NAMED_PER_KEY


def test_toolchains_that_compiled_push_out_no_other_keys(tmp_path: Path) -> None:
    holdings = Holdings()
    holdings.prove_toolchain("honest", blob("gcc"))
    junk = [blob("gcc"), *blobs("junk", 2 * MAX_PROVEN_PER_KEY)]
    worth_noting = sum(holdings.prove_toolchain("attacker", digest) for digest in junk)
    assert holdings.is_toolchain(blob("gcc"))
    assert worth_noting < MAX_PROVEN_PER_KEY
    assert len(holdings.toolchains) == 1 + MAX_PROVEN_PER_KEY


def test_the_next_broker_knows_whose_toolchains_they_are(tmp_path: Path) -> None:
    state = str(tmp_path)
    (tmp_path / TOOLCHAINS_FILE).write_text(f"{blob('old').hex()}\nrubbish\n")
    add_toolchain(state, blob("gcc"), "k{e}y")
    assert known_toolchains(state) == [(blob("old"), ""), (blob("gcc"), "k{e}y")]
    holdings = Holdings(known_toolchains(state))
    assert holdings.is_toolchain(blob("old"))
    assert not holdings.prove_toolchain("other", blob("gcc"))


def test_who_shows_too_much_forgets_his_own() -> None:
    holdings = Holdings(limit=1_000)
    mine, common = blobs("mine", 300), blobs("common", 100)
    holdings.note("attacker", common)
    holdings.note("honest", [*mine, *common])
    for start in range(0, 5_000, 100):
        holdings.note("attacker", blobs("junk", 5_000)[start : start + 100])
    assert not holdings.unshown("honest", [*mine, *common])
    assert holdings.unshown("attacker", common)
    assert holdings.unshown("stranger", mine) == mine


def test_a_revoked_key_is_the_first_to_be_forgotten() -> None:
    holdings = Holdings(limit=1_000)
    holdings.note("gone", blobs("gone", 300))
    holdings.forget_key("gone")
    holdings.note("honest", blobs("mine", 600))
    for digest in blobs("more", 300):
        holdings.note("honest", [digest])
    assert not holdings.unshown("honest", [*blobs("mine", 600), *blobs("more", 300)])


def check_bits(holdings: Holdings) -> None:
    """Each blob is one key's entry, and a bit that is to be given stands nowhere."""
    entries = [digest for firsts in holdings._firsts.values() for digest in firsts]
    assert sorted(entries) == sorted(holdings._holders)
    free = sum(1 << number for number in holdings._free)
    assert not free & holdings._live
    assert not any(held & free for held in holdings._holders.values())
    assert not any(bit & free for bit in holdings._firsts)


@pytest.mark.parametrize("limit", [10_000, 40])
@pytest.mark.parametrize("seed", range(4))
def test_no_key_that_comes_holds_what_one_that_left_has_shown(
    seed: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.core.holdings._LEAST_LEFT", 2)
    monkeypatch.setattr("broker.core.holdings._SWEPT_AT_ONCE", 3)
    rng, all_blobs, holdings = random.Random(seed), blobs("b", 60), Holdings(limit=limit)
    shown: dict[str, set[Digest]] = {}
    for number in range(400):
        known = rng.choice(list(shown)) if shown and rng.random() < 0.6 else f"k{number}"
        if known in shown and rng.random() < 0.4:
            holdings.forget_key(known)
            del shown[known]
        else:
            now = rng.sample(all_blobs, rng.choice((1, 2, 10, 30)))
            holdings.note(known, now)
            shown.setdefault(known, set()).update(now)
        check_bits(holdings)
        for user in (*shown, "stranger", known):
            hers = [digest for digest in all_blobs if digest not in shown.get(user, ())]
            unshown = holdings.unshown(user, all_blobs)
            assert unshown == hers if limit == 10_000 else set(unshown) >= set(hers)
    assert holdings.bits_given < len(shown) + 80


def test_keys_that_come_and_go_cost_later_keys_nothing() -> None:
    holdings = Holdings()
    for number in range(20_000):
        holdings.note(f"ci{number}", [blob(f"own {number}"), blob("common")])
        holdings.forget_key(f"ci{number}")
    assert holdings.bits_given < 250
    holdings.note("dev", blobs("dev", 1_000))
    assert max(held.bit_length() for held in holdings._holders.values()) < 250
    check_bits(holdings)


def test_keys_take_turns_and_a_line_loses_its_own_first() -> None:
    lines = Lines[int](most_of_one=3)
    for number in range(10):
        lines.put("filler", number)
    lines.put("other", 100)
    assert [lines.take() for _ in range(4)] == [7, 100, 8, 9]
    assert not lines


@pytest.mark.long
def test_names_of_one_keys_nodes_push_out_no_other_nodes_record() -> None:
    roster = Roster()
    session = Session(bytes(16), b"route", "honest", PeerRole.NODE, "stays", 0.0)
    stays, gone = roster.join(session, 1, frozenset()), roster.record(("honest", "was here"))
    for number in range(20_000):
        roster.record(("liar", f"node{number}"))
    assert roster.record(("honest", "stays")) is stays.record
    assert roster.record(("honest", "was here")) is gone


def test_a_node_that_is_here_keeps_its_record_whatever_else_its_key_names() -> None:
    roster = Roster()
    session = Session(bytes(16), b"route", "user", PeerRole.NODE, "stays", 0.0)
    stays = roster.join(session, 1, frozenset())
    for number in range(2 * MAX_RECORDS_PER_KEY):
        roster.record(("user", f"node{number}"))
    assert roster.record(("user", "stays")) is stays.record
    assert len(roster.records_of("user")) == 2


def test_speeds_of_one_keys_nodes_push_out_their_own() -> None:
    model = Model()
    job = (blob("gcc"), 0)
    model.observe(("honest", "n"), job, 1.0, 1.0, 1.0)
    model.observe(("honest", "n"), job, 1.0, 4.0, 4.0)
    before = model.ln_rate(("honest", "n"))
    for number in range(2 * MAX_RECORDS_PER_KEY):
        model.observe(("liar", f"node{number}"), job, 1.0, 1.0, 8.0)
    assert model.ln_rate(("honest", "n")) == before != 0.0
    assert model.speed(("liar", "node0")) == 1.0
