"""Peers of a later release: what they say that is not known is passed over, and costs what any message does."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

from broker.core.limits import ASKS_BURST, ASKS_PER_S
from broker.transport import newer
from tests.unit.agent.test_reasons_reached import Heard
from tests.unit.broker.test_broker_wire import Broker, is_deaf, run
from zcc import codec
from zcc.agent.farm.session import FarmSession
from zcc.errors import ConfigError
from zcc.farm import Access, _ask
from zcc.holding import HOLDING_KEY_BYTES
from zcc.keys import new_key_pair
from zcc.messages import (
    PROTOCOL,
    AskNodes,
    Beat,
    Bye,
    Hello,
    Message,
    Nodes,
    PeerRole,
    Unknown,
    Welcome,
    Who,
)
from zcc.reasons import Reason
from zcc.storage.session import FarmAwayError, StorageSession

WELCOME = Welcome(bytes(16), "farm", "9.1", bytes(HOLDING_KEY_BYTES))
LATER = [PROTOCOL, b"later", b"\x90"]


def audited(broker: Broker, event: str) -> list[dict[str, Any]]:
    lines = (Path(broker.state) / "audit.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


@pytest.mark.parametrize(
    ("role", "said_as"), [(PeerRole.CLIENT, "client"), (PeerRole.NODE, "node")]
)
def test_a_kind_that_the_broker_does_not_know_is_answered_and_the_session_goes_on(
    tmp_path: Path, role: PeerRole, said_as: str
) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(role))
        await peer.hello(said_as)
        for frames in (LATER, [PROTOCOL, b"la\x1bter", b"no msgpack", b"body"]):
            assert peer.link.send(frames)
            assert await peer.wait(Unknown) == Unknown(frames[1])
        await peer.say(Beat(0.0))
        await peer.wait(Beat)
        assert broker.shell.counts["violations"] == 0
        assert len(broker.shell.machine.farm.sessions) == 1
        assert [line["kind"] for line in audited(broker, "unknown")] == ["later", "la?ter"]
        assert not [each for each in peer.inbox if isinstance(each, (Bye, Who))]

    run(story, tmp_path)


def test_answers_are_few_however_much_is_said(tmp_path: Path) -> None:
    """And the loop is others' meanwhile."""
    most = int(ASKS_BURST)

    async def story(broker: Broker) -> None:
        peer, other = (broker.dial(broker.member(PeerRole.CLIENT, name)) for name in ("a", "b"))
        await peer.hello("client")
        await other.hello("client")
        began_s = time.monotonic()
        for _ in range(3 * most):
            while not peer.link.send(LATER):
                await asyncio.sleep(0.01)
        await peer.say(AskNodes())
        await peer.wait(Nodes)
        due = most + ASKS_PER_S * (time.monotonic() - began_s) + 1
        assert most <= sum(isinstance(each, Unknown) for each in peer.inbox) <= due
        await other.say(AskNodes())
        await other.wait(Nodes)
        assert broker.shell.counts["violations"] == 0
        assert len(audited(broker, "unknown")) == 10

    run(story, tmp_path)


def test_who_says_more_of_them_than_any_peer_has_to_say_is_shut_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the budget of all other messages that they come from."""
    monkeypatch.setattr("broker.core.manners.MESSAGES_BURST", 20.0)
    monkeypatch.setattr("broker.core.manners.MESSAGES_PER_S", 0.001)

    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.hello("client")
        for _ in range(30):
            peer.link.send(LATER)
        deadline = time.monotonic() + 5.0
        while not broker.shell.counts["violations"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert "more unknown messages" in audited(broker, "violation")[0]["reason"]

    run(story, tmp_path)


@pytest.mark.parametrize(
    "frames",
    [
        [PROTOCOL, b"later", bytes(newer.MAX_BYTES)],
        [PROTOCOL, b"later", b"\x90", bytes(newer.MAX_BYTES)],
        [PROTOCOL, b"k" * 65, b"\x90"],
        [b"zcc/9", b"later", b"\x90"],
        codec.encode(Unknown(b"later")),  # nobody answers an answer
    ],
)
def test_what_is_no_message_of_any_release_is_a_violation(
    tmp_path: Path, frames: list[bytes]
) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.hello("client")
        assert peer.link.send(frames)
        assert (await peer.wait(Bye)).reason.startswith("protocol: ")
        assert await is_deaf(peer)
        assert broker.shell.counts["violations"] == 1

    run(story, tmp_path)


def test_a_session_is_opened_with_the_release_of_its_peer_in_the_audit_log(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.say(Hello(bytes(16), "client", "", "x", "9.1\n", 0, (), ()))
        await peer.wait(Welcome)
        assert audited(broker, "open")[0]["version"] == "9.1?"

    run(story, tmp_path)


def test_who_asks_an_older_broker_to_join_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(Message):
        KIND = b"later"

    monkeypatch.setitem(codec._RULES, b"later", ([], None))

    async def story(broker: Broker) -> None:
        pair = broker.member(PeerRole.CLIENT)
        with pytest.raises(ConfigError, match="older than this zcc"):
            await _ask(broker.shell.endpoint, broker.keys.public, pair, Later())

    run(story, tmp_path)


# ---- what an agent makes of a later broker -----------------------------------------------------


def after(*received: list[bytes]) -> tuple[bool, str, list[Reason]]:
    """Whether an agent's session is open when it has got these, what it says if not, and why it was lost."""

    async def story() -> tuple[bool, str, list[Reason]]:
        context, heard = zmq.Context[zmq.Socket[bytes]](), Heard()
        access = Access(
            "tcp://127.0.0.1:9", new_key_pair().public, "farm", "client", new_key_pair()
        )
        listener: Any = heard
        session = FarmSession(context, access, "a", listener, lambda *_: None, lambda _: None)
        for frames in (codec.encode(WELCOME), *received):
            session._received(frames)
        found = session.is_open, session.refusal, list(heard.closed)
        session.close("over")
        context.term()
        return found

    return asyncio.run(story())


def test_an_agent_passes_over_what_a_later_broker_says_and_tells_of_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    assert after(LATER, LATER, codec.encode(Unknown(b"asked"))) == (True, "", [])
    assert caplog.text.count("says later, which zcc") == 1
    assert "the broker is of zcc 9.1" in caplog.text


def test_a_user_is_told_of_a_broker_with_another_protocol_until_it_is_upgraded() -> None:
    sentence = "zcc/9 is spoken there and zcc/2 here: upgrade the older of the two"
    bye = [b"zcc/9", b"bye", b"\x91\xa0"]
    assert after(bye, bye) == (False, sentence, [Reason.PROTOCOL_ERROR])
    assert after(bye, codec.encode(WELCOME))[:2] == (True, "")


def test_what_a_helper_of_ccache_asks_an_older_broker_is_a_miss_at_once() -> None:
    async def story() -> None:
        context = zmq.Context[zmq.Socket[bytes]]()
        access = Access(
            "tcp://127.0.0.1:9", new_key_pair().public, "farm", "client", new_key_pair()
        )
        session = StorageSession(context, access, "helper")
        session._send = lambda message: True  # type: ignore[method-assign]
        session._received(codec.encode(WELCOME))
        session._received(LATER)
        assert session.is_open
        asking = asyncio.ensure_future(session.get(b"k" * 20))
        while not session._waiting:
            await asyncio.sleep(0)
        session._received(codec.encode(Unknown(b"storage-get")))
        with pytest.raises(FarmAwayError, match="older than this program"):
            await asking
        session.close()
        context.term()

    asyncio.run(story())
