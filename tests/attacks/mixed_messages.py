"""Random messages of all kinds, mutated valid ones among them, to a real broker: nobody else is harmed.

The broker is in this process, with its loop, its store and its sockets; what is random comes in where its
socket hands messages over, so that a peer that breaks the protocol need not connect anew for each. Members with
sessions of their own talk to it by sockets meanwhile. No job is run, so no enclosure is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from broker.core.roles import ALLOWED
from broker.shell import Shell
from cache.digest import digest_of
from cache.frame import compress
from tests.attacks.drawn import Drawn
from tests.unit.broker.test_broker_wire import Broker, Peer, sample_job, serving
from zcc import codec, messages
from zcc.job import job_key
from zcc.messages import AskNodes, Beat, Bye, Enrol, Hello, Leave, Nodes, PeerRole, Submit, Who

_ROLES = tuple(PeerRole)
# Messages on one route, unless it is closed before; then another takes its place.
_MESSAGES_A_ROUTE = 40
_LOOP_EVERY = 25
_ASK_EVERY_S = 1.0
_MARK = b"fuzz"
# Of what is said, how much is a job, and how much of the rest a peer of this role may say at all.
_JOBS_SHARE = 0.1
_LAWFUL_SHARE = 0.9
_NAMES = {kind.KIND.decode() for kind in messages.ALL}
# Who leaves is heard no more: seldom.
_OF_ROLE = {role: tuple(kinds - {Leave}) or (Enrol,) for role, kinds in ALLOWED.items()}


@dataclass
class Counts:
    """What came of it. `lost` are bystanders' sessions, `stall_s` the longest that the loop stood still."""

    messages: int = 0
    violations: int = 0
    raised: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    asked: int = 0
    stall_s: float = 0.0
    faults: int = 0

    def told(self) -> dict[str, Any]:
        kinds = dict(sorted(self.kinds.items()))
        return {
            "messages": self.messages, "violations": self.violations, "raised": dict(self.raised),
            "lost": self.lost, "asked": self.asked, "stall_s": round(self.stall_s, 3),
            "faults": self.faults, "kinds": kinds,
        }  # fmt: skip


async def mix(tmp_path: Path, rng: Random, seconds: float, most: int) -> Counts:
    """Send random messages until so many were or the time is over."""
    counts, until = Counts(), time.monotonic() + seconds

    def raised(_: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        counts.raised[f"in the loop: {type(error).__name__}: {error}"[:200]] += 1

    asyncio.get_running_loop().set_exception_handler(raised)
    async with serving(tmp_path) as broker:
        _take_everything(broker)
        users = {role: broker.member(role, role.value).public for role in _ROLES}
        bystanders = [
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        ]
        await bystanders[0].hello("client")
        await bystanders[1].hello("node", slots=0)
        drawn = Drawn(rng, [digest_of(b"t"), digest_of(b"s"), digest_of(b"")])
        watching = asyncio.create_task(_watch(bystanders, counts))
        number = 0
        while counts.messages < most and time.monotonic() < until:
            number += 1
            role = rng.choice(_ROLES)
            if broker.shell.roster.role_of(users[role]) is not role:  # it has left
                users[role] = broker.member(role, role.value).public
            peer = _Peer(broker.shell, _MARK + number.to_bytes(8, "big"), users[role], role)
            await _speak(peer, drawn, rng, counts)
        watching.cancel()
        counts.violations = broker.shell.counts["violations"]
        await _ask(bystanders[0], counts)
        counts.lost += sum(
            isinstance(each, (Bye, Who)) for peer in bystanders for each in peer.inbox
        )
    return counts


def _take_everything(broker: Broker) -> None:
    """What is said to a peer that is not there is said: else each of them would be gone at once."""
    link = broker.shell._link
    send = link.send

    def said(routing_id: bytes, frames: list[bytes]) -> bool:
        codec.decode(frames)  # whatever the broker says is a message
        return True if routing_id.startswith(_MARK) else send(routing_id, frames)

    link.send = said  # type: ignore[method-assign]


@dataclass
class _Peer:
    """A peer that is not there: what it would send goes straight in."""

    shell: Shell
    route: bytes
    user: str
    role: PeerRole

    def say(self, frames: list[bytes], counts: Counts) -> None:
        counts.messages += 1
        name = frames[1].decode(errors="replace") if len(frames) > 1 else ""
        counts.kinds[name if name in _NAMES else "odd"] += 1
        try:
            self.shell._on_message(self.route, self.user, frames)
        except Exception as error:  # noqa: BLE001 - counted, and a failure
            counts.raised[f"{type(error).__name__}: {error}"[:200]] += 1


async def _speak(peer: _Peer, drawn: Drawn, rng: Random, counts: Counts) -> None:
    """What one peer says: Hello first, mostly, and then anything until it is not listened to any more."""
    if rng.random() < 0.9:
        said_as = peer.role.value
        hello = Hello(rng.randbytes(16), said_as, "", "x", "0", rng.randint(0, 4), (), (b"",))
        peer.say(codec.encode(hello), counts)
    for number in range(_MESSAGES_A_ROUTE):
        is_job = rng.random() < _JOBS_SHARE
        kinds = _OF_ROLE[peer.role] if rng.random() < _LAWFUL_SHARE else messages.ALL
        peer.say(_submit(drawn, rng) if is_job else drawn.message(rng.choice(kinds)), counts)
        if number % _LOOP_EVERY == 0:
            await asyncio.sleep(0)
        if peer.shell.machine.is_banned(peer.route):
            return
    peer.say(codec.encode(Bye("")), counts)


def _submit(drawn: Drawn, rng: Random) -> list[bytes]:
    encoded = drawn.job_bytes(sample_job(b"t", b"s"))
    ticket, body = rng.randint(0, 50), compress(encoded)
    return codec.encode(Submit(ticket, job_key(encoded), 0.0, "b", False, b"", None, 0, body))


async def _watch(bystanders: list[Peer], counts: Counts) -> None:
    """The bystanders beat, and ask, and see how long that takes."""
    while True:
        begun = time.monotonic()
        await asyncio.sleep(0)
        counts.stall_s = max(counts.stall_s, time.monotonic() - begun)
        for peer in bystanders:
            await peer.say(Beat(0.0))
        await _ask(bystanders[0], counts)
        begun = time.monotonic()
        await asyncio.sleep(_ASK_EVERY_S)
        counts.stall_s = max(counts.stall_s, time.monotonic() - begun - _ASK_EVERY_S)


async def _ask(peer: Peer, counts: Counts) -> None:
    await peer.say(AskNodes())
    rows = await peer.wait(Nodes)
    counts.asked += 1
    counts.faults = max(counts.faults, *(row.faults for row in rows.rows if row.name == "node"))
    peer.inbox[:] = [each for each in peer.inbox if isinstance(each, (Bye, Who))]
