"""A farm to be attacked, and members that only speak the protocol to it.

A real broker and two real nodes, as `zcc up` starts them, inside an enclosure; the attacker and an innocent are
raw clients with keys of their own, so that no attack is run by anything but a node. As a program, inside the
enclosure: plays the scenario that its arguments name and prints what came of it. `play` does that for tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import zmq

from broker.membership.registry import Registry
from cache.digest import Digest, digest_of
from cache.frame import compress
from tests.attacks import compiler, enclosure
from tests.unit.broker.test_broker_wire import Peer
from zcc import farm
from zcc.cli.up import LocalFarm
from zcc.job import FileInput, Job, Manifest, encode_job, job_key
from zcc.keys import new_key_pair
from zcc.link import DealerLink
from zcc.messages import (
    BEAT_S,
    AskNodes,
    Beat,
    Bye,
    Cancel,
    Finished,
    Nodes,
    PeerRole,
    Refused,
    Submit,
    Who,
)

SLOTS = 2
# A farm starts in some seconds; an attack may take a minute on a machine that does other things beside.
_PLAY_S = 150.0
# An innocent's compile, of some milliseconds, on a machine that does other things beside.
PATIENCE_S = 40.0
CWD = b"/src"
SOURCE = b"int innocent;\n"


@dataclass
class Client(Peer):
    """A client that is attacker or innocent: its tickets, and what became of them."""

    name: str = ""
    tickets: int = 0
    answers: dict[int, Finished | Refused] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    # Blobs that lie in files: frames already.
    packs: dict[Digest, str] = field(default_factory=dict)
    rows: Nodes | None = None
    _beating: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.hello("client")
        self._beating = asyncio.create_task(self._beat())

    def close(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
        self.link.close()

    async def submit(self, job: Job | bytes, is_fresh: bool = True) -> int:
        """Hand a job in, or what is said to be one; its ticket. Not fresh: what is remembered will do."""
        encoded = job if isinstance(job, bytes) else encode_job(job)
        self.tickets += 1
        key, frame = job_key(encoded), compress(encoded)
        await self.say(Submit(self.tickets, key, 0.0, "attack", is_fresh, b"", None, 0, frame))
        return self.tickets

    async def outcome(
        self, ticket: int, patience_s: float = PATIENCE_S
    ) -> Finished | Refused | None:
        """What became of a job; None: nothing, in all that time, and it is cancelled."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            self.sort()
            if ticket in self.answers:
                return self.answers.pop(ticket)
            if self.losses:
                return None
            await asyncio.sleep(0.005)
        await self.say(Cancel(ticket))
        return None

    async def nodes(self) -> list[dict[str, Any]]:
        """What `zcc nodes` would say."""
        await self.say(AskNodes())
        deadline = time.monotonic() + PATIENCE_S
        while self.rows is None:
            assert time.monotonic() < deadline, "the broker does not say which nodes it has"
            self.sort()
            await asyncio.sleep(0.01)
        rows, self.rows = self.rows, None
        return [
            {
                "name": row.name,
                "state": row.state,
                "reason": row.reason,
                "faults": row.faults,
                "running": row.running,
            }
            for row in rows.rows
        ]

    def sort(self) -> None:
        """Go through what came."""
        inbox, self.inbox[:] = list(self.inbox), []
        for message in inbox:
            match message:
                case Finished() | Refused():
                    self.answers[message.ticket] = message
                case Nodes():
                    self.rows = message
                case Bye() | Who():
                    self.losses.append(str(message))
                case _:
                    pass
        self.taken.clear()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(AssertionError):
                await self.say(Beat(0.0))

    def _read(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int] | None:
        path = self.packs.get(digest)
        if path is None:
            return Peer._read(self, digest, offset, length)
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length), os.path.getsize(path)


