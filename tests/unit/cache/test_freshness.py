"""Which files are read again, and what is found when they are not what they were."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache.digest import Digest, Hasher, digest_of
from node.sandbox.freshness import Freshness, changed_links

HEADER = b"int x;\n"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def freshness(clock: Clock) -> Freshness:
    return Freshness(3600.0, clock)


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    (tmp_path / "x.h").write_bytes(HEADER)
    return os.fsencode(tmp_path)


FILES: list[tuple[bytes, Digest]] = [(b"/x.h", digest_of(HEADER))]


def flip(path: bytes, bit: int = 0) -> None:
    """Change one bit, as a disk does: no time of the file's changes that a user can see."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 1 << bit]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_sound_file_is_read_once(freshness: Freshness, root: bytes) -> None:
    assert freshness.rotten(root, FILES) == []
    assert freshness.rotten(root, FILES) == []
    assert freshness.files_read == 1


def test_a_flipped_bit_is_found_though_the_time_of_modification_is_the_old(
    freshness: Freshness, root: bytes
) -> None:
    assert freshness.rotten(root, FILES) == []
    flip(root + b"/x.h")
    assert freshness.rotten(root, FILES) == FILES
    assert freshness.rotten(root, FILES) == FILES


def test_a_file_is_read_again_when_the_last_time_is_long_ago(
    freshness: Freshness, root: bytes, clock: Clock
) -> None:
    assert freshness.rotten(root, FILES) == []
    clock.now += 3599
    assert freshness.rotten(root, FILES) == []
    assert freshness.files_read == 1
    clock.now += 2
    assert freshness.rotten(root, FILES) == []
    assert freshness.files_read == 2


