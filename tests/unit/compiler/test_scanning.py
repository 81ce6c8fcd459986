"""A scan in slices: the loop goes on meanwhile, and what others find changed is not passed over."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from zcc.agent.analysis import scan_slices
from zcc.agent.analysis.scan_slices import Scans
from zcc.compiler.disk.disk import Disk
from zcc.compiler.scan.closure import Closure, ScanRequest
from zcc.compiler.scan.scanner import Answer, Scanner, Steps
from zcc.compiler.scan.search_list import SearchList

HEADERS = 40


class Tree:
    """A chain of headers, `0.h` to `39.h`, that `a.c` begins; `b.c` includes the first few at once."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.scanner = Scanner(Disk(), b"/nobody")
        self.now = 0.0
        for n in range(HEADERS):
            self.put(f"{n}.h", f'#include "{n + 1}.h"\n')
        self.put(f"{HEADERS}.h", "")
        self.put("a.c", '#include "0.h"\n')
        self.put("b.c", "".join(f'#include "{n}.h"\n' for n in range(HEADERS)))

    def put(self, name: str, text: str) -> None:
        (self.top / name).write_text(text)

    def request(self, source: str) -> ScanRequest:
        top = os.fsencode(self.top)
        return ScanRequest(
            cwd=top, source=source.encode(), language="c", search=SearchList(), roots=(top,)
        )

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def begin(self, steps: int, source: str = "a.c") -> Steps:
        """A scan of which so many steps have been made."""
        begun = self.scanner.steps(self.request(source), self.tick())
        for _ in range(steps):
            next(begun)
        return begun

    def end(self, begun: Steps) -> Answer:
        """Let it go on after others have used the disk."""
        try:
            begun.send(self.tick())
            while True:
                next(begun)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer

    def scan(self, source: str = "a.c") -> Answer:
        return self.scanner.scan(self.request(source), self.tick())

    def fresh(self, source: str = "a.c") -> Closure:
        answer = Scanner(Disk(), b"/nobody").scan(self.request(source), 1.0)
        assert isinstance(answer, Closure)
        return answer


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path.resolve())


def manifest(answer: Answer) -> object:
    assert isinstance(answer, Closure), answer
    return answer.manifest, {at: sorted(names) for at, names in answer.misses.items()}


def test_a_scan_that_others_have_interrupted_finds_the_same(tree: Tree) -> None:
    begun = tree.begin(10)
    tree.scan("b.c")
    assert manifest(tree.end(begun)) == manifest(tree.fresh())


def test_what_others_find_changed_begins_the_scan_anew(tree: Tree) -> None:
    """The old text of `3.h` has been followed; it is the new one that would be shipped."""
    begun = tree.begin(10)
    tree.put("3.h", '#include "new.h"\n')
    tree.put("new.h", "")
    tree.scan("b.c")
    assert manifest(tree.end(begun)) == manifest(tree.fresh())


def test_a_file_that_others_find_gone_begins_the_scan_anew(tree: Tree) -> None:
    begun = tree.begin(10)
    (tree.top / "3.h").unlink()
    tree.scan("b.c")
    assert manifest(tree.end(begun)) == manifest(tree.fresh())


def test_a_header_that_comes_where_it_was_missed_begins_the_scan_anew(tree: Tree) -> None:
    tree.put("0.h", '#include "1.h"\n#include "late.h"\n')
    begun = tree.begin(10)
    tree.put("late.h", "")
    tree.scan("b.c")
    assert manifest(tree.end(begun)) == manifest(tree.fresh())


def test_what_changed_unseen_meanwhile_is_seen_by_the_next_request(tree: Tree) -> None:
    """It arrived after the file was looked at, though before the scan had ended."""
    begun = tree.begin(10)
    tree.put("3.h", "/* the end */\n")
    arrived = tree.tick()
    tree.end(begun)
    answer = tree.scanner.scan(tree.request("a.c"), tree.tick(), arrived)
    assert manifest(answer) == manifest(tree.fresh())


def test_an_interrupted_scan_is_remembered(tree: Tree) -> None:
    begun = tree.begin(10)
    tree.scan("b.c")
    first = tree.end(begun)
    assert tree.scan() is first


def test_the_loop_goes_on_during_a_scan(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_slices, "SLICE_S", 0.0)
    turns = 0

    async def scan_beside_others() -> Answer:
        nonlocal turns
        task = asyncio.create_task(
            Scans(tree.scanner).closure(tree.request("a.c"), time.monotonic(), time.monotonic)
        )
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        return await task

    answer = asyncio.run(scan_beside_others())
    assert manifest(answer) == manifest(tree.fresh())
    assert turns > HEADERS


def test_equal_scans_at_once_are_one(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_slices, "SLICE_S", 0.0)
    scans = Scans(tree.scanner)
    arrived = time.monotonic()

    async def both() -> list[Answer]:
        request = tree.request("a.c")
        twice = [scans.closure(request, arrived, time.monotonic) for _ in range(2)]
        return await asyncio.gather(*twice)

    first, second = asyncio.run(both())
    assert isinstance(first, Closure)
    assert first is second
