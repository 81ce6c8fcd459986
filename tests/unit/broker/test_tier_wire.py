"""A broker with real sockets and a tier that answers when it is told to: what becomes of the jobs that wait."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from broker.membership.registry import Registry
from broker.results.tombstones import Tombstones
from broker.shell import Shell
from broker.state import broker_keys
from broker.storage.service import Storage
from broker.storage.tokens import StorageAccess
from broker.tiers.opening import tier_secret
from broker.tiers.service import TierService
from broker.tiers.settings import TierSettings
from cache.digest import Digest, digest_of
from cache.frame import compress
from cache.record import Record, Source
from cache.remote.seal import Sealed
from cache.remote.store import RemoteStore, Sealing
from cache.stores import DiskStore
from tests.unit.broker.test_broker_wire import Broker, Peer, sample_job
from tests.unit.broker.test_tier_service import SlowEngine, until
from zcc.job import (
    Lookups,
    Manifest,
    OutputFile,
    Result,
    Usage,
    encode_job,
    encode_result,
    job_key,
)
from zcc.messages import Bye, Cancel, Finished, PeerRole, Submit

JOB = encode_job(replace(sample_job(b"gcc", b""), manifest=Manifest(())))
KEY = job_key(JOB)
OBJECT = b"an object"


@dataclass
class Tiered:
    broker: Broker
    engine: SlowEngine
    remote: RemoteStore
    agent: Peer

    async def submit(self, ticket: int = 1, *, is_fresh: bool = False) -> None:
        await self.agent.say(Submit(ticket, KEY, 0.0, "b", is_fresh, b"", None, 0, compress(JOB)))

    async def held(self) -> None:
        """Wait until the tier is asked for the job."""
        await until(self.engine.is_asked.is_set)
        assert not self.executions

    @property
    def executions(self) -> dict[Digest, Any]:
        return self.broker.shell.machine.farm.executions

    def know(self) -> None:
        """The tier has the job's result."""
        digest = digest_of(OBJECT)
        output = OutputFile(b"/src/x.o", digest, len(OBJECT), 0o644)
        result = Result(0, b"", b"", (output,), Usage(0.1, 0.1, 1), Lookups(), "oak")
        source = Source(digest_of(b"gcc"), "oak", "oak's key", "ann")
        body = compress(encode_result(result))
        record = Record(KEY, body, (digest,), len(OBJECT), source, time.time())
        stamp = self.remote._sealing.stamp()
        assert stamp is not None
        self.remote.put_sealed([Sealed(record, stamp)], {digest: compress(OBJECT)})


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Tiered]:
    state = str(tmp_path / "broker")
    keys, engine = broker_keys(state), SlowEngine()
    store = DiskStore(state, "testfarm", 1 << 30)
    tombstones = Tombstones(state)
    tombstones.begin_use()
    secret = tier_secret(state)
    settings = TierSettings("redis://h", "near")
    tiers = TierService([(settings, engine)], store.blobs, secret, store.space, tombstones)
    storage = Storage(state, 1 << 20, StorageAccess.WRITE)
    shell = Shell(
        "testfarm", "tcp://127.0.0.1:0", keys, state, store, storage, tombstones=tombstones, tiers=tiers
    )  # fmt: skip
    broker = Broker(shell, state, keys, Registry(state), zmq.Context())
    sealing = Sealing(secret, store.space, tombstones.stamp, tombstones.is_void)
    try:
        agent = broker.dial(broker.member(PeerRole.CLIENT))
        node = broker.dial(broker.member(PeerRole.NODE))
        await agent.hello("client")
        await node.hello("node", slots=1)
        agent.blobs = {digest_of(b"gcc"): compress(b"gcc")}
        yield Tiered(broker, engine, RemoteStore(engine, sealing, 1 << 20), agent)
    finally:
        engine.goes_on.set()
        for link in broker.links:
            link.close()
        broker.context.term()
        shell.close()
        broker.registry.close()


