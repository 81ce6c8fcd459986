"""What is remembered: by the agent, by the farm; and that no damage to it reaches an object."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import Farm
from tests.support.prepared_farm import PreparedFarm
from zcc.agent.launchers import control

SOURCE = """
#include <stdio.h>
#include "a.h"
int say(void) { printf("%d\\n", A); return A; }
"""
COMMAND = ("zcc", "gcc", "-g", "-O2", "-MD", "-Iearly", "-Ilate", "-c", "x.c", "-o", "x.o")
OUTPUTS = ("x.o", "x.d")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "early").mkdir()
    (tmp_path / "late").mkdir()
    # No two tests share a job.
    (tmp_path / "late" / "a.h").write_text(f"/* {tmp_path} */\n#define A 1\n")
    (tmp_path / "x.c").write_text(SOURCE)
    return tmp_path


def place(farm: Farm) -> Path:
    return Path(farm.local.environment["ZCC_STATE_DIR"])


def compile_(farm: Farm, project: Path, strict: bool = True, **extra: str) -> Counter[str]:
    """Compile, compare with the plain compiler, and say which outcomes were counted."""
    before = farm.stats()["outcomes"]
    for name in OUTPUTS:
        (project / name).unlink(missing_ok=True)
    done = farm.run(*COMMAND, cwd=project, strict=strict, **extra)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done.stderr
    got = {name: (project / name).read_bytes() for name in OUTPUTS}
    subprocess.run(COMMAND[1:], cwd=project, check=True)
    assert got == {name: (project / name).read_bytes() for name in OUTPUTS}
    after = farm.stats()["outcomes"]
    return Counter({name: count for name in after if (count := after[name] - before[name])})


def stop_agent(farm: Farm) -> None:
    """Returns when it has written down what it knows and is gone; the next compile starts another."""
    pid = agent_pid(farm)
    control.ask(farm.local.environment["ZCC_SOCKET"], {"op": "stop"})
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}/cwd"):
        assert time.monotonic() < deadline, "the agent does not leave"
        time.sleep(0.02)


def lose_own(farm: Farm) -> None:
    """What the agent remembers itself, gone."""
    stop_agent(farm)
    shutil.rmtree(place(farm) / "cache")


def test_a_compile_comes_back_from_this_machine_and_from_the_farm(
    remembering: Farm, project: Path
) -> None:
    assert compile_(remembering, project) == {"remote": 1}
    assert compile_(remembering, project) == {"local_hit": 1}
    stop_agent(remembering)
    assert compile_(remembering, project) == {"local_hit": 1}
    lose_own(remembering)
    assert compile_(remembering, project) == {"shared_hit": 1}
    assert compile_(remembering, project) == {"local_hit": 1}


def test_zcc_cache_off_and_refresh(remembering: Farm, project: Path) -> None:
    assert compile_(remembering, project, ZCC_CACHE="off") == {"remote": 1}
    assert compile_(remembering, project, ZCC_CACHE="off") == {"remote": 1}
    assert compile_(remembering, project) == {"shared_hit": 1}
    assert compile_(remembering, project, ZCC_CACHE="refresh") == {"remote": 1}
    assert compile_(remembering, project) == {"local_hit": 1}


def test_a_hit_needs_no_farm(project: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="zcc-memory-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=1, slots=1)
            farm = Farm(local)
            assert compile_(farm, project) == {"remote": 1}
            stop_agent(farm)
            for process in (local.broker, *local.nodes):
                assert process is not None
                process.kill()
                process.wait()
            assert compile_(farm, project) == {"local_hit": 1}
            (project / "late" / "a.h").write_text("#define A 9\n")
            assert compile_(farm, project, strict=False) == {"local": 1}
        finally:
            local.stop()


def test_a_header_that_appears_earlier_in_the_path_is_no_hit(
    remembering: Farm, project: Path
) -> None:
    assert compile_(remembering, project) == {"remote": 1}
    early = project / "early" / "a.h"
    early.write_text(f"/* {project} */\n#define A 2\n")
    assert compile_(remembering, project) == {"remote": 1}
    early.unlink()
    assert compile_(remembering, project) == {"local_hit": 1}


def test_a_compiler_that_was_exchanged_a_moment_ago_is_no_hit(
    remembering: Farm, project: Path
) -> None:
    compilers = [needs(name) for name in ("gcc", "clang", "gcc")]
    tool = project / "tool"
    for compiler, end in zip(compilers, ("remote", "remote", "remote|local_hit"), strict=True):
        tool.unlink(missing_ok=True)
        tool.symlink_to(os.path.realpath(str(compiler)))
        command = [str(tool), "-g", "-O1", "-Ilate", "-c", "x.c", "-o", "x.o"]
        with remembering.ending(end):
            assert remembering.run("zcc", *command, cwd=project).returncode == 0
        got = (project / "x.o").read_bytes()
        subprocess.run(command, cwd=project, check=True)
        assert got == (project / "x.o").read_bytes(), compiler


HIDDEN = """
#define CAT(a, b) a##b
#if CAT(__has_, include)("hidden.h")
int hidden(void) { return 1; }
#endif
"""


def test_a_name_that_no_scan_sees_is_looked_for_again_with_each_hit(
    remembering: Farm, project: Path
) -> None:
    """An __has_include pasted together: the key is the same, and the object is another."""
    (project / "x.c").write_text(SOURCE + HIDDEN)
    assert compile_(remembering, project) == {"remote": 1}
    assert compile_(remembering, project) == {"local_hit": 1}
    hidden = project / "hidden.h"
    hidden.write_text("")
    assert compile_(remembering, project, strict=False) == {"local": 1}
    hidden.unlink()
    assert compile_(remembering, project) in ({"local_hit": 1}, {"shared_hit": 1})


# --- damage ----------------------------------------------------------------------------------


def blobs(directory: Path) -> list[Path]:
    return [path for path in directory.glob("blobs/??/*") if path.stat().st_size < 1 << 20]


def flip_a_bit(directory: Path) -> None:
    for path in blobs(directory):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(data)


def empty(directory: Path) -> None:
    for path in blobs(directory):
        path.write_bytes(b"")


def delete(directory: Path) -> None:
    for path in blobs(directory):
        path.unlink()


def swap(directory: Path) -> None:
    """Sound frames under each other's names."""
    paths = blobs(directory)
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)


