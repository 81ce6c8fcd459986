"""Random jobs and results through broker and nodes: every lease ends, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.digest import digest_of
from cache.frame import compress
from tests.attacks.__main__ import wrong_in
from tests.attacks.drawn import Drawn
from tests.attacks.farm import SOURCE, AttackedFarm, Client, play
from tests.attacks.mixed_messages import mix
from tests.unit.broker.test_broker_wire import Peer, sample_job, serving
from zcc.errors import JobError
from zcc.job import Job, decode_job, encode_job, job_key, why_no_job
from zcc.messages import (
    Announce,
    AskNodes,
    Bye,
    Done,
    Failed,
    Finished,
    Hello,
    Message,
    Nodes,
    PeerRole,
    Refused,
    Run,
    Submit,
    Who,
)

JOBS = int(os.environ.get("ZCC_RANDOM_JOBS", "60"))
RESULTS = int(os.environ.get("ZCC_RANDOM_RESULTS", "60"))
GENTLE = settings(
    deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip


# ---- jobs, to real nodes, in an enclosure ----


async def drawn_jobs(farm: AttackedFarm, innocent: Client, most: str) -> dict[str, Any]:
    """Hypothesis in a thread draws, hands in through this loop, and shrinks what has no answer."""
    loop = asyncio.get_running_loop()
    answers: list[str] = []

    async def handed_in(job: Job | bytes) -> str:
        attacker = await farm.client("attacker")
        try:
            answer = await attacker.outcome(await attacker.submit(job))
            return type(answer).__name__ if not attacker.losses else "session lost"
        finally:
            attacker.close()
            farm.clients.remove(attacker)

    @settings(GENTLE, max_examples=int(most))
    @given(st.randoms(use_true_random=False), st.booleans())
    def every_job_is_answered(rng: Random, is_damaged: bool) -> None:
        drawn = Drawn(rng, [digest_of(SOURCE), digest_of(b"")])
        base = farm.job()
        job = drawn.job_bytes(base) if is_damaged else drawn.job(base)
        answers.append(asyncio.run_coroutine_threadsafe(handed_in(job), loop).result())
        assert answers[-1] in ("Finished", "Refused")
        after = asyncio.run_coroutine_threadsafe(farm.compiles(innocent), loop).result()
        assert after["innocent"] == "Finished", after
        assert [node["faults"] for node in after["nodes"]] == [0, 0], after
        assert after["losses"] == []

    await asyncio.to_thread(every_job_is_answered)
    return {"answers": {each: answers.count(each) for each in set(answers)}}


def test_every_random_job_is_answered_and_tells_on_no_node() -> None:
    outcome = play(__name__, "drawn_jobs", str(JOBS))
    assert outcome["answers"].get("Refused", 0) > 0
    assert outcome["answers"].get("Finished", 0) > 0
    assert set(outcome["answers"]) == {"Finished", "Refused"}
    assert outcome["after"]["innocent"] == "Finished"
    assert outcome["tracebacks"] == ""


def test_a_crowd_of_random_jobs_harms_nobody_else() -> None:
    outcome = play("tests.attacks.crowd", "random_jobs", "1", "15", "1000")
    assert wrong_in(outcome) == [], outcome
    assert outcome["counts"]["answers"]["finished"] > 0


# ---- what is drawn ----


@settings(GENTLE, max_examples=200)
@given(st.randoms(use_true_random=False))
def test_what_the_agents_check_calls_a_job_the_broker_takes(rng: Random) -> None:
    job = Drawn(rng, [digest_of(b"")]).job(sample_job(b"t", b"s"))
    try:
        decoded = decode_job(encode_job(job))
    except JobError:
        assert why_no_job(job) or encode_job(job) != encode_job(job)
        return
    assert decoded == job
    assert why_no_job(job) == ""


# ---- results, from a node that lies, to a real broker ----


async def _told(tmp_path: Path, rng: Random) -> None:
    async with serving(tmp_path) as broker:
        broker.shell.machine.farm.started_at -= 10
        agent, liar, other = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE, "liar")),
            broker.dial(broker.member(PeerRole.CLIENT, "other")),
        )
        await agent.hello("client")
        await other.hello("client")
        await liar.say(Hello(rng.randbytes(16), "node", "", "liar", "0", 1, (), ()))
        agent.blobs = {digest_of(blob): compress(blob) for blob in (b"t", b"s")}
        drawn = Drawn(rng, [digest_of(b"o"), digest_of(b"")])
        encoded = encode_job(sample_job(b"t", b"s"))
        await agent.say(
            Submit(1, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))
        )
        run = await liar.wait(Run)
        await _answer(liar, run.lease, drawn, rng)
        answer = await _outcome(agent)
        assert answer is not None
        await _is_there(other)


async def _answer(liar: Peer, lease: bytes, drawn: Drawn, rng: Random) -> None:
    """What a node may say, and what it may not."""
    outputs = (digest_of(b"o"), digest_of(b""))
    if rng.random() < 0.7:
        await liar.say(Announce(lease, outputs))
        for blob in (b"o", b""):
            liar.blobs[digest_of(blob)] = compress(blob)
            liar.sender.offer(digest_of(blob))
        liar.pump()
    result = drawn.result_bytes()
    choices: list[Message] = [
        Done(lease, compress(result)),
        Done(lease, compress(result)[: rng.randint(0, 40)]),
        Failed(lease, rng.choice(("internal", "refused", "unfit", "paused", "x")), "why"),
    ]
    await liar.say(rng.choice(choices))
    if rng.random() < 0.5:
        await liar.say(Bye(""))


async def _outcome(agent: Peer) -> Message | None:
    """The job's one answer; a node that is put aside, or leaves, leaves none to run it."""
    for _ in range(1000):
        for message in agent.inbox:
            if isinstance(message, (Finished, Refused)):
                return message
        await asyncio.sleep(0.005)
    return None


async def _is_there(other: Peer) -> None:
    await other.say(AskNodes())
    await other.wait(Nodes)
    assert not [each for each in other.inbox if isinstance(each, (Bye, Who))]


@settings(GENTLE, max_examples=RESULTS)
@given(st.randoms(use_true_random=False))
def test_every_random_result_ends_its_lease_and_no_other_session(rng: Random) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_told(Path(directory), rng))


# ---- messages ----


def test_random_messages_of_all_kinds_harm_nobody_else(tmp_path: Path) -> None:
    counts = asyncio.run(mix(tmp_path, Random(1), 30.0, 20_000))
    assert counts.messages >= 20_000
    assert counts.violations > 0
    assert not counts.raised
    assert counts.lost == counts.faults == 0
