"""Who says more than any peer has to say is shut out, whether anybody reads it or not."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from cache.digest import digest_of
from tests.unit.broker.test_broker_wire import Broker, run
from zcc import codec
from zcc.messages import Bye, Chunk, PeerRole

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
