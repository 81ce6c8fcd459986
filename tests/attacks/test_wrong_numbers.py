"""Jobs whose numbers no system takes: they are refused before anybody acts on them.

One `twin` of 2^63 made os.utime raise on the node: its lease never ended, and eight such jobs held every slot
of a farm that went on saying that it was ready.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack

from cache.digest import digest_of
from tests.attacks.farm import AttackedFarm, Client, assert_unharmed, play, strike
from zcc.job import MAX_TWIN, FileInput, Job, Manifest, Terminal, encode_job


def with_twin(job: Job, twin: int) -> Job:
    return replace(job, manifest=Manifest((FileInput(b"/src/a.c", digest_of(b""), twin),)))


def as_bytes(job: Job, at: int, value: Any) -> bytes:
    """The job's document with one field replaced."""
    document = msgpack.unpackb(encode_job(job))
    document[at] = value
    packed: bytes = msgpack.packb(document)
    return packed


async def wrong(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    job = farm.job()
    twins = [1 << 63, (1 << 64) - 1, -1, -(1 << 63), MAX_TWIN + 1]
    jobs: list[Job | bytes] = [with_twin(job, twin) for twin in twins]
    jobs += [replace(job, terminal=Terminal(rows, 80)) for rows in (-1, 1 << 16, 1 << 63)]
    jobs += [as_bytes(job, 7, [float("nan"), 80]), as_bytes(job, 0, 1 << 63)]
    return {"answers": await strike(farm, jobs, innocent)}


async def extreme(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    job = farm.job()
    jobs = [with_twin(job, MAX_TWIN), with_twin(job, 1)]
    jobs += [replace(job, terminal=Terminal(rows, rows)) for rows in (0, 0xFFFF)]
    return {"answers": await strike(farm, jobs, innocent)}


def test_a_number_that_no_system_takes_is_refused_by_the_broker() -> None:
    outcome = play(__name__, "wrong")
    assert all(answer.startswith("Refused: unreadable") for answer in outcome["answers"]), outcome
    assert_unharmed(outcome)


def test_a_number_at_its_bound_is_a_job_like_any_other() -> None:
    outcome = play(__name__, "extreme")
    assert set(outcome["answers"]) == {"Finished"}, outcome
    assert_unharmed(outcome)
