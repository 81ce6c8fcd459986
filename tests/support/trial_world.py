"""A farm on trial: the broker's machine and examiner over real stores, and nodes that answer as tests say."""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from broker.audit import FILE_NAME, AuditLog
from broker.core import effects
from broker.core.events import Event, Origin
from broker.core.limits import STARTUP_GRACE_S
from broker.core.machine import Machine
from broker.core.nodes import Node
from broker.results.kept import KeptJobs
from broker.results.shared_cache import SharedResults
from broker.transport.traffic import Traffic
from broker.trust.answers import Answers
from broker.trust.conduct import NodeRecord
from broker.trust.examiner import Examiner
from broker.trust.verdicts import Told
from cache.digest import Digest, digest_of
from cache.frame import compress, decompress
from cache.record import Record
from cache.stores import DiskStore
from tests.support.broker_world import Desk, blob
from zcc.job import (
    MAX_JOB_BYTES,
    Job,
    Lookups,
    Manifest,
    OutputFile,
    Result,
    Usage,
    decode_job,
    encode_job,
    encode_result,
    job_key,
)
from zcc.messages import Failed, Fault, Run, Started

# What a node makes of the job with this name; None: it says nothing.
Answer = Callable[[str], Result | Fault | None]


def right(name: str) -> Result:
    """What a compiler makes of this job."""
    output = OutputFile(b"/x.o", digest_of(name.encode()), 6, 0o644)
    return Result(0, b"", b"", (output,), Usage(0.5, 0.5, 1 << 20), Lookups(), "n")


def wrong(name: str) -> Result:
    """One bit of it is another, and always the same."""
    return other(name, "flipped")


def other(name: str, how: str) -> Result:
    result = right(name)
    digest = digest_of(f"{name} {how}".encode())
    return replace(result, outputs=(replace(result.outputs[0], digest=digest),))


def job_of(name: str) -> bytes:
    return encode_job(
        Job(blob("gcc"), b"/bin/gcc", (b"gcc", name.encode()), b"/", (), Manifest(), (b"/x.o",))
    )


def name_of(run: Run) -> str:
    """The job's; its key has to be the one that its bytes have."""
    if run.body.startswith(b"job "):
        return run.body[4:].decode()  # of the desk
    assert run.key == job_key(decompress(run.body, MAX_JOB_BYTES))
    return decode_job(decompress(run.body, MAX_JOB_BYTES)).argv[1].decode()


@dataclass
class Member:
    """A node; `ran` are the jobs that it was given."""

    origin: Origin
    answer: Answer
    ran: list[str]