@dataclass
class AttackedFarm:
    """The farm, its registry, and the foreign toolchain that all members name."""

    local: LocalFarm
    registry: Registry
    toolchain: Digest
    pack: str
    context: zmq.Context[zmq.Socket[bytes]] = field(default_factory=zmq.Context)
    clients: list[Client] = field(default_factory=list)
    innocent_jobs: int = 0

    async def client(self, name: str) -> Client:
        """One more member with a key of its own."""
        pair = new_key_pair()
        self.registry.add(pair.public, PeerRole.CLIENT, name, time.time())
        access = farm.load_access(os.path.join(self.local.directory, "client"))
        assert access is not None

        def take(frames: list[bytes]) -> None:
            made.take(frames)

        link = DealerLink(self.context, access.endpoint, access.broker_public, pair, take)
        made = Client(link, name=name)
        made.packs[self.toolchain] = self.pack
        made.blobs[digest_of(SOURCE)] = compress(SOURCE)
        made.blobs[digest_of(b"")] = compress(b"")
        self.clients.append(made)
        await made.open()
        return made

    def job(self, *words: bytes, name: bytes = b"a", **changes: Any) -> Job:
        """A job of the foreign compiler, which copies /src/NAME.c to /src/NAME.o."""
        source, output = CWD + b"/" + name + b".c", CWD + b"/" + name + b".o"
        job = Job(
            toolchain=self.toolchain,
            executable=compiler.PLACE,
            argv=(b"cc", *words, b"-c", source, b"-o", output),
            cwd=CWD,
            environment=((b"LC_ALL", b"C"),),
            manifest=Manifest((FileInput(source, digest_of(SOURCE)),)),
            outputs=(output,),
        )
        return replace(job, **changes)

    async def compiles(self, innocent: Client, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Whether another user's compile comes back, in what time, and what it then says of the nodes."""
        self.innocent_jobs += 1
        begun = time.monotonic()
        ticket = await innocent.submit(self.job(name=b"innocent%d" % self.innocent_jobs))
        answer = await innocent.outcome(ticket, patience_s)
        took_s = time.monotonic() - begun
        said = type(answer).__name__
        if isinstance(answer, Refused):
            said += f": {answer.reason}"
        return {
            "innocent": said,
            "took_s": round(took_s, 2),
            "losses": innocent.losses,
            "nodes": await innocent.nodes(),
        }

    def logs(self) -> str:
        """What the parts say of broken things."""
        said = []
        for name in ("broker", "node1", "node2"):
            with open(os.path.join(self.local.directory, f"{name}.log"), errors="replace") as log:
                said += [f"{name}: {line.rstrip()}" for line in log if "Traceback" in line]
        return "\n".join(said)


@contextlib.contextmanager
def attacked() -> Iterator[AttackedFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-attack-", ignore_cleanup_errors=True) as directory:
        os.chmod(directory, 0o755)
        digest, pack = compiler.build(directory)
        place = os.path.join(directory, "farm")
        os.mkdir(place)
        local = LocalFarm(place)
        try:
            local.start(nodes=2, slots=SLOTS)
            registry = Registry(os.path.join(place, "broker"))
            try:
                yield AttackedFarm(local, registry, digest, pack)
            finally:
                registry.close()
        finally:
            local.stop()
            for name in os.listdir(place):
                if os.path.ismount(os.path.join(place, name)):  # a disk that a scenario made
                    subprocess.run(["umount", os.path.join(place, name)], check=False)
            # A node that was stopped while it wiped leaves trees deeper than shutil.rmtree can go.
            subprocess.run(["rm", "-rf", "--", place], check=False)


async def strike(
    farm: AttackedFarm, jobs: Iterable[Job | bytes], innocent: Client | None = None
) -> list[str]:
    """Hand each job in under a key of its own; what became of each. With an innocent, his compile comes after
    each of them, and no node may be blamed then."""
    said = []
    for number, job in enumerate(jobs):
        attacker = await farm.client(f"attacker{number}")
        answer = await attacker.outcome(await attacker.submit(job))
        reason = f": {answer.reason}" if isinstance(answer, Refused) else ""
        said.append(type(answer).__name__ + reason)
        attacker.close()
        farm.clients.remove(attacker)
        if innocent is not None:
            after = await farm.compiles(innocent)
            assert after["innocent"] == "Finished", (said[-1], after)
            assert all(node["state"] == "ready" for node in after["nodes"]), (said[-1], after)
    return said


def play(module: str, scenario: str, *arguments: str) -> dict[str, Any]:
    """Play `async def SCENARIO(farm, innocent, *arguments)` of this module of tests, in an enclosure."""
    if reason := enclosure.why_not():
        pytest.skip(reason)
    return played(module, scenario, *arguments)


def played(
    module: str, scenario: str, *arguments: str, timeout_s: float = _PLAY_S
) -> dict[str, Any]:
    """As `play`, where there can be an enclosure."""
    done = enclosure.run_module(
        "tests.attacks.farm", module, scenario, *arguments, timeout_s=timeout_s
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


async def _played(made: AttackedFarm, module: str, scenario: str, arguments: list[str]) -> Any:
    act = getattr(importlib.import_module(module), scenario)
    innocent = await made.client("innocent")
    try:
        first = await made.compiles(innocent)
        assert first["innocent"] == "Finished", (first, made.logs())
        outcome = await act(made, innocent, *arguments)
        outcome["after"] = await made.compiles(innocent)
        outcome["tracebacks"] = made.logs()
    finally:
        for client in made.clients:
            client.close()
        made.context.term()
    return outcome


def assert_unharmed(outcome: dict[str, Any]) -> None:
    """Another user's compile came back, the nodes are there, and none is blamed."""
    after = outcome["after"]
    assert after["innocent"] == "Finished", outcome
    assert after["losses"] == [], outcome
    states = [(node["name"], node["state"], node["faults"]) for node in after["nodes"]]
    assert sorted(states) == [("node1", "ready", 0), ("node2", "ready", 0)], outcome
    assert outcome["tracebacks"] == "", outcome


if __name__ == "__main__":
    with attacked() as standing:
        print(json.dumps(asyncio.run(_played(standing, sys.argv[1], sys.argv[2], sys.argv[3:]))))
