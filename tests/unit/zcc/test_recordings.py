"""Recordings of a farm's events, what is replayed of them, and traces of builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.core.limits import STARTUP_GRACE_S
from cache.frame import compress
from tests.support.broker_world import Desk, job
from tests.support.trace_schema import check_trace
from tests.support.watched import Feed, Seer, present
from tests.unit.broker.test_watching import named
from zcc.errors import ConfigError
from zcc.events import pack_rows, row_of, unpack_events
from zcc.messages import Cancel, Failed, Fault, Happened, Snapshot, Started
from zcc.watching import recording
from zcc.watching.recording import (
    RecordingWriter,
    read_recording,
    recording_files,
    replayed,
)
from zcc.watching.state import FarmState
from zcc.watching.trace import build_trace


class Recorded:
    """A farm that is recorded as it goes."""

    def __init__(self, directory: Path, limit_bytes: int = 1 << 30) -> None:
        self.desk = Desk()
        self.desk.pass_time(STARTUP_GRACE_S + 0.5)
        self.feed = Feed(self.desk.machine.farm)
        self.state = FarmState()
        self.seer: Seer = self.feed.begin("seer")
        self.writer = RecordingWriter(str(directory), self.state, limit_bytes)
        self.client = self.desk.client("c")
        self.node = self.desk.node("n", 4)
        self.tickets = 0

    def build(self, name: str) -> None:
        """A job that is done, one after the other."""
        self.tickets += 1
        self.desk.submit(self.client, self.tickets, named(name))
        (run,) = self.desk.runs(self.node)
        self.desk.now += 0.5
        self.desk.say(self.node, Started(run.lease))
        self.desk.now += 1.0
        self.desk.done(self.node, run.lease, wall_s=0.9)
        self.flush()

    def flush(self) -> None:
        self.feed.tick()
        for message in self.feed.inboxes[b"seer"]:
            assert isinstance(message, (Snapshot, Happened))
            for event in unpack_events(message.body):
                self.state.apply(event)
            squeezed = compress(message.body)  # as a shell's feed has it
            self.writer.add(type(message)(message.feed, message.number, squeezed))
        self.feed.inboxes[b"seer"].clear()


def test_what_was_recorded_is_replayed_with_its_history(tmp_path: Path) -> None:
    farm = Recorded(tmp_path)
    for name in ("x", "y"):
        farm.build(name)
    farm.desk.submit(farm.client, 99, named("z"))
    farm.flush()
    farm.writer.close()
    again = replayed(str(tmp_path))
    assert present(again) == present(farm.state)
    (build,) = again.known_builds.values()
    assert build.counts == {"ok": 2}
    assert [run.ending for run in again.runs] == ["ok", "ok"]
    assert len(again.jobs) == 1
    assert not again.gaps


def test_files_follow_one_another_without_a_gap_and_each_can_be_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_FILE_BYTES", 300)
    farm = Recorded(tmp_path)
    for number in range(12):
        farm.build(f"w{number}")
    farm.writer.close()
    files = recording_files(str(tmp_path))
    assert len(files) > 3
    whole = replayed(str(tmp_path))
    assert not whole.gaps
    (build,) = whole.known_builds.values()
    assert build.counts == {"ok": 12}
    assert present(whole) == present(farm.state)
    last = replayed(files[-1])
    assert present(last) == present(farm.state)
    one = replayed(files[-2])
    assert 0 < sum(each.counts["ok"] for each in one.known_builds.values()) < 12


def test_a_present_of_many_jobs_is_written_in_pieces_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_BATCH_BYTES", 1_000, raising=False)
    monkeypatch.setattr("zcc.events.MAX_EVENTS", 60)
    monkeypatch.setattr(recording, "MAX_FILE_BYTES", 600)
    farm = Recorded(tmp_path)
    for number in range(90):
        farm.desk.submit(farm.client, 100 + number, named(f"waits{number}"))
        farm.flush()
    farm.writer.close()
    files = recording_files(str(tmp_path))
    last = replayed(files[-1])
    assert len(last.jobs) == 90
    assert present(last) == present(farm.state)
    assert present(replayed(str(tmp_path))) == present(farm.state)
    assert len(files) < 90, "a present that is large by itself begins no file"


def test_the_oldest_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_FILE_BYTES", 600)
    farm = Recorded(tmp_path, limit_bytes=4_000)
    for number in range(60):
        farm.build(f"w{number}")
    farm.writer.close()
    size_bytes = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size_bytes < 8_000
    assert present(replayed(str(tmp_path))) == present(farm.state)


def test_a_clock_that_was_set_back_costs_nothing_that_is_written_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before has a later time: it is older all the same, and goes first."""
    monkeypatch.setattr(recording, "MAX_FILE_BYTES", 600)
    early = Recorded(tmp_path)
    early.build("before")
    early.writer.close()
    (before,) = tmp_path.iterdir()
    later_ms = 9_000_000_000_000
    before.rename(before := tmp_path / f"events-{later_ms}.zev")
    farm = Recorded(tmp_path, limit_bytes=4_000)
    farm.build("now")
    assert recording_files(str(tmp_path))[0] == str(before)
    for number in range(60):
        farm.build(f"w{number}")
    farm.writer.close()
    assert not before.exists()
    assert present(replayed(str(tmp_path))) == present(farm.state)