Story = Callable[[Tiered], Coroutine[Any, Any, None]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    monkeypatch.setattr("broker.tiers.lookups.MOST_WAIT_S", 60.0)  # where nobody says otherwise

    def run_(story: Story) -> None:
        async def told() -> None:
            async with serving(tmp_path) as tiered:
                await story(tiered)

        asyncio.run(told())

    return run_


def test_what_a_tier_has_is_answered_and_not_placed(run: Callable[[Story], None]) -> None:
    async def story(tiered: Tiered) -> None:
        tiered.know()
        await tiered.submit()
        finished = await tiered.agent.wait(Finished)
        assert (finished.ticket, finished.node) == (1, "oak")
        assert tiered.agent.taken == {digest_of(OBJECT): compress(OBJECT)}
        assert not tiered.executions

    run(story)


def test_what_it_has_not_is_placed(run: Callable[[Story], None]) -> None:
    async def story(tiered: Tiered) -> None:
        await tiered.submit()
        await until(lambda: KEY in tiered.executions)

    run(story)


def test_what_comes_too_late_is_placed_and_is_there_for_the_next(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.tiers.lookups.MOST_WAIT_S", 0.05)

    async def story(tiered: Tiered) -> None:
        tiered.know()
        tiered.engine.goes_on.clear()
        await tiered.submit()
        await until(lambda: KEY in tiered.executions)
        tiered.engine.goes_on.set()
        await until(lambda: tiered.broker.shell._results.record_of(KEY) is not None)
        await tiered.submit(2)
        assert (await tiered.agent.wait(Finished)).ticket == 2

    run(story)


def test_a_job_that_is_cancelled_while_it_waits_is_gone(run: Callable[[Story], None]) -> None:
    async def story(tiered: Tiered) -> None:
        tiered.know()
        tiered.engine.goes_on.clear()
        await tiered.submit()
        await tiered.held()
        await tiered.agent.say(Cancel(1))
        await tiered.submit(2)
        shell = tiered.broker.shell
        held = shell._reception._held
        await until(lambda: [*held._jobs.get(next(iter(held._jobs), b""), ())] == [2])
        tiered.engine.goes_on.set()
        assert (await tiered.agent.wait(Finished)).ticket == 2
        assert not any(isinstance(said, Finished) for said in tiered.agent.inbox)
        assert not tiered.executions

    run(story)


def test_a_session_that_ends_meanwhile_takes_its_jobs_along(run: Callable[[Story], None]) -> None:
    async def story(tiered: Tiered) -> None:
        tiered.engine.goes_on.clear()
        await tiered.submit()
        await tiered.held()
        await tiered.agent.say(Bye("done"))
        shell = tiered.broker.shell
        await until(lambda: not len(shell._reception._held))
        tiered.engine.goes_on.set()
        await until(lambda: shell._results.tiers()[0].misses == 1)
        assert not tiered.executions
        assert not shell.failures.count

    run(story)


def test_who_asks_for_a_job_anew_is_not_answered_by_a_tier(run: Callable[[Story], None]) -> None:
    async def story(tiered: Tiered) -> None:
        tiered.know()
        tiered.engine.is_asked.clear()
        await tiered.submit(is_fresh=True)
        await until(lambda: KEY in tiered.executions)
        assert not tiered.engine.is_asked.is_set()
        # Nor is who joins what runs already.
        await tiered.submit(2)
        await until(lambda: len(tiered.executions[KEY].waiters) == 2)
        assert not tiered.engine.is_asked.is_set()

    run(story)


def test_what_becomes_a_job_of_all_when_its_inputs_are_here_is_looked_for_too(
    run: Callable[[Story], None],
) -> None:
    """A first submitter has shown none of its inputs: it learns of the result when they are here."""

    async def story(tiered: Tiered) -> None:
        source = os.urandom(50)
        job = encode_job(sample_job(b"gcc", source))
        tiered.agent.blobs[digest_of(source)] = compress(source)
        await tiered.agent.say(
            Submit(1, job_key(job), 0.0, "b", False, b"", None, 0, compress(job))
        )
        await until(tiered.engine.is_asked.is_set)
        await until(lambda: tiered.broker.shell._results.tiers()[0].misses == 1)
        await until(lambda: job_key(job) in tiered.executions)

    run(story)


def test_a_broker_s_mistake_over_it_ends_one_session(
    run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a mistake of ours")

    async def story(tiered: Tiered) -> None:
        tiered.know()
        tiered.engine.goes_on.clear()
        await tiered.submit()
        await tiered.held()
        monkeypatch.setattr(tiered.broker.shell._results, "recall", broken)
        tiered.engine.goes_on.set()
        assert "broker-failed" in (await tiered.agent.wait(Bye)).reason
        assert tiered.broker.shell.failures.count == 1

    run(story)
