"""What a toolchain does when it is tried out: foreign code, in the slot and under the lease of a job only."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from node.toolchains.store import About, SelfTest, self_test
from tests.attacks.compiler import gathered
from tests.support.sandbox_toolchain import make_small_toolchain
from tests.unit.compiler.test_toolchain import Packs, packs
from tests.unit.node.test_workshop import Bench, bench, served
from zcc.compiler.toolchain.pack import pack
from zcc.messages import Fault

__all__ = ["packs"]

# A compiler of no use to whom tries it out: that job alone has no standard includes.
ODD = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) if (!strcmp(argv[i], "-nostdinc")) { WHAT }
    return 0;
}
"""
HANGS = "for (;;) pause();"
FAILS = 'fputs("no such instruction", stderr); return 1;'


@asynccontextmanager
async def odd(place: Path, what: str) -> AsyncIterator[Bench]:
    """A workshop with such a toolchain, and a job for it."""
    program, root = str(place / "cc"), str(place / "root")
    source = ODD.replace("WHAT", what)
    subprocess.run(["cc", "-x", "c", "-", "-o", program], input=source, text=True, check=True)
    os.mkdir(root)
    make_small_toolchain(root, program, program)
    driver = os.fsencode(program)
    packed = pack(gathered(root, driver), str(place / "pack"))
    test = self_test(packed.digest, About("gcc", "1", "none", driver, b"", b""))
    job = replace(test.job, argv=(driver, b"-c", b"a.c"))
    async with served(
        place / "state", SelfTest(job, test.source, test.output), str(place / "pack")
    ) as made:
        yield made


async def begun(made: Bench) -> bytes:
    """The lease of a job whose toolchain is being tried out."""
    lease = made.start()
    while not made.workshop.sandboxes():
        assert not made.reports[lease].done(), made.reports[lease].result()
        await asyncio.sleep(0.01)
    return lease


def test_a_toolchain_is_tried_out_under_a_lease_and_dies_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with odd(tmp_path, HANGS) as made:
            assert not made.workshop.sandboxes()
            lease = await asyncio.wait_for(begun(made), 60)
            assert [holder.lease for holder in made.workshop.holders()] == [lease]
            made.workshop.kill(lease)
            finish = await asyncio.wait_for(made.reports[lease], 20)
            assert finish.fault is Fault.STOPPING
            assert not made.workshop.sandboxes()

    asyncio.run(story())


def test_a_toolchain_that_hangs_when_it_is_tried_out_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.workshop.SELF_TEST_S", 0.5)

    async def story() -> None:
        async with odd(tmp_path, HANGS) as made:
            finish = await made.run()
            assert finish.fault is Fault.DEADLINE
            assert finish.detail == "its toolchain's self-test: not done after 0.5 s"

    asyncio.run(story())


def test_a_toolchain_that_fails_is_tried_out_by_each_job_and_compiles_none(tmp_path: Path) -> None:
    async def story() -> None:
        async with odd(tmp_path, FAILS) as made:
            for _ in range(2):
                finish = await made.run()
                assert finish.fault is Fault.TOOLCHAIN
                assert finish.detail.endswith(
                    "does not compile one line (exit 1): no such instruction"
                )

    asyncio.run(story())


def test_a_toolchain_that_works_is_tried_out_once(
    tmp_path: Path, packs: Packs, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = []

    def counted(*about: object) -> SelfTest:
        tests.append(about)
        return self_test(*about)  # type: ignore[arg-type]

    monkeypatch.setattr("node.workshop.self_test", counted)

    async def story() -> None:
        async with bench(tmp_path, packs) as made:
            first, second = await made.run(), await made.run()
            assert first.outputs == second.outputs != ()
            assert len(tests) == 1

    asyncio.run(story())


def test_a_toolchain_whose_metadata_rots_comes_anew(tmp_path: Path, packs: Packs) -> None:
    async def story() -> None:
        async with bench(tmp_path, packs) as made:
            (metadata,) = (tmp_path / "toolchains").rglob("toolchain.json")
            metadata.write_bytes(b"{")
            spoiled = await made.run()
            assert not spoiled.is_toolchain_here
            await made.heal(spoiled)
            assert (await made.run()).outputs

    asyncio.run(story())