def test_a_torn_end_is_passed_over_and_what_is_no_recording_is_named(tmp_path: Path) -> None:
    farm = Recorded(tmp_path)
    farm.build("x")
    farm.writer.close()
    (file,) = recording_files(str(tmp_path))
    whole = Path(file).read_bytes()
    Path(file).write_bytes(whole[:-5])
    batches = list(read_recording(str(tmp_path)))
    assert batches
    Path(file).write_bytes(b"something else")
    with pytest.raises(ConfigError, match="no recording"):
        list(read_recording(file))
    with pytest.raises(ConfigError, match="zcc events --record"):
        list(read_recording(str(tmp_path / "nowhere")))
    Path(file).write_bytes(whole[: len(recording.MAGIC)] + b"\xff" * 20)
    with pytest.raises(ConfigError, match="damaged"):
        list(read_recording(file))


def story() -> FarmState:
    """Four jobs at a time, one that is lost, one that is given up, one that runs, one that waits, one hit."""
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    feed = Feed(desk.machine.farm)
    seer = feed.begin("seer")
    client, first, second = desk.client("c"), desk.node("n", 2), desk.node("m", 1)
    nodes = (first, second)
    for number in range(8):
        desk.submit(client, number + 1, named(f"w{number}"))
    is_lost = False
    for _ in range(4):
        for node in nodes:
            for run in desk.runs(node):
                desk.say(node, Started(run.lease))
                desk.now += 0.25
                if not is_lost:
                    is_lost = True
                    desk.say(node, Failed(run.lease, Fault.INTERNAL.value, "why"))
                elif not desk.machine.farm.ready or node is first:
                    desk.done(node, run.lease, wall_s=0.2)
                desk.pass_time(0.5, frozenset((client, *nodes)))
    left = next(iter(session_tickets(desk)), None)
    if left is not None:
        desk.say(client, Cancel(left))
    desk.submit(client, 50, job("nameless", ()))
    feed.tick()
    seer.read()
    return seer.state


def session_tickets(desk: Desk) -> list[int]:
    return [ticket for session in desk.machine.farm.sessions for ticket in session.tickets]


def test_a_trace_is_what_the_format_asks_for() -> None:
    state = story()
    build = state.build_called("hello")
    assert build is not None
    document = json.loads(json.dumps(build_trace(state, build)))
    check_trace(document)
    rows = document["traceEvents"]
    compiles = [row for row in rows if row.get("cat") == "compile"]
    ran = [run for run in state.runs if run.started_s is not None]
    ran += [run for job in state.jobs.values() for run in job.runs if run.started_s is not None]
    assert len(compiles) == len([run for run in ran if run.job.build is build])
    arrows = [row for row in rows if row["ph"] == "f"]
    assert len(arrows) == len({run.job.number for run in ran if run.job.build is build})
    counted = [row["args"] for row in rows if row["ph"] == "C"]
    assert max(each["running"] for each in counted) >= 1
    assert max(each["waiting"] for each in counted) >= 2
    assert {row["args"]["outcome"] for row in compiles} >= {"ok", "internal"}


def test_a_build_is_found_by_name_by_id_or_as_the_last() -> None:
    state = story()
    first, *_, last = state.known_builds.values()
    assert state.build_called("hello") is first
    assert state.build_called(first.shown.id) is first
    assert state.build_called("") is last
    assert state.build_called("no such build") is None


def test_events_that_speak_of_nothing_known_are_taken_as_far_as_they_go() -> None:
    """A watcher may begin anywhere: each event of a story alone, and the story without its beginning."""
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    feed = Feed(desk.machine.farm)
    seer = feed.begin("seer")
    client, node = desk.client("c"), desk.node("n")
    for number in range(3):
        desk.submit(client, number + 1, named(f"w{number}"))
        for run in desk.runs(node):
            desk.say(node, Started(run.lease))
            desk.done(node, run.lease)
    feed.tick()
    seer.read()
    assert len(seer.heard) > 12
    for at in range(len(seer.heard)):
        state = FarmState()
        for event in seer.heard[at:]:
            state.apply(event)
        assert not state.jobs
    assert unpack_events(pack_rows([row_of(event) for event in seer.heard])) == seer.heard
