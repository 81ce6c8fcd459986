"""A node's workshop with a real compiler in a real sandbox: what it does about files that rot under it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cache.digest import digest_of
from node.freshness import Freshness
from node.probe import probe
from node.toolchains import SELF_TEST_SOURCE, SelfTest, self_test
from node.workshop import Finish, Hands, Workshop
from tests.unit.sandbox_toolchain import GENTLE
from tests.unit.test_toolchain import Packs, packs

__all__ = ["packs"]

SOURCE = digest_of(SELF_TEST_SOURCE)


@dataclass
class Bench:
    workshop: Workshop
    state: Path
    test: SelfTest
    pack_path: str
    reports: dict[bytes, asyncio.Future[Finish]]
    runs: int = 0

    async def install(self) -> None:
        digest = self.test.job.toolchain
        place = self.workshop.frames.path_of(digest)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        shutil.copy(self.pack_path, place)
        await self.workshop.install(digest)

    async def run(self) -> Finish:
        """One run of the job under a new lease."""
        self.runs += 1
        lease = b"%016d" % self.runs
        self.reports[lease] = asyncio.get_running_loop().create_future()
        self.workshop.start(lease, self.test.job, b"client")
        return await asyncio.wait_for(self.reports[lease], 60)

    async def heal(self, finish: Finish) -> None:
        """What the broker sends for what has to come anew."""
        assert finish.missing is not None
        if finish.missing:
            assert finish.missing == {SOURCE}
            self.workshop.inputs.put(SELF_TEST_SOURCE)
        if not finish.is_toolchain_here:
            await self.install()


@asynccontextmanager
async def bench(state: Path, packs: Packs) -> AsyncIterator[Bench]:
    toolchain = packs.of("gcc")
    packs.unpacked("gcc")
    test = self_test(toolchain.digest, packs.store.about(toolchain.digest))
    reports: dict[bytes, asyncio.Future[Finish]] = {}
    with ThreadPoolExecutor(2) as quick, ThreadPoolExecutor(2) as slow:
        workshop = Workshop(
            str(state),
            "node",
            probe(str(state)),
            1 << 31,
            GENTLE,
            Hands(quick, slow),
            Freshness(),
            lambda lease, finish: reports[lease].set_result(finish),
        )
        made = Bench(workshop, state, test, toolchain.pack_path, reports)
        await made.install()
        yield made
        workshop.stop()


def flip_source(state: Path) -> None:
    """The object would be another, and compile."""
    for path in (state / "inputs").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(path.read_bytes().replace(b"6 * x", b"7 * x"))


def flip_program(state: Path) -> None:
    (program,) = (state / "toolchains").rglob("cc1")
    content = bytearray(program.read_bytes())
    content[-1] ^= 1
    program.chmod(0o755)
    program.write_bytes(content)


def flip_list(state: Path) -> None:
    (members,) = (state / "toolchains").rglob("members")
    content = bytearray(members.read_bytes())
    content[-1] ^= 1
    members.write_bytes(content)


def lose(*names: str) -> Callable[[Path], None]:
    def lose_them(state: Path) -> None:
        for name in names:
            shutil.rmtree(state / name)

    return lose_them


@pytest.mark.parametrize(
    "harm",
    [
        flip_source,
        flip_program,
        lose("inputs"),
        lose("trees"),
        lose("toolchains"),
        lose("inputs", "trees", "toolchains", "frames", "scratch"),
    ],
    ids=["flip-source", "flip-program", "lose-inputs", "lose-trees", "lose-toolchains", "lose-all"],
)
def test_a_job_that_read_what_rots_or_is_gone_gives_the_right_result_or_none(
    tmp_path: Path, packs: Packs, harm: Callable[[Path], None]
) -> None:
    async def story() -> None:
        async with bench(tmp_path, packs) as made:
            good = await made.run()
            assert (good.fault, good.missing) == (None, None), good.detail
            harm(tmp_path)
            first = await made.run()
            assert first.fault is None, first.detail
            if first.missing is None:  # the tree has what the store has lost
                assert harm.__name__ == "lose_them"
                assert first.outputs == good.outputs
            else:
                assert first.outputs == ()
                await made.heal(first)
            again = await made.run()
            assert again.outputs == good.outputs

    asyncio.run(story())


def test_a_rotten_list_of_members_is_no_list(tmp_path: Path, packs: Packs) -> None:
    async def story() -> None:
        async with bench(tmp_path, packs) as made:
            flip_list(tmp_path)
            made.workshop.toolchains._members.clear()  # as after a restart
            spoiled = await made.run()
            assert not spoiled.is_toolchain_here
            await made.heal(spoiled)
            assert (await made.run()).outputs

    asyncio.run(story())