def test_a_change_without_a_trace_is_found_when_the_file_is_read_again(
    freshness: Freshness, root: bytes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert freshness.rotten(root, FILES) == []
    before = os.lstat(root + b"/x.h")
    flip(root + b"/x.h")
    # No program can set a ctime back: a disk that changes a bit need not.
    monkeypatch.setattr(os, "lstat", lambda _: before)
    assert freshness.rotten(root, FILES) == []
    clock.now += 3601
    assert freshness.rotten(root, FILES) == FILES


def test_all_links_of_a_file_are_one(freshness: Freshness, root: bytes) -> None:
    os.link(root + b"/x.h", root + b"/y.h")
    both = [*FILES, (b"/y.h", FILES[0][1])]
    assert freshness.rotten(root, both) == []
    assert freshness.files_read == 1
    flip(root + b"/y.h")
    assert freshness.rotten(root, both) == both


@pytest.mark.parametrize("way", ["gone", "link", "directory", "fifo"])
def test_what_is_no_file_any_more_is_rotten(freshness: Freshness, root: bytes, way: str) -> None:
    path = root + b"/x.h"
    os.rename(path, root + b"/elsewhere")
    if way == "link":
        os.symlink(b"elsewhere", path)
    elif way == "directory":
        os.mkdir(path)
    elif way == "fifo":
        os.mkfifo(path)
    assert freshness.rotten(root, FILES) == FILES


def test_an_inode_that_was_another_file_is_read(freshness: Freshness, root: bytes) -> None:
    assert freshness.rotten(root, FILES) == []
    wrong = [(b"/x.h", digest_of(b"another"))]
    assert freshness.rotten(root, wrong) == wrong


def test_a_link_that_leads_elsewhere_is_found(root: bytes) -> None:
    os.symlink(b"x.h", root + b"/l")
    links = [(b"/l", b"x.h"), (b"/gone", b"x.h")]
    assert changed_links(root, links) == [b"/gone"]
    os.unlink(root + b"/l")
    os.symlink(b"y.h", root + b"/l")
    assert changed_links(root, links) == [b"/l", b"/gone"]


DIGEST = FILES[0][1]


def test_a_link_of_our_own_leaves_a_file_known(freshness: Freshness, root: bytes) -> None:
    assert freshness.rotten(root, FILES) == []
    path = os.fsdecode(root + b"/x.h")
    with freshness.linking(path, DIGEST):
        os.link(path, root + b"/y.h")
    assert freshness.unsure(root, [*FILES, (b"/y.h", DIGEST)]) == []
    with freshness.unlinking(path, DIGEST):
        os.unlink(root + b"/y.h")
    assert freshness.unsure(root, FILES) == []


def test_a_file_that_was_read_long_ago_is_read_again_whatever_links_it_got(
    freshness: Freshness, root: bytes, clock: Clock
) -> None:
    assert freshness.rotten(root, FILES) == []
    clock.now += 3601
    path = os.fsdecode(root + b"/x.h")
    with freshness.linking(path, DIGEST):
        os.link(path, root + b"/y.h")
    assert freshness.unsure(root, FILES) == FILES


def _write(root: bytes) -> None:
    with open(root + b"/x.h", "r+b") as file:
        file.write(b"I")


def _lengthen(root: bytes) -> None:
    path = root + b"/x.h"
    status = os.stat(path)
    with open(path, "ab") as file:
        file.write(b"I")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _open_to_all(root: bytes) -> None:
    os.chmod(root + b"/x.h", 0o666)


def _link(root: bytes) -> None:
    os.link(root + b"/x.h", root + b"/z.h")


def _exchange(root: bytes) -> None:
    os.rename(root + b"/x.h", root + b"/old")
    status = os.stat(root + b"/old")
    with open(root + b"/x.h", "wb") as file:
        file.write(HEADER)
    os.utime(root + b"/x.h", ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [_write, _lengthen, _open_to_all, _link, _exchange])
@pytest.mark.parametrize("way", ["linking", "unlinking"])
def test_what_another_does_beside_a_link_of_our_own_is_seen(
    freshness: Freshness, root: bytes, way: str, change: Callable[[bytes], None]
) -> None:
    os.link(root + b"/x.h", root + b"/y.h")
    assert freshness.rotten(root, FILES) == []
    path = os.fsdecode(root + b"/x.h")
    with getattr(freshness, way)(path, DIGEST):
        if way == "linking":
            os.link(path, root + b"/more.h")
        else:
            os.unlink(root + b"/y.h")
        change(root)
    assert freshness.unsure(root, FILES) == FILES


def test_what_another_has_done_before_a_link_of_our_own_is_seen(
    freshness: Freshness, root: bytes
) -> None:
    assert freshness.rotten(root, FILES) == []
    flip(root + b"/x.h")  # all but the ctime is as it was
    path = os.fsdecode(root + b"/x.h")
    with freshness.linking(path, DIGEST):
        os.link(path, root + b"/y.h")
    assert freshness.rotten(root, FILES) == FILES


def test_a_file_that_is_found_rotten_beside_a_link_of_our_own_stays_so(
    freshness: Freshness, root: bytes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert freshness.rotten(root, FILES) == []
    path = os.fsdecode(root + b"/x.h")
    with freshness.linking(path, DIGEST):
        os.link(path, root + b"/y.h")
        clock.now += 3601
        with monkeypatch.context() as patch:
            # As a disk does it, without a trace.
            patch.setattr("node.sandbox.freshness.Hasher", _Wrong)
            assert freshness.rotten(root, FILES) == FILES
        clock.now -= 3601
    assert freshness.unsure(root, FILES) == FILES


def test_a_link_that_comes_to_nothing_changes_nothing(freshness: Freshness, root: bytes) -> None:
    assert freshness.rotten(root, FILES) == []
    path = os.fsdecode(root + b"/x.h")
    with pytest.raises(FileExistsError), freshness.linking(path, DIGEST):
        os.link(path, path)
    assert freshness.unsure(root, FILES) == []


class _Wrong(Hasher):
    def digest(self) -> Digest:
        return digest_of(b"other bytes")


class HeldUp(Hasher):
    """Takes a long time over one content: until it `may_go_on`."""

    begun = threading.Event()
    may_go_on = threading.Event()

    def update(self, piece: bytes | memoryview) -> None:
        if piece == LARGE:
            self.begun.set()
            assert self.may_go_on.wait(60)
        super().update(piece)


LARGE = b"a file that takes seconds to read"


def test_a_file_is_read_once_for_all_who_want_it_and_nobody_else_waits(
    freshness: Freshness, root: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.sandbox.freshness.Hasher", HeldUp)
    (tmp_path / "large").write_bytes(LARGE)
    large = [(b"/large", digest_of(LARGE))]
    with ThreadPoolExecutor(3) as threads:
        try:
            wanting = [threads.submit(freshness.rotten, root, large) for _ in range(2)]
            assert HeldUp.begun.wait(60)
            assert threads.submit(freshness.rotten, root, FILES).result(20) == []
            assert not any(each.done() for each in wanting)
        finally:
            HeldUp.may_go_on.set()
        assert [each.result(20) for each in wanting] == [[], []]
    assert freshness.files_read == 2
    assert not freshness._turns
