"""A real build on a real farm, as one sees it who watches: `zcc events`, its recording, and `zcc trace`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BIN, Farm
from tests.support.network_farm import wait_until
from tests.support.prepared_farm import PreparedFarm
from tests.support.trace_schema import check_trace
from zcc import farm as membership
from zcc.watching.recording import replayed

Told = dict[str, Any]


@pytest.fixture(scope="module")
def watched() -> Iterator[Farm]:
    with tempfile.TemporaryDirectory(prefix="zcc-watched-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=2, slots=2)
            for role in ("monitor", "admin"):
                at = os.path.join(directory, role)
                membership.join(local.token(role), at, f"{role}@here", (role,))
            yield Farm(local)
        finally:
            local.stop()


@contextmanager
def watching(farm: Farm, *options: str, role: str = "monitor") -> Iterator[list[Told]]:
    """The events of `zcc events --json`, as they come; from the snapshot on."""
    key = os.path.join(farm.local.directory, role)
    command = [str(BIN / "zcc"), "events", "--json", "--key", key, *options]
    told: list[Told] = []
    process = subprocess.Popen(
        command, env=farm.local.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    stream = process.stdout

    def read() -> None:
        for line in stream:
            told.append(json.loads(line))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        if "--record" not in options:
            # The last event of a snapshot, and one of each second.
            wait_until(lambda: bool(of_name(list(told), "pulse")), "a snapshot")
        yield told
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        reader.join()
        stream.close()
        if process.stderr is not None:
            process.stderr.close()


def build(farm: Farm, at: Path, names: tuple[str, ...], **more: str) -> None:
    for name in names:
        done = farm.run(
            "zcc", "gcc", "-O1", "-c", name, "-o", f"{name}.o", cwd=at, strict=True, **more
        )
        assert done.returncode == 0, done.stderr


def sources(at: Path, mark: str) -> tuple[str, ...]:
    (at / ".git").mkdir(exist_ok=True)
    (at / "src").mkdir(exist_ok=True)
    names = tuple(f"src/{name}.c" for name in ("x", "y", "z"))
    for name in names:
        (at / name).write_text(f"int {mark}_{Path(name).stem}(int a) {{ return a * 7; }}\n")
    return names


def until(told: list[Told], holds: Callable[[list[Told]], bool], what: str) -> None:
    wait_until(lambda: holds(list(told)), what)


def of_name(told: list[Told], name: str) -> list[Told]:
    return [event for event in list(told) if event["event"] == name]


def test_each_job_is_seen_in_order_with_its_outcome_and_a_second_build_is_all_hits(
    watched: Farm, tmp_path: Path
) -> None:
    names = sources(tmp_path, "ordered")
    with watching(watched) as told:
        assert told[0]["event"] == "farm"
        assert sorted(each["name"] for each in of_name(told, "node")) == ["node1", "node2"]
        # Nothing of it is in this user's own cache: the farm answers.
        build(watched, tmp_path, names, ZCC_CACHE="off", ZCC_BUILD="the first")
        until(told, lambda seen: len(of_name(seen, "finished")) == 3, "three results")
        jobs = {event["job"]: event for event in of_name(told, "queued")}
        assert sorted(event["file"] for event in jobs.values()) == list(names)
        for job, queued in jobs.items():
            story = [each for each in told if each.get("job") == job]
            assert [each["event"] for each in story].count("finished") == 1
            assert story[0] is queued
            # A machine that is busy may have had it given to another node before, or to a second one beside.
            lease = next(each["lease"] for each in story if each["event"] == "finished")
            last = [each for each in story if each.get("lease") == lease]
            assert [each["event"] for each in last] == ["leased", "started", "finished"]
            assert [each["at_ms"] for each in story] == sorted(each["at_ms"] for each in story)
            finished = last[-1]
            assert (finished["outcome"], finished["status"]) == ("ok", 0)
            assert finished["wall_ms"] > 0
            assert finished["peak_bytes"] > 0
            assert finished["output_bytes"] > 0
            assert (queued["language"], queued["nice"]) == ("c", os.nice(0))
            leased = last[0]
            assert leased["reason"]
            # A node to which the toolchain is on its way does not count.
            assert leased["slots"] in (2, 4)
            assert 1 <= leased["idle"] <= leased["slots"]
        (named,) = of_name(told, "build")
        assert named["name"] == "the first"
        (toolchain,) = of_name(told, "toolchain")
        assert toolchain["name"].startswith("gcc ")
        (member,) = [each for each in of_name(told, "member") if each["role"] == "client"]
        assert {event["member"] for event in jobs.values()} == {member["member"]}
        for name in names:
            (tmp_path / f"{name}.o").unlink()
        before = len(told)
        build(watched, tmp_path, names, ZCC_CACHE="on")
        until(told, lambda seen: len(of_name(seen, "hit")) == 3, "three hits")
        assert sorted(event["file"] for event in of_name(told[before:], "hit")) == list(names)
        assert not of_name(told[before:], "queued")
        text = json.dumps(told)
        assert str(tmp_path) not in text, "an absolute path"
        assert "ordered_x" not in text, "a source"


def test_a_compile_that_fails_and_one_that_stays_here_are_told(
    watched: Farm, tmp_path: Path
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "bad.c").write_text("int f( {\n")
    (tmp_path / "m.c").write_text("int main(void) { return 0; }\n")
    with watching(watched, role="admin") as told:
        watched.run("zcc", "gcc", "-c", "bad.c", cwd=tmp_path, strict=False)
        until(told, lambda seen: bool(of_name(seen, "finished")), "a verdict")
        (finished,) = of_name(told, "finished")
        assert (finished["outcome"], finished["status"]) == ("failed", 1)
        deadline = time.monotonic() + 60
        while not [
            each for each in of_name(told, "counted") if dict(each["local"]).get("not-a-compile")
        ]:
            assert time.monotonic() < deadline, "no link was counted"
            done = watched.run("zcc", "gcc", "m.c", "-o", "m", cwd=tmp_path, strict=False)
            assert done.returncode == 0
        counted = [
            each for each in of_name(told, "counted") if dict(each["local"]).get("not-a-compile")
        ]
        assert ["not-a-compile", "m.c"] in [
            each[:2] for event in counted for each in event["files"]
        ]


def test_a_position_is_gone_on_from(watched: Farm, tmp_path: Path) -> None:
    names = sources(tmp_path, "resumed")
    # One watches all the time: without, the feed ends some seconds later, and a build may take longer.
    with watching(watched) as told:
        position = told[-1]["position"]
        build(watched, tmp_path, names, ZCC_CACHE="off")
        with watching(watched, "--since", position) as later:
            until(later, lambda seen: len(of_name(seen, "finished")) == 3, "what came meanwhile")
            assert not of_name(later, "farm"), "a snapshot"


def test_a_users_setting_keeps_names_to_himself(watched: Farm, tmp_path: Path) -> None:
    own = tmp_path / "own"
    membership.join(watched.local.token("client"), str(own), "shy@here", ("client",))
    (own / "config.toml").write_text('events = "off"\nlocal = "fallback"\n')
    work = tmp_path / "work"
    work.mkdir()
    names = sources(work, "shy")
    places = {"ZCC_CONFIG_DIR": str(own), "ZCC_STATE_DIR": str(own)}
    places |= {"ZCC_SOCKET": str(own / "agent.sock"), "ZCC_CACHE": "off"}
    with watching(watched) as told:
        try:
            build(watched, work, names, **places)
            until(told, lambda seen: len(of_name(seen, "finished")) == 3, "three results")
        finally:
            watched.run("zcc", "agent", "stop", cwd=work, strict=True, **places)
        assert {event["file"] for event in of_name(told, "queued")} == {""}
        build_names = {event["name"] for event in of_name(told, "build")}
        assert "" in build_names


@pytest.mark.parametrize("options", [(), ("--json",), ("--once", "--json")])
def test_it_ends_in_silence_when_nobody_reads_on(watched: Farm, options: tuple[str, ...]) -> None:
    """As `zcc events | head` does."""
    key = os.path.join(watched.local.directory, "monitor")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [str(BIN / "zcc"), "events", "--key", key, *options],
        env=watched.local.environment,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    try:
        os.close(writing)
        os.close(reading)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert said == b""
    assert process.returncode == -signal.SIGPIPE


def test_a_clients_key_may_not_watch(watched: Farm, tmp_path: Path) -> None:
    done = watched.run("zcc", "events", "--once", cwd=tmp_path)
    assert done.returncode != 0
    assert b"this key is a client's" in done.stderr


def test_a_recording_is_replayed_and_gives_a_trace_of_the_build(
    watched: Farm, tmp_path: Path
) -> None:
    kept, work = tmp_path / "kept", tmp_path / "work"
    work.mkdir()
    names = sources(work, "traced")
    with watching(watched, "--record", str(kept)):
        wait_until(lambda: kept.is_dir() and bool(list(kept.iterdir())), "a recording")
        build(watched, work, names, ZCC_CACHE="off", ZCC_BUILD="to be traced")
        wait_until(lambda: _has_build(kept), "the build's end in the recording")
    state = replayed(str(kept))
    found = state.build_called("to be traced")
    assert found is not None
    assert found.counts == {"ok": 3}
    traced = watched.run(
        "zcc", "trace", "traced", "-o", "t.json", "--from", str(kept), cwd=tmp_path
    )
    assert traced.returncode == 0, traced.stderr
    document = json.loads((tmp_path / "t.json").read_text())
    check_trace(document)
    compiles = [row for row in document["traceEvents"] if row.get("cat") == "compile"]
    assert sorted(row["name"] for row in compiles) == list(names)
    printed = watched.run("zcc", "events", "--from", str(kept), cwd=tmp_path)
    assert b" finished " in printed.stdout


def _has_build(kept: Path) -> bool:
    found = replayed(str(kept)).build_called("to be traced")
    return found is not None and found.counts["ok"] == 3
