"""A node's workshop with a real compiler in a real sandbox: what it does about files that rot under it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cache.digest import Digest, digest_of
from node.probe import probe
from node.sandbox.freshness import Freshness
from node.sandbox.runner import MAX_TURNS
from node.sandbox.seats import job_threads
from node.toolchains.store import SELF_TEST_SOURCE, SelfTest, self_test
from node.workshop import Finish, Hands, Workshop
from tests.support.sandbox_toolchain import GENTLE
from tests.unit.compiler.test_toolchain import Packs, packs
from zcc.messages import Fault

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
        return await asyncio.wait_for(self.reports[self.start()], 60)

    def start(self) -> bytes:
        """Begin a run of the job; its lease."""
        self.runs += 1
        lease = b"%016d" % self.runs
        self.reports[lease] = asyncio.get_running_loop().create_future()
        self.workshop.start(lease, self.test.job, b"client")
        return lease

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
    """A workshop with gcc, which runs what is gcc's self-test as a job too."""
    toolchain = packs.of("gcc")
    packs.unpacked("gcc")
    test = self_test(toolchain.digest, packs.store.about(toolchain.digest))
    async with served(state, test, toolchain.pack_path) as made:
        yield made


@asynccontextmanager
async def served(state: Path, test: SelfTest, pack_path: str) -> AsyncIterator[Bench]:
    """A workshop that has this job's toolchain and input."""
    reports: dict[bytes, asyncio.Future[Finish]] = {}
    with (
        ThreadPoolExecutor(2) as quick,
        ThreadPoolExecutor(2) as slow,
        job_threads(2) as jobs,
    ):
        workshop = Workshop(
            str(state),
            "node",
            probe(str(state)),
            1 << 31,
            GENTLE,
            Hands(quick, slow, jobs),
            Freshness(),
            lambda lease, finish: reports[lease].set_result(finish),
        )
        made = Bench(workshop, state, test, pack_path, reports)
        await made.install()
        workshop.inputs.put(test.source)
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


def test_an_input_that_has_gone_though_it_was_known_comes_anew(
    tmp_path: Path, packs: Packs
) -> None:
    async def story() -> None:
        async with bench(tmp_path, packs) as made:
            good = await made.run()
            assert made.workshop.stock.missing({SOURCE}) == set()
            os.unlink(made.workshop.inputs.path_of(SOURCE))
            made.workshop._trees.forget_all()
            first = await made.run()
            assert first.missing == frozenset((SOURCE,))
            await made.heal(first)
            assert (await made.run()).outputs == good.outputs

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


def test_files_are_read_in_nobodys_turn(
    tmp_path: Path, packs: Packs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with bench(tmp_path, packs) as made:
            turns, free = made.workshop._runner.turns, []
            read = made.workshop._inspector.freshness._read

            def count(path: bytes, digest: Digest) -> bool:
                free.append(turns._value)
                return read(path, digest)

            monkeypatch.setattr(made.workshop._inspector.freshness, "_read", count)
            flip_source(tmp_path)
            assert (await made.run()).missing == frozenset((SOURCE,))
            assert set(free) == {MAX_TURNS}

    asyncio.run(story())


def _breaks(*_: object, **__: object) -> None:
    raise KeyError("a bug that nobody foresaw")


@pytest.mark.parametrize(
    "place",
    [
        "node.sandbox.trees.Tree.fit",
        "node.sandbox.trees.TreePool.acquire",
        "node.sandbox.trees.TreePool.release",
        "node.sandbox.runner.Runner.prepare",
        "node.sandbox.runner.JobRun._start",
        "node.sandbox.runner.JobRun._judge",
        "node.sandbox.inspection.Inspector.inspect",
        "node.workshop.encode_result",
        "node.workshop.compress",
    ],
)
def test_a_lease_ends_and_gives_back_what_it_held_whatever_is_raised(
    tmp_path: Path, packs: Packs, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with bench(tmp_path, packs) as made:
            with monkeypatch.context() as broken:
                broken.setattr(place, _breaks)
                finish = await made.run()
            assert finish.fault is Fault.INTERNAL
            assert "KeyError" in finish.detail
            assert not made.workshop.toolchains.is_used(made.test.job.toolchain)
            assert (await made.run()).fault is None
            assert not [name for name in os.listdir(tmp_path / "scratch") if "trash" not in name]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENOSPC, Fault.PAUSED),
        (errno.EDQUOT, Fault.PAUSED),
        (errno.EROFS, Fault.PAUSED),
        (errno.ENAMETOOLONG, Fault.REFUSED),
        (errno.ELOOP, Fault.REFUSED),
        (errno.EIO, Fault.INTERNAL),
    ],
)
def test_what_the_disk_says_to_a_tree_tells_whose_fault_it_is(
    tmp_path: Path, packs: Packs, number: int, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    async def story() -> None:
        async with bench(tmp_path, packs) as made:
            with monkeypatch.context() as broken:
                broken.setattr("node.sandbox.trees.Tree.fit", refuse)
                assert (await made.run()).fault is fault
            assert (await made.run()).fault is None

    asyncio.run(story())
