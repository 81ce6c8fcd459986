"""Who says more than any peer has to say is shut out, whether anybody reads it or not."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from broker.core.limits import COUNTS_BURST
from cache.digest import digest_of
from tests.unit.broker.test_broker_wire import Broker, run
from zcc import codec
from zcc.messages import AskNodes, Bye, Chunk, LocalCounts, Message, Nodes, PeerRole, Watch
from zcc.subject import BuildCounts, BuildName

NO_MESSAGE = [b"x", b"y", b"z"]
CHUNK = codec.encode(Chunk(digest_of(b"x"), 0, 1, b"x"))


@pytest.mark.parametrize(
    "frames", [NO_MESSAGE, CHUNK], ids=["what nobody reads", "chunks without a session"]
)
def test_a_key_that_floods_is_shut_out(
    frames: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.core.manners.MESSAGES_BURST", 20.0)
    monkeypatch.setattr("broker.core.manners.MESSAGES_PER_S", 0.001)

    def reasons(broker: Broker) -> list[str]:
        lines = (Path(broker.state) / "audit.log").read_text().splitlines()
        said = [json.loads(line) for line in lines]
        return [line["reason"] for line in said if line["event"] == "violation"]

    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.hello("client")
        await peer.say(Bye("that is all"))
        for _ in range(40):
            peer.link.send(frames)
        deadline = time.monotonic() + 10.0
        while not any("than any peer has to say" in reason for reason in reasons(broker)):
            assert time.monotonic() < deadline, reasons(broker)
            await asyncio.sleep(0.01)

    run(story, tmp_path)


def test_an_agents_counts_are_read_once_a_second_and_only_while_somebody_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.core.manners.COUNTS_PER_S", 0.0)
    decoded: list[Message] = []
    decode = codec.decode

    def noted(frames: list[bytes]) -> Message:
        decoded.append(decode(frames))
        return decoded[-1]

    monkeypatch.setattr("broker.shell.codec.decode", noted)
    counts = LocalCounts((BuildCounts(BuildName(1, "x"), 1, 0, (), (), ()),))

    async def story(broker: Broker) -> None:
        async def read() -> int:
            """How many the broker has read, when it has heard all that was said."""
            await peer.say(AskNodes())
            await peer.wait(Nodes)
            return len([each for each in decoded if isinstance(each, LocalCounts)])

        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.hello("client")
        await peer.say(*[counts] * 10)
        assert await read() == 0
        watcher = broker.dial(broker.member(PeerRole.MONITOR))
        await watcher.hello("monitor")
        await watcher.say(Watch(b"", 0), AskNodes())
        await watcher.wait(Nodes)
        await peer.say(*[counts] * 10)
        assert await read() == COUNTS_BURST
        assert broker.shell.counts["violations"] == 0

    run(story, tmp_path)
