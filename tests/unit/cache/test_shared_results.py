"""The broker's shared cache: what is remembered counts at once, and is written down behind the loop's back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from broker.core.effects import Remember
from broker.results.shared_cache import SharedResults
from broker.transport.traffic import Traffic
from cache.digest import Digest, digest_of
from cache.record import Record
from cache.stores import DiskStore
from cache.tiers import MAX_BEHIND_BYTES

KEY = digest_of(b"key")


@dataclass
class Desk:
    directory: Path
    checked: list[Digest] = field(default_factory=list)
    voided: list[Digest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = DiskStore(str(self.directory), "farm", 1 << 30)
        self.traffic = Traffic(self.store.blobs, lambda *_: True, lambda _: None)
        self.results = SharedResults(
            self.store, self.traffic, self.checked.extend, self.voided.append
        )
        self.output = self.store.blobs.put(b"object")

    def remember(self, key: Digest = KEY, body: bytes = b"result", node: str = "n") -> None:
        toolchain = digest_of(b"gcc")
        self.results.remember(
            Remember(key, body, (self.output,), 6, toolchain, node, "node", "user", b"job")
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.results.close()


def test_a_result_answers_as_soon_as_it_is_remembered(desk: Desk) -> None:
    desk.remember()
    recalled = desk.results.recall(KEY)
    assert recalled is not None
    assert (recalled.body, recalled.outputs) == (b"result", (desk.output,))
    desk.results.write_down()
    assert desk.results.recall(KEY) == recalled
    assert desk.results._writer.wait_written()
    assert desk.results.recall(KEY) == recalled
    assert not desk.results._handed


def test_what_was_not_written_down_is_when_the_broker_leaves(desk: Desk) -> None:
    desk.remember()
    desk.results.close()
    assert DiskStore(str(desk.directory), "farm", 1 << 30).index.get(KEY) is not None


@pytest.mark.parametrize("is_written", [False, True])
def test_what_one_key_doubts_is_looked_at_and_stays_others(desk: Desk, is_written: bool) -> None:
    desk.remember()
    if is_written:
        desk.results.write_down()
    desk.results.doubt(KEY)
    assert desk.checked == [desk.output]
    desk.results.write_down()
    assert desk.results._writer.wait_written()
    assert desk.results.recall(KEY) is not None
    desk.remember(body=b"fresh")
    recalled = desk.results.recall(KEY)
    assert recalled is not None
    assert recalled.body == b"fresh"


def test_what_is_doubted_and_rotten_is_nobodys(desk: Desk) -> None:
    desk.remember()
    with open(desk.store.blobs.path_of(desk.output), "r+b") as file:
        file.write(b"rot")
    desk.results.doubt(KEY)
    desk.traffic.reread(desk.checked)
    assert desk.results.recall(KEY) is None
    assert desk.results.record_of(KEY) is None


def test_a_result_whose_output_has_gone_is_forgotten(desk: Desk) -> None:
    desk.remember()
    desk.store.blobs.remove(desk.output)
    assert desk.results.recall(KEY) is None
    assert desk.results.record_of(KEY) is None


def test_many_results_do_not_wait_for_a_tick(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.results.shared_cache.MAX_FRESH", 3)
    for at in range(3):
        desk.remember(digest_of(b"%d" % at))
    assert desk.results._writer.wait_written()
    assert all(desk.store.index.get(digest_of(b"%d" % at)) for at in range(3))


def test_what_a_disk_that_stands_still_does_not_take_is_not_kept_in_memory(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = Event()
    put_records = desk.store.put_records

    def stand_still(records: Iterable[Record]) -> None:
        goes_on.wait()
        put_records(records)

    monkeypatch.setattr(desk.store, "put_records", stand_still)
    body = bytes(1 << 20)
    keys = [digest_of(b"%d" % at) for at in range(200)]
    for at, key in enumerate(keys):
        desk.remember(key, body)
        if at % 3 == 0:
            desk.results.write_down()
    desk.results.write_down()
    held = [record for handed in desk.results._handed for record in handed.values()]
    assert sum(len(record.body) for record in held) <= MAX_BEHIND_BYTES
    assert [key for key in keys if desk.results.recall(key) is not None] == keys[: len(held)]
    goes_on.set()
    assert desk.results._writer.wait_written()
    assert not desk.results._handed
    assert all(desk.results.recall(key) is not None for key in keys[: len(held)])


def test_a_nodes_results_are_those_of_its_name_and_of_its_key(desk: Desk) -> None:
    """A node chooses its name: its own key, under which it made one result to hide the others."""
    keys = [digest_of(b"%d" % at) for at in range(3)]
    for key, name in zip(keys, ("node", "worker", "worker"), strict=True):
        desk.remember(key, node=name)
    desk.results.write_down()
    assert desk.results._writer.wait_written()
    assert set(desk.results.keys_of("node")) == set(desk.results.keys_of("")) == set(keys)
    assert set(desk.results.keys_of("worker")) == set(keys[1:])


def test_what_is_distrusted_is_told_to_those_who_took_it(desk: Desk) -> None:
    desk.remember()
    desk.results.distrust(KEY)
    assert desk.results.recall(KEY) is None
    assert desk.voided == [KEY]
