"""Jobs of long lists: what is beyond a bound is refused, and what is at it holds nobody up.

30,000 dumps times 20,000 inputs, 71 KiB on the wire, stopped the loops of both nodes until they were lost; so
did, more slowly, 200,000 outputs or listed directories, 70,000 hard links, 25,000 directories, 3,000 nested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cache.digest import digest_of
from tests.attacks.farm import AttackedFarm, Client, assert_unharmed, play, strike
from zcc.bounds import MAX_DEPTH
from zcc.job import (
    MAX_DIRECTORIES,
    MAX_DUMP_BASES,
    MAX_HARD_LINKS,
    MAX_INPUTS,
    MAX_LISTED,
    MAX_OUTPUTS,
    FileInput,
    Job,
    Manifest,
    why_no_job,
)

EMPTY = digest_of(b"")
# Of the reproducers: on the wire some KiB each.
DUMPS, INPUTS, OUTPUTS, LINKS, DIRECTORIES, NESTED = 30_000, 20_000, 200_000, 70_000, 25_000, 3_000


def names(count: int, form: bytes) -> tuple[bytes, ...]:
    return tuple(form % number for number in range(count))


def files(count: int, form: bytes = b"/src/in/%05d.h") -> tuple[FileInput, ...]:
    return tuple(FileInput(path, EMPTY) for path in names(count, form))


def long_lists(job: Job, most: dict[str, int]) -> Iterator[Job]:
    """Jobs with so many of each; `job`'s own source is among their inputs."""
    own = job.manifest.files
    dumps = names(most["dumps"], b"/src/dump%05d")
    yield replace(job, dumps=dumps, manifest=Manifest(own + files(most["inputs"])))
    yield replace(job, outputs=job.outputs + names(most["outputs"], b"/src/out%06d"))
    listed = names(most["listed"], b"/src/in%06d")
    yield replace(job, listed=listed, manifest=Manifest(own + files(most["inputs"])))
    links = tuple((path, own[0].path) for path in names(most["links"], b"/src/link%05d"))
    yield replace(job, manifest=Manifest(own, hard_links=links))
    yield replace(job, manifest=Manifest(own, directories=names(most["directories"], b"/d%05d")))
    deep = b"/d" * most["depth"]
    yield replace(job, manifest=Manifest(own, directories=(deep,)))
    short = tuple((path, b"x") for path in names(most["inputs"], b"/s/%05d"))
    yield replace(job, manifest=Manifest(own, symlinks=short))


async def beyond(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    reproducers = {
        "dumps": DUMPS, "inputs": INPUTS, "outputs": OUTPUTS, "listed": OUTPUTS, "links": LINKS,
        "directories": DIRECTORIES, "depth": NESTED,
    }  # fmt: skip
    jobs = [job for job in long_lists(farm.job(), reproducers) if why_no_job(job)]
    return {"answers": await strike(farm, jobs, innocent)}


async def at_bounds(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    """Under one key, all at once, while an innocent compiles."""
    extremes = {
        "dumps": MAX_DUMP_BASES, "inputs": MAX_INPUTS - 200, "outputs": MAX_OUTPUTS - 1,
        "listed": MAX_LISTED, "links": MAX_HARD_LINKS, "directories": MAX_DIRECTORIES - 1,
        "depth": MAX_DEPTH,
    }  # fmt: skip
    attacker = await farm.client("attacker")
    jobs = list(long_lists(farm.job(), extremes))
    tickets = [await attacker.submit(job) for job in jobs]
    meanwhile = [await farm.compiles(innocent) for _ in range(5)]
    answers = [type(await attacker.outcome(ticket, 80.0)).__name__ for ticket in tickets]
    return {"answers": answers, "meanwhile": meanwhile}


async def turned(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    """What were files become directories and files again, in one client's tree."""
    attacker = await farm.client("attacker")
    own, count = farm.job().manifest.files, 3_000
    leaves = replace(farm.job(name=b"a"), manifest=Manifest(own + files(count, b"/src/t/%d")))
    below = replace(farm.job(b"-x"), manifest=Manifest(own + files(count, b"/src/t/%d/x")))
    answers = []
    for job in (leaves, below, leaves, below):
        answers.append(type(await attacker.outcome(await attacker.submit(job))).__name__)
    return {"answers": answers}


def test_lists_beyond_their_bounds_are_refused_by_the_broker() -> None:
    outcome = play(__name__, "beyond")
    assert len(outcome["answers"]) == 6, outcome
    assert all(answer.startswith("Refused: unreadable") for answer in outcome["answers"]), outcome
    assert_unharmed(outcome)


def test_lists_at_their_bounds_hold_nobody_up() -> None:
    outcome = play(__name__, "at_bounds")
    assert set(outcome["answers"]) == {"Finished"}, outcome
    assert all(each["innocent"] == "Finished" for each in outcome["meanwhile"]), outcome
    assert_unharmed(outcome)


def test_a_tree_that_is_turned_over_and_over_holds_nobody_up() -> None:
    outcome = play(__name__, "turned")
    assert set(outcome["answers"]) == {"Finished"}, outcome
    assert_unharmed(outcome)
