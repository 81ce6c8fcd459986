"""What an agent shows the broker: each input once in a session, in the order of its Submits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.digest import Digest, digest_of
from zcc.agent.farm.showing import Showing
from zcc.holding import HOLDING_KEY_BYTES, shown_by, unpack_shown
from zcc.job import FileInput
from zcc.messages import Submit

KEY = b"k" * HOLDING_KEY_BYTES
NEXT_KEY = b"n" * HOLDING_KEY_BYTES


@dataclass
class Desk:
    """An agent's files, and what it has sent."""

    directory: Path
    paths: dict[Digest, bytes] = field(default_factory=dict)
    sent: list[Submit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.showing = Showing(self.sent.append, self.paths.get)
        self.showing.welcomed(KEY)

    def file(self, content: bytes) -> FileInput:
        digest = digest_of(content)
        path = self.directory / digest.hex()
        path.write_bytes(content)
        self.paths[digest] = bytes(path)
        return FileInput(bytes(path), digest)

    def submit(self, ticket: int, *files: FileInput) -> None:
        message = Submit(ticket, digest_of(b"%d" % ticket), 0.0, "b", False, b"", None, 0, b"")
        self.showing.submit(message, files)

    async def wait(self, count: int) -> list[Submit]:
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                await asyncio.sleep(0.001)
        return self.sent

    def shown(self, number: int) -> dict[Digest, bytes]:
        return unpack_shown(self.sent[number].shown)


def run(story: Callable[[Desk], Coroutine[Any, Any, None]], directory: Path) -> None:
    async def told() -> None:
        await story(Desk(directory))

    asyncio.run(told())


def test_an_input_is_shown_with_the_first_job_that_has_it(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        common, one, two = (desk.file(content) for content in (b"common", b"one", b"two"))
        desk.submit(1, common, one)
        desk.submit(2, common, two)
        await desk.wait(2)
        assert [each.ticket for each in desk.sent] == [1, 2]
        assert desk.shown(0) == {
            common.digest: shown_by([b"common"], KEY), one.digest: shown_by([b"one"], KEY)
        }  # fmt: skip
        assert list(desk.shown(1)) == [two.digest]

    run(story, tmp_path)


def test_a_job_with_nothing_new_leaves_at_once(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        file = desk.file(b"x")
        desk.submit(1, file)
        await desk.wait(1)
        desk.submit(2, file)
        assert [each.ticket for each in desk.sent] == [1, 2]
        assert not desk.sent[1].shown

    run(story, tmp_path)


def test_a_job_that_relies_on_one_before_it_does_not_overtake_it(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        file = desk.file(b"x" * (4 << 20))
        desk.submit(1, file)
        desk.submit(2, file)
        assert not desk.sent
        await desk.wait(2)
        assert [bool(each.shown) for each in desk.sent] == [True, False]

    run(story, tmp_path)


def test_another_broker_is_shown_everything_and_so_is_what_was_not_answered(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        file, other = desk.file(b"x"), desk.file(b"y")
        desk.submit(1, file)
        desk.submit(2, other)
        await desk.wait(2)
        desk.showing.answered(1)
        desk.showing.welcomed(KEY)
        desk.submit(3, file, other)
        await desk.wait(3)
        assert list(desk.shown(2)) == [other.digest]
        desk.showing.answered(3)
        desk.showing.welcomed(NEXT_KEY)
        desk.submit(4, file, other)
        await desk.wait(4)
        assert desk.shown(3)[file.digest] == shown_by([b"x"], NEXT_KEY)

    run(story, tmp_path)


def test_a_job_that_is_cancelled_before_it_left_is_not_sent(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.submit(1, desk.file(b"x" * (4 << 20)))
        desk.submit(2, desk.file(b"y"))
        assert desk.showing.void(2)
        assert desk.showing.void(1)
        assert not desk.showing.void(1)
        desk.submit(3, desk.file(b"z"))
        await desk.wait(1)
        assert [each.ticket for each in desk.sent] == [3]

    run(story, tmp_path)


def test_a_file_that_is_gone_is_left_to_the_brokers_question(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        there, gone = desk.file(b"x"), desk.file(b"y")
        Path(gone.path.decode()).unlink()
        desk.submit(1, there, gone, FileInput(b"/no/such/file", digest_of(b"z")))
        await desk.wait(1)
        assert list(desk.shown(0)) == [there.digest]

    run(story, tmp_path)
