"""Answers to who becomes a member, over sockets: they come there, whatever else the link is busy with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.broker.test_broker_wire import Broker, run
from zcc.keys import KeyPair, new_key_pair
from zcc.link import Frames
from zcc.messages import Bye, Enrol, Enrolled, Leave, Message, PeerRole, Refused

PATIENCE_S = 10.0


class Busy:
    """A link that takes nothing for now, as while it is behind with connections that begin and end."""

    def __init__(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        self._link = broker.shell._link
        self._send = self._link.send
        self.refused = 0
        self.is_busy = True
        monkeypatch.setattr(self._link, "send", self._offered)

    def _offered(self, route: bytes, frames: Frames) -> bool:
        if self.is_busy:
            self.refused += 1
            return False
        return self._send(route, frames)


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)


def joiner(broker: Broker) -> KeyPair:
    pair, now = new_key_pair(), time.time()
    broker.registry.add_joiner(pair.public, PeerRole.CLIENT, now, now + 60, 1)
    return pair


@pytest.mark.parametrize("says", ["enrol", "enrol with a used token", "leave"])
def test_an_answer_waits_until_the_link_takes_it(
    says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(broker: Broker) -> None:
        token = joiner(broker)
        message: Message
        if says == "leave":
            peer, message = broker.dial(broker.member(PeerRole.CLIENT)), Leave()
        else:
            peer, message = broker.dial(token), Enrol(new_key_pair().public, "x")
        if says == "enrol with a used token":
            await peer.say(Enrol(new_key_pair().public, "y"))
            await peer.wait(Enrolled)
        link = Busy(broker, monkeypatch)
        await peer.say(message)
        await until(lambda: link.refused >= 3, "it is tried again")
        assert not peer.inbox
        link.is_busy = False
        kinds = {"enrol": Enrolled, "enrol with a used token": Refused, "leave": Bye}
        await peer.wait(kinds[says])
        await until(lambda: not broker.shell._outgoing._answers, "nothing is due")

    run(story, tmp_path)


def test_an_answer_to_who_has_gone_is_kept_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(joiner(broker))
        link = Busy(broker, monkeypatch)
        await peer.say(Enrol(new_key_pair().public, "x"))
        await until(lambda: bool(broker.shell._outgoing._answers), "an answer is due")
        peer.link.close()
        await until(lambda: not broker.shell._outgoing._answers, "nothing is due")
        assert link.is_busy

    run(story, tmp_path)