def rewrite_records(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "results.sqlite")) as db, db:
        for key, encoded in db.execute("SELECT key, record FROM results").fetchall():
            forged = encoded[:32] + encoded[32:].replace(b".o", b".p")
            db.execute("UPDATE results SET record = ? WHERE key = ?", (forged, key))


def exchange_records(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "results.sqlite")) as db, db:
        rows = db.execute("SELECT key, record FROM results").fetchall()
        for (key, _), (_, encoded) in zip(rows, rows[1:] + rows[:1], strict=True):
            db.execute("UPDATE results SET record = ? WHERE key = ?", (encoded, key))


def scribble(directory: Path) -> None:
    (directory / "results.sqlite").write_bytes(b"\0scribble" * 5000)


DAMAGES = (flip_a_bit, empty, delete, swap, rewrite_records, exchange_records, scribble)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_the_own_store_is_a_miss(
    remembering: Farm, project: Path, damage: Callable[[Path], None]
) -> None:
    compile_(remembering, project)
    (project / "x.c").write_text(SOURCE + "int more;\n")
    compile_(remembering, project)
    stop_agent(remembering)
    damage(place(remembering) / "cache")
    assert compile_(remembering, project) == {"shared_hit": 1}
    assert compile_(remembering, project) == {"local_hit": 1}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_the_farm_s_store_is_a_miss(
    remembering: Farm, project: Path, damage: Callable[[Path], None]
) -> None:
    compile_(remembering, project)
    (project / "x.c").write_text(SOURCE + "int more;\n")
    compile_(remembering, project)
    store = Path(remembering.local.directory) / "broker"
    wait_until_written(store, 2)
    damage(store)
    lose_own(remembering)
    outcome = compile_(remembering, project, strict=False)
    # What a scribbled file held is in no cache of SQLite's for long; the result may be remembered yet.
    assert outcome in ({"remote": 1}, {"shared_hit": 1}, {"local": 1})
    lose_own(remembering)
    assert compile_(remembering, project) in ({"remote": 1}, {"shared_hit": 1})


