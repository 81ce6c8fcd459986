"""Purging, trimming and verifying a store from outside: what people expect of the words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cache.blobs import BlobStore
from cache.digest import Digest, digest_of
from cache.errors import StoreError
from cache.frame import compress
from cache.record import Record, Source
from cache.selection import Selection
from cache.stores import DiskStore
from cache.upkeep import clear, purge, trim, verify
from zcc.agent.results.local_cache import SPACE
from zcc.cli.main import command_line

SHARED, INPUT = b"what both have written", b"an input of a job"


def source(node: str) -> Source:
    return Source(digest_of(b"gcc"), node, "k" * 40, "u" * 40)


def keep(store: DiskStore, name: bytes, node: str, *outputs: bytes, made_s: float = 1.0) -> Digest:
    store.put_blobs({digest_of(each): compress(each) for each in outputs})
    key = digest_of(name)
    digests = tuple(map(digest_of, outputs))
    store.put_records([Record(key, b"body", digests, 4, source(node), made_s)])
    store.index.flush()
    return key


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    """Two results of two nodes, an output of each, one that both have, and an input."""
    with closing(DiskStore(str(tmp_path), SPACE, 1 << 30)) as opened:
        keep(opened, b"one", "n1", os.urandom(1000), SHARED)
        keep(opened, b"two", "n2", os.urandom(1000), SHARED)
        opened.put_blobs({digest_of(INPUT): compress(INPUT)})
        yield opened


def blobs(store: DiskStore) -> set[Digest]:
    return {entry.key for entry in store.blobs.entries()}


def test_a_purge_frees_the_outputs_that_no_other_result_needs(store: DiskStore) -> None:
    removed = purge(store, Selection(node="n1"))
    assert (removed.results, removed.blobs) == (1, 1)
    assert removed.freed_bytes >= 1000
    assert {digest_of(SHARED), digest_of(INPUT)} < blobs(store)
    assert purge(store, Selection(node="n2")).blobs == 2
    assert blobs(store) == {digest_of(INPUT)}


def test_a_purge_that_matches_nothing_frees_nothing(store: DiskStore) -> None:
    before = blobs(store)
    assert purge(store, Selection(used_before_s=0.0)).results == 0
    assert blobs(store) == before


def test_a_purge_of_everything_leaves_nothing(store: DiskStore) -> None:
    removed = clear(store)
    assert (removed.results, removed.blobs) == (2, 4)
    assert blobs(store) == set()
    assert store.index.keys() == []
    assert clear(store).freed_bytes == 0


def test_a_purge_of_everything_gives_the_indexs_disk_back_too(tmp_path: Path) -> None:
    with closing(DiskStore(str(tmp_path), SPACE, 1 << 30)) as store:
        for _ in range(300):
            body = os.urandom(4000)
            record = Record(digest_of(body), body, (), 4, source("n1"), 1.0)
            store.put_records([record])
        store.index.flush()
        clear(store)
    assert sum(path.stat().st_size for path in tmp_path.glob("results.sqlite*")) < 100_000


def test_after_a_trim_nothing_is_left_for_a_verification_to_find(store: DiskStore) -> None:
    removed = trim(store, 0)
    assert removed.blobs == 4
    assert store.index.keys() == []
    found = verify(store, lambda done, all_: None)
    assert (found.rotten, found.lost) == (0, 0)


def test_a_trim_to_what_is_there_changes_nothing(store: DiskStore) -> None:
    assert trim(store, 1 << 30) == trim(store, 1 << 30)
    assert len(store.index.keys()) == 2


def verify_by_hand(store: DiskStore) -> tuple[int, str]:
    done = CliRunner().invoke(command_line("cache"), ["cache", "verify", "--dir", store.directory])
    return done.exit_code, done.stdout


def test_eviction_is_no_damage_and_rot_is(store: DiskStore) -> None:
    store.blobs.remove(digest_of(SHARED))  # as an agent evicts
    code, said = verify_by_hand(store)
    assert (code, "2 of them without their blobs" in said) == (0, True)
    with open(store.blobs.path_of(digest_of(INPUT)), "r+b") as file:
        file.write(b"rot")
    code, said = verify_by_hand(store)
    assert (code, "1 of them rotten" in said) == (1, True)
    assert verify_by_hand(store)[0] == 0


def test_a_store_whose_blobs_another_process_removes_counts_anew(store: DiskStore) -> None:
    assert store.blobs.size_bytes > 0
    with closing(DiskStore(store.directory, SPACE, 1 << 30)) as other:
        clear(other)
    assert store.blobs.trim(1) == 0
    assert store.blobs.size_bytes == 0


@pytest.mark.parametrize(
    "words",
    [["purge", "--all"], ["purge", "--node", "n1"], ["trim", "0"], ["verify"]],
    ids=" ".join,
)
def test_a_command_that_cannot_do_its_work_says_so(
    store: DiskStore, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.index._BUSY_S", 0.05)
    store.blobs.remove(digest_of(SHARED))  # else a verification has nothing to change
    with closing(sqlite3.connect(store.index.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = CliRunner().invoke(
            command_line("cache"), ["cache", *words, "--dir", store.directory]
        )
    assert isinstance(done.exception, StoreError)
    assert ("locked" in str(done.exception), done.stdout) == (True, "")
    assert len(store.index.keys()) == 2


@pytest.mark.parametrize("words", [["purge", "--all"], ["trim", "0"]], ids=" ".join)
def test_blobs_that_cannot_be_removed_are_told(
    store: DiskStore, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: BlobStore, *_: object) -> int:
        return 0

    monkeypatch.setattr(BlobStore, "remove", refuse)
    monkeypatch.setattr(BlobStore, "trim", refuse)
    done = CliRunner().invoke(command_line("cache"), ["cache", *words, "--dir", store.directory])
    assert isinstance(done.exception, StoreError)
    assert "can" in str(done.exception)
    assert len(blobs(store)) == 4
