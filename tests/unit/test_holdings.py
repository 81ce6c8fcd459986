"""What keys have shown and named: each table is full of its filler's own, and of nobody else's."""

from __future__ import annotations

from pathlib import Path

from broker.holdings import Holdings
from broker.limits import MAX_NAMED_PER_KEY, MAX_PROVEN_PER_KEY
from broker.shares import Shares
from broker.state import TOOLCHAINS_FILE, add_toolchain, known_toolchains
from cache.digest import Digest
from tests.broker_world import blob


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