def wait_until_written(store: Path, results: int) -> None:
    """The broker writes records down every two seconds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(store / "results.sqlite")) as db:
            if db.execute("SELECT count(*) FROM results").fetchone()[0] >= results:
                return
        time.sleep(0.05)
    raise AssertionError("the broker has written nothing down")


def test_a_store_that_cannot_be_written_costs_nothing_else(project: Path) -> None:
    """As on a full or read-only disk: root ignores modes, so a file stands where directories should."""
    with tempfile.TemporaryDirectory(prefix="zcc-memory-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=1, slots=1)
            farm = Farm(local)
            stop_agent(farm)
            shutil.rmtree(place(farm) / "cache", ignore_errors=True)
            (place(farm) / "cache").write_text("in the way")
            assert compile_(farm, project) == {"remote": 1}
            assert compile_(farm, project) == {"shared_hit": 1}
        finally:
            local.stop()


def test_an_agent_that_is_killed_while_it_writes(remembering: Farm, project: Path) -> None:
    for at in range(10):
        (project / "x.c").write_text(SOURCE + f"int more{at};\n")
        compile_(remembering, project)
        pid = agent_pid(remembering)
        os.kill(pid, signal.SIGKILL)
        again = compile_(remembering, project)
        assert again in ({"local_hit": 1}, {"shared_hit": 1})


def agent_pid(farm: Farm) -> int:
    status = control.ask(farm.local.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    return int(status["pid"])


# --- looking after it ------------------------------------------------------------------------


def cache_(farm: Farm, *words: str) -> str:
    done = farm.run("zcc", "cache", *words, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def farm_cache(farm: Farm, *words: str) -> str:
    state = str(Path(farm.local.directory) / "broker")
    done = farm.run("zcc-broker", "cache", *words, "--state", state, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def empty_farm(farm: Farm) -> None:
    """Purge until nothing comes after: the broker writes down what it has remembered every two seconds."""
    deadline, empty_since = time.monotonic() + 30, time.monotonic()
    while time.monotonic() - empty_since < 3.0:
        assert time.monotonic() < deadline, "the farm's cache is not emptied"
        farm_cache(farm, "purge", "--all")
        shown = json.loads(farm_cache(farm, "show", "--json"))
        if (shown["results"], shown["blobs"]) != (0, 0):
            empty_since = time.monotonic()


def empty_own(farm: Farm) -> None:
    cache_(farm, "purge", "--all")


def test_what_is_purged_is_compiled_again(remembering: Farm, project: Path) -> None:
    empty_own(remembering)
    compile_(remembering, project)
    stop_agent(remembering)
    assert json.loads(cache_(remembering, "show", "--json"))["results"] == 1
    assert cache_(remembering, "purge", "--unused", "1h").startswith("forgot 0 results,")
    wrong = remembering.run("zcc", "cache", "purge", "--node", "nobody", cwd=Path("/"))
    assert wrong.returncode == 1
    assert b"no result here is compiled by nobody: there are results compiled by" in wrong.stderr
    assert cache_(remembering, "purge", "--node", "node1").startswith("forgot 1 results,")
    assert compile_(remembering, project) == {"shared_hit": 1}
    wait_until_written(Path(remembering.local.directory) / "broker", 1)
    shown = json.loads(farm_cache(remembering, "show", "--json"))
    assert shown["by_node"][0]["node"] == "node1"
    farm_cache(remembering, "purge", "--all")
    empty_own(remembering)
    assert compile_(remembering, project) == {"remote": 1}


def test_a_purge_sees_what_the_agent_has_not_written_yet(remembering: Farm, project: Path) -> None:
    empty_own(remembering)
    for at in range(3):
        (project / "x.c").write_text(SOURCE + f"int purged{at};\n")
        compile_(remembering, project)
        assert cache_(remembering, "purge", "--node", "node1").startswith("forgot 1 results,")
        assert compile_(remembering, project) == {"shared_hit": 1}
        assert cache_(remembering, "purge", "--all").startswith("forgot 1 results,")


def test_a_purge_of_everything_leaves_an_empty_disk_and_the_agent_knows(
    remembering: Farm, project: Path
) -> None:
    compile_(remembering, project)
    cache_(remembering, "purge", "--all")
    shown = json.loads(cache_(remembering, "show", "--json"))
    assert (shown["results"], shown["blobs"], shown["stored_bytes"]) == (0, 0, 0)
    assert remembering.stats()["cache"]["size_bytes"] == 0
    empty_farm(remembering)
    assert compile_(remembering, project) == {"remote": 1}


def test_a_purge_wants_to_know_what(remembering: Farm) -> None:
    done = remembering.run("zcc", "cache", "purge", cwd=Path("/"))
    assert done.returncode == 1
    assert b"--all" in done.stderr


def test_a_verification_finds_what_is_rotten(remembering: Farm, project: Path) -> None:
    empty_own(remembering)
    cache_(remembering, "trim", "0")
    compile_(remembering, project)
    stop_agent(remembering)
    assert json.loads(cache_(remembering, "verify", "--json"))["rotten"] == 0
    flip_a_bit(place(remembering) / "cache")
    done = remembering.run("zcc", "cache", "verify", "--json", cwd=Path("/"))
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["rotten"], found["lost"]) == (found["blobs"], 1)
    assert json.loads(cache_(remembering, "verify", "--json"))["blobs"] == 0


def test_an_agent_whose_socket_is_taken_away_leaves(farm: Farm, project: Path) -> None:
    assert compile_(farm, project) == {"remote": 1}
    pid = agent_pid(farm)
    os.unlink(farm.local.environment["ZCC_SOCKET"])
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}/cwd"):
        assert time.monotonic() < deadline, "the agent does not leave"
        time.sleep(0.02)
    assert compile_(farm, project) == {"remote": 1}
    assert agent_pid(farm) != pid