class TrialFarm:
    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.desk = Desk(seed)
        self.directory = directory
        self.store = DiskStore(str(directory), "farm", 1 << 30)
        traffic = Traffic(self.store.blobs, lambda *_: True, lambda _: None)
        self.results = SharedResults(self.store, traffic, lambda _: None, lambda _: None)
        self.kept = KeptJobs(str(directory), 1 << 30, lambda digest: digest in self.desk.store)
        self.log = AuditLog(str(directory))
        self.looked_into: list[tuple[Record, Told, str]] = []
        self.told: list[Event] = []
        self.answers = Answers(self.kept, self.results, random.Random(seed))
        self.examiner = Examiner(
            self._gather,
            self.kept,
            self.results,
            self.told.append,
            self.log,
            lambda *said: self.looked_into.append(said),
        )
        self.nodes: dict[str, Member] = {}
        self.clients: set[Origin] = set()
        self.desk.on_try = self._try
        self.desk.on_rerun_ended = self._ended
        self.pass_time(STARTUP_GRACE_S + 1.0)

    def close(self) -> None:
        self.results.close()
        self.kept.close()
        self.log.close()

    # --- who is there -----------------------------------------------------------------------------

    def node(self, name: str, answer: Answer = right, slots: int = 2, **more: object) -> Member:
        member = Member(self.desk.node(name, slots, **more), answer, [])
        self.nodes[name] = member
        self._answer()
        return member

    def client(self, name: str) -> Origin:
        origin = self.desk.client(name)
        self.clients.add(origin)
        return origin

    def record(self, name: str) -> NodeRecord:
        return self.desk.machine.farm.nodes.record((self.nodes[name].origin.user, name))

    def quarantine(self, name: str) -> None:
        """Put this node aside, as its faults do."""
        self.record(name).put_aside(self.desk.now)
        for node in self.desk.machine.farm.nodes:
            self.desk.machine.farm.seats.touch(node)

    def state(self, name: str) -> str:
        return self._row(name).state(self.desk.now)

    def reason(self, name: str) -> str:
        return self._row(name).reason(self.desk.now)

    def _row(self, name: str) -> Node:
        nodes = self.desk.machine.farm.nodes
        return next(node for node in nodes if node.session.name == name)

    # --- what is known ----------------------------------------------------------------------------

    def know(self, name: str, user: str, maker: str, answer: Answer = right) -> Digest:
        """A result of this job, which the key `user` submitted and a node of the key `maker` did."""
        encoded, result = job_of(name), answer(name)
        assert isinstance(result, Result)
        key, body = job_key(encoded), compress(encode_result(result))
        outputs = tuple(each.digest for each in result.outputs)
        for content in (name, f"{name} flipped"):
            self.store.blobs.put(content.encode())
        frame = compress(encoded)
        self.results.remember(
            effects.Remember(key, body, outputs, 6, blob("gcc"), maker, maker, user, frame)
        )
        self.kept.keep(key, frame)
        self.results.write_down()
        self.kept.write_down()
        assert self.results._writer.wait_written()
        while not self.kept.has(key):
            time.sleep(0.001)
        return key

    def known(self, key: Digest) -> Record | None:
        self.results.write_down()
        assert self.results._writer.wait_written()
        return self.results.record_of(key)

    # --- what happens -----------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Everybody beats, and nodes answer at once."""
        for _ in range(round(2 * seconds)):
            heard = frozenset((*(each.origin for each in self.nodes.values()), *self.clients))
            self.desk.pass_time(0.5, heard)
            self.examiner.tick()
            self._take()
            self._answer()

    def lines(self, event: str) -> list[dict[str, object]]:
        """Those of the audit log: the core's, and the examiner's own."""
        text = (self.directory / FILE_NAME).read_text().splitlines()
        written = [line for line in map(json.loads, text) if line["event"] == event]
        audits = [each for each in self.desk.effects if isinstance(each, effects.Audit)]
        return written + [dict(each.fields) for each in audits if each.what == event]

    def restart(self) -> None:
        """A new broker, which knows what the last one wrote down, and nodes that say Hello to it."""
        notes = [each for each in self.desk.effects if isinstance(each, effects.NoteOwing)]
        owing = notes[-1].nodes if notes else ()
        farm, desk = self.desk.machine.farm, self.desk
        toolchains = tuple((each, "") for each in farm.holdings.toolchains)
        now = desk.now
        desk.machine = Machine("testfarm", random.Random(9), now, toolchains, owing=owing)
        members, self.nodes = self.nodes, {}
        for name, member in members.items():
            made = self.node(name, member.answer, user=member.origin.user)
            made.ran.extend(member.ran)

    def _answer(self) -> None:
        """Nodes do what they were given, until nobody has anything left."""
        while given := [
            (member, run)
            for member in list(self.nodes.values())
            for run in self.desk.runs(member.origin)
        ]:
            for member, run in given:
                name = name_of(run)
                member.ran.append(name)
                self.desk.say(member.origin, Started(run.lease))
                made = member.answer(name)
                if isinstance(made, Fault):
                    self.desk.say(member.origin, Failed(run.lease, made.value, "as it says"))
                elif made is not None:
                    body = compress(encode_result(made))
                    self.desk.done(member.origin, run.lease, body=body)
                self._take()

    def _try(self, due: effects.TryNode) -> list[Event]:
        self.examiner.seek(due)
        return []

    def _ended(self, effect: effects.RerunEnded) -> list[Event]:
        self.examiner.ended(effect)
        told, self.told[:] = list(self.told), []
        return told

    def _take(self) -> None:
        """What the examiner asks for by itself."""
        told, self.told[:] = list(self.told), []
        if told:
            self.desk.happen(*told)

    def _gather(self, node_key: str, owner: str) -> Future[deque[Record]]:
        found: Future[deque[Record]] = Future()
        found.set_result(self.answers.known(node_key, owner))
        return found
