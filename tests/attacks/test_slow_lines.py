"""A long message over a slow line: it takes longer than a silence may, and nobody is lost for it.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cache.digest import digest_of
from cache.frame import compress
from tests.attacks.lines import slow_line
from tests.attacks.test_floods import result, submit
from tests.unit.broker.test_broker_wire import Broker, Peer, run, sample_job
from zcc.agent.farm.session import FarmSession
from zcc.farm import Access
from zcc.keys import KeyPair
from zcc.messages import (
    Beat,
    Bye,
    Done,
    Finished,
    Nodes,
    PeerRole,
    Placed,
    Refused,
    Run,
    Unknown,
    Voided,
    Who,
)
from zcc.reasons import Reason

SILENCE_S = 2.5  # a busy machine takes one to run whose turn it is
BYTES_PER_S = 128 << 10
# Twice as long as a silence may be.
LONG_BYTES = 2 * int(BYTES_PER_S * SILENCE_S)
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def _short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in ("broker.core.sessions", "zcc.membership"):
        monkeypatch.setattr(f"{user}.LOST_AFTER_S", SILENCE_S)


async def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@dataclass
class Heard:
    """What a session's listener is told."""

    told: list[str] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)

    def farm_opened(self) -> None:
        self.told.append("opened")

    def farm_closed(self, reason: Reason) -> None:
        self.told.append(reason)

    def job_finished(self, message: Finished) -> None:
        self.finished.append(message)

    def job_refused(self, ticket: int, reason: str) -> None:
        self.told.append(reason)

    def job_begins(self, ticket: int, expected_s: float) -> None:
        pass

    def broker_answered(self, answer: Nodes | Placed | Unknown) -> None:
        pass

    def results_voided(self, message: Voided) -> None:
        pass


def test_a_member_whose_message_takes_long_is_not_silent(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        pair = broker.member(PeerRole.CLIENT)
        async with slow_line(broker.shell.endpoint, BYTES_PER_S) as endpoint:
            peer = broker.dial(pair, endpoint)
            await peer.hello("client")
            garbage = os.urandom(LONG_BYTES)
            await peer.say(replace(submit(1, sample_job(b"toolchain", b"s")), body=garbage))
            await until(lambda: any(isinstance(each, Refused | Who | Bye) for each in peer.inbox))
            assert (await peer.wait(Refused)).reason.startswith("unreadable")
            assert not any(isinstance(each, Who | Bye) for each in peer.inbox)

    run(story, tmp_path)


def test_a_member_that_stops_within_a_message_is_lost_like_one_that_says_nothing(
    tmp_path: Path,
) -> None:
    async def story(broker: Broker) -> None:
        pair = broker.member(PeerRole.CLIENT)
        sessions = broker.shell.machine.farm.sessions
        async with slow_line(broker.shell.endpoint, BYTES_PER_S) as endpoint:
            peer = broker.dial(pair, endpoint)
            await peer.hello("client")
            await until(lambda: not len(sessions))

    run(story, tmp_path)


def test_an_agent_whose_result_takes_long_has_not_lost_its_broker(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        pair: KeyPair = broker.member(PeerRole.CLIENT)
        node = broker.dial(broker.member(PeerRole.NODE))
        await node.hello("node", slots=1)
        beating = asyncio.create_task(_keep_alive(node))
        frames = {digest_of(blob): compress(blob) for blob in (b"toolchain", b"s")}
        heard = Heard()
        async with slow_line(broker.shell.endpoint, BYTES_PER_S) as endpoint:
            access = Access(endpoint, broker.keys.public, "testfarm", "client", pair)
            session = FarmSession(
                broker.context,
                access,
                "agent",
                heard,
                lambda digest, offset, length: (frames[digest][offset:], len(frames[digest])),
                lambda digest: None,
            )
            try:
                await until(lambda: session.is_open)
                session.submit(submit(1, sample_job(b"toolchain", b"s")), ())
                given = await node.wait(Run)
                await node.say(Done(given.lease, result(LONG_BYTES)))
                await until(lambda: heard.finished or heard.told != ["opened"])
                assert heard.told == ["opened"]
                assert len(heard.finished[0].body) > LONG_BYTES
            finally:
                beating.cancel()
                session.close("over")

    run(story, tmp_path)


async def _keep_alive(peer: Peer) -> None:
    while True:
        await peer.say(Beat(0.0))
        await asyncio.sleep(SILENCE_S / 4)
