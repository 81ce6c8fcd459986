"""The storage as the broker runs it: within its limit on disk, off when it has none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from broker.storage.service import MAINTAIN_S, Storage
from broker.storage.tokens import StorageAccess
from cache.digest import digest_of
from cache.eviction import BLOCK_BYTES
from zcc.errors import ProtocolError
from zcc.messages import Message, StorageEnd, StorageGet, StoragePut

LIMIT_BYTES = 20 * BLOCK_BYTES
PATIENCE_S = 10.0


class Service:
    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.answers: list[Message] = []
        self.directory = directory / "ccache"
        self.now = 1000.0
        self.storage = Storage(str(directory), limit_bytes, StorageAccess.WRITE)
        self.storage.serve_members(lambda _, message: self.answers.append(message), self._offer)

    def _offer(self, _route: bytes, make: Callable[[], Message]) -> bool:
        self.answers.append(make())
        return True

    def put(self, number: int) -> Message:
        data, key = os.urandom(1000), bytes([number]) * 20
        put = StoragePut(number, key, True, digest_of(data), 0, len(data), data)
        self.storage.take(b"route", put, self.now)
        return self.answers[-1]

    def size_bytes(self) -> int:
        size_bytes = 0
        for each in self.directory.glob("??/*"):
            with suppress(FileNotFoundError):  # the thread that evicts is at work
                size_bytes += each.stat().st_blocks * 512
        return size_bytes

    def wait_within(self, limit_bytes: int) -> None:
        """Time passes in ticks, for the thread that evicts as well."""
        deadline = time.monotonic() + PATIENCE_S
        while self.size_bytes() > limit_bytes:
            assert time.monotonic() < deadline, "nothing was evicted"
            self.now += MAINTAIN_S
            self.storage.tick(self.now)
            time.sleep(0.001)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, LIMIT_BYTES)
    yield service
    service.storage.close()


def test_ticks_keep_it_within_its_limit(service: Service) -> None:
    for number in range(1, 41):
        assert service.put(number) == StorageEnd(number, True, "")
    assert service.size_bytes() > LIMIT_BYTES
    service.wait_within(LIMIT_BYTES)
    for number in range(41, 81):  # and again, now that it has been counted
        service.put(number)
    service.wait_within(LIMIT_BYTES)
    assert service.size_bytes() > LIMIT_BYTES // 2


def test_what_was_there_before_counts(tmp_path: Path) -> None:
    first = Service(tmp_path, 1 << 20)
    for number in range(1, 41):
        first.put(number)
    first.storage.close()
    second = Service(tmp_path, LIMIT_BYTES)
    second.wait_within(LIMIT_BYTES)
    second.storage.close()


def test_without_a_limit_there_is_no_storage(tmp_path: Path) -> None:
    service = Service(tmp_path, 0)
    answer = service.put(1)
    assert isinstance(answer, StorageEnd)
    assert not answer.is_done
    service.storage.tick(service.now)
    service.storage.forget(b"route")
    service.storage.close()
    assert not service.directory.exists()


def test_a_key_that_cannot_be_gets_the_peer_dropped(service: Service) -> None:
    with pytest.raises(ProtocolError):
        service.storage.take(b"route", StorageGet(1, b"x", 0), service.now)
