"""Which inputs are looked for on disk, and that what has gone is fetched again once that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.blobs import BlobStore, Form
from cache.digest import Digest, digest_of
from node.sandbox import stock as stock_module
from node.sandbox.stock import Stock


class Store(BlobStore):
    """Counts the looks at the disk."""

    looks = 0

    def has(self, digest: Digest) -> bool:
        self.looks += 1
        return super().has(digest)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path), 1 << 20, Form.PLAIN)


def test_what_is_there_is_looked_for_once(store: Store) -> None:
    stock, here = Stock(store), store.put(b"here")
    store.looks = 0
    assert stock.missing({here}) == set()
    assert stock.missing({here}) == set()
    assert store.looks == 1


def test_what_is_not_there_is_looked_for_each_time(store: Store) -> None:
    stock, gone = Stock(store), digest_of(b"gone")
    assert stock.missing({gone}) == {gone}
    assert stock.missing({gone}) == {gone}
    store.put(b"gone")
    assert stock.missing({gone}) == set()


def test_what_has_gone_is_missing_when_that_was_said(store: Store) -> None:
    stock, wanted = Stock(store), {store.put(b"one"), store.put(b"two")}
    assert stock.missing(wanted) == set()
    store.remove(digest_of(b"one"))
    stock.forget()
    assert stock.missing(wanted) == {digest_of(b"one")}


def test_what_was_seen_before_something_went_is_not_kept(store: Store) -> None:
    one = store.put(b"one")

    class Slow(Store):
        def has(self, digest: Digest) -> bool:
            found = super().has(digest)
            self.remove(digest)
            stock.forget()
            return found

    stock = Stock(Slow(store.directory, 1 << 20, Form.PLAIN))
    assert stock.missing({one}) == set()
    assert stock.missing({one}) == {one}


def test_no_more_is_remembered_than_the_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock_module, "MAX_KNOWN", 2)
    stock, wanted = Stock(store), {store.put(b"%d" % at) for at in range(5)}
    for each in sorted(wanted):
        assert stock.missing({each}) == set()
        assert len(stock._here) <= 2
