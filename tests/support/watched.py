"""Watchers without sockets: what a farm's feed tells them, and the states that they make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import count
from typing import Any

from broker.core.farm import Farm
from broker.watching.feed import Watching
from broker.watching.moving import Wires
from zcc.events import FarmEvent, FarmShown, unpack_events
from zcc.messages import Happened, Message, Snapshot, Watch
from zcc.watching.state import FarmState
from zcc.watching.views import JobView, NodeView

BEGAN_S = 1_700_000_000.0


def described(user: str) -> tuple[str, str, str]:
    """Of a key of `broker_world`."""
    return f"k-{user}", user, "client"


class Feed:
    """A farm's feed. Who watches by `begin` has room for everything at once."""

    def __init__(self, farm: Farm, wires: Wires | None = None) -> None:
        self.farm = farm
        self.inboxes: dict[bytes, list[Message]] = {}
        self.has_room: Callable[[bytes], bool] = lambda _: True
        self.describe, self.failures = described, list[Exception]()
        names = count(1)
        self.watching = Watching(
            farm,
            self._describe,
            self._offer,
            bytes,
            lambda: b"feed%04d" % next(names),
            BEGAN_S,
            self.failures.append,
            wires,
        )

    def _describe(self, user: str) -> tuple[str, str, str]:
        return self.describe(user)

    def _offer(self, route: bytes, make: Callable[[], Message | None]) -> bool:
        if not self.has_room(route):
            return False
        message = make()
        if message is not None:
            self.inboxes[route].append(message)
        return True

    def begin(self, name: str, feed: bytes = b"", since: int = 0) -> Seer:
        route = name.encode()
        self.inboxes[route] = []
        answer = self.watching.watch(route, f"user-{name}", Watch(feed, since))
        assert answer is None, answer
        return Seer(self.inboxes[route])

    def tick(self) -> None:
        self.watching.tick(self.farm.now)


class Seer:
    """One watcher: its state, all that it has heard, and its place in the feed."""

    def __init__(self, inbox: list[Message]) -> None:
        self._inbox = inbox
        self.state = FarmState()
        self.heard: list[FarmEvent] = []
        self.feed, self.next, self.snapshots = b"", 0, 0

    def read(self) -> list[FarmEvent]:
        """Take in what has come; the batches follow one another."""
        news: list[FarmEvent] = []
        for message in self._inbox:
            assert isinstance(message, (Snapshot, Happened))
            if isinstance(message, Snapshot):
                self.feed, self.next = message.feed, message.number
                self.snapshots += 1
            else:
                assert (message.feed, message.number) == (self.feed, self.next)
                self.next += 1
            news += unpack_events(message.body)
        self._inbox.clear()
        for event in news:
            self.state.apply(event)
        self.heard += news
        return news


def present(state: FarmState) -> dict[str, Any]:
    """What two watchers of one farm agree on, whenever they began; but for the slots of nodes, which are
    given out as their runs begin."""
    assert isinstance(state.farm, FarmShown)
    builds = {number: build.shown for number, build in state.builds.items()}
    return {
        "farm": replace(state.farm, at_ms=0),
        "members": state.members,
        "toolchains": state.toolchains,
        "builds": builds,
        "live": {number: sorted(build.live) for number, build in state.builds.items()},
        "nodes": {number: _of_node(node) for number, node in state.nodes.items()},
        "jobs": {number: _of_job(job) for number, job in state.jobs.items()},
    }


def _of_node(node: NodeView) -> tuple[Any, ...]:
    running = [lease for lease, run in node.runs.items() if run.slot >= 0]
    assert sorted(running) == sorted(run.leased.lease for run in node.slots if run is not None)
    return node.shown, sorted(node.runs), sorted(running)


def _of_job(job: JobView) -> tuple[Any, ...]:
    queued = [
        getattr(job.queued, field.name)
        for field in fields(job.queued)
        if field.name
        not in ("member", "build", "file", "language", "scan_ms", "toolchain", "at_ms")
    ]
    requests = [(each.member_number, each.build.id if each.build else "") for each in job.requests]
    runs = [(run.leased, run.started_s) for run in job.runs if not run.ending]
    return queued, requests, job.sending, job.phase, runs
