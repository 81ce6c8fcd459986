"""`zcc stats` and `zcc why`, asked after real compiles on a farm of one node."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_memory import stop_agent
from zcc.agent.launchers import control
from zcc.reasons import Reason

SOURCE = '#include <stdio.h>\n#include "a.h"\nint say(void) { return puts("x") + A; }\n'
HIDDEN = '#define CAT(a, b) a##b\n#if CAT(__has_, include)("hidden.h")\nint hidden;\n#endif\n'
COMMAND = ("gcc", "-g", "-O2", "-c", "x.c", "-o", "x.o")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    # No two tests share a job.
    (tmp_path / "a.h").write_text(f"/* {tmp_path} */\n#define A 1\n")
    (tmp_path / "x.c").write_text(SOURCE)
    return tmp_path


def compile_(farm: Farm, project: Path, *command: str, strict: bool = True, **extra: str) -> None:
    done = farm.run("zcc", *(command or COMMAND), cwd=project, strict=strict, **extra)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    # Results are written down behind the caller's back; the next compile is to find this one's.
    assert control.ask(farm.local.environment["ZCC_SOCKET"], {"op": "settle"}) == {}


def ask(farm: Farm, project: Path, *words: str, **extra: str) -> Any:
    """What a subcommand says with --json."""
    command, *rest = words
    done = farm.run("zcc", command, "--json", *rest, cwd=project, strict=True, **extra)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def text(farm: Farm, project: Path, *words: str) -> str:
    done = farm.run("zcc", *words, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def cause(farm: Farm, project: Path, *words: str, **extra: str) -> tuple[str, str]:
    """Why it is no hit: the kind, and the first thing that differs or what else is said of it."""
    answer = ask(farm, project, "why", *words, **extra)["answers"][0]
    found = answer["cause"]
    if found is None:
        return "hit", ""
    return found["kind"], found["differences"][0]["name"] if found["differences"] else found[
        "detail"
    ]


# ---- why --------------------------------------------------------------------------------------


def test_why_names_what_has_changed_since_the_last_compile(
    remembering: Farm, project: Path
) -> None:
    assert cause(remembering, project, *COMMAND) == ("first", "")
    compile_(remembering, project)
    assert cause(remembering, project, "x.c") == ("first", "")
    assert cause(remembering, project, *COMMAND) == ("hit", "")
    faster = tuple(word.replace("-O2", "-O3") for word in COMMAND)
    assert cause(remembering, project, *faster) == ("changed", "-O3")
    (project / "a.h").write_text(f"/* {project} */\n#define A 2\n")
    assert cause(remembering, project, *COMMAND) == ("changed", str(project / "a.h"))
    assert cause(remembering, project, *COMMAND, CPATH=str(project)) == ("changed", "CPATH")
    compile_(remembering, project)
    assert cause(remembering, project, "x.o") == ("changed", str(project / "a.h"))
    assert f"no hit: the header {project}/a.h changed" in text(remembering, project, "why", "x.c")


def test_a_reason_is_told_with_what_to_do_wherever_it_is_asked_for(
    remembering: Farm, project: Path
) -> None:
    (project / "x.c").write_text("const char *now = __TIME__;\n")
    compile_(remembering, project, strict=False)
    reason = Reason.TIME_MACRO
    for words in (("explain", *COMMAND), ("why", "x.c"), ("why", *COMMAND), ("stats",)):
        said = remembering.run("zcc", *words, cwd=project, COLUMNS="80").stdout.decode()
        assert "time-macro" in said, words
        assert max(map(len, said.splitlines())) <= 80 + len(str(project)), words
        told = " ".join(said.split())
        assert reason.what in told, words
        assert reason.advice in told, words
    about = ask(remembering, project, "explain", *COMMAND)["about"]
    assert (about["code"], about["kind"], about["advice"]) == (reason, "limit", reason.advice)
    assert ask(remembering, project, "why", "x.c")["answers"][0]["about"] == about
    assert ask(remembering, project, "why", *COMMAND)["answers"][0]["cause"]["about"] == about
    stats = ask(remembering, project, "stats")
    assert stats["about"]["time-macro"] == about
    assert stats["local_reasons"]["time-macro"] >= 1


def test_why_takes_a_second_output_of_the_compile(remembering: Farm, project: Path) -> None:
    compile_(remembering, project, *COMMAND, "-MD")
    said = text(remembering, project, "why", "x.d").splitlines()
    assert said[0] == f"{project}/x.d is written by this compile:"
    assert said[1] == f"{project}/x.c -> {project}/x.o"


def test_why_does_not_name_what_another_output_is_called(remembering: Farm, project: Path) -> None:
    (project / "build").mkdir()
    other = (*COMMAND[:-1], "build/y.o")
    compile_(remembering, project)
    assert cause(remembering, project, *other) == ("hit", "")
    (project / "a.h").write_text(f"/* {project} */\n#define A 2\n")
    assert cause(remembering, project, *other) == ("changed", str(project / "a.h"))
    named = (*other, "-fstack-usage")  # with it the name counts
    assert cause(remembering, project, *named)[0] == "changed"


def test_why_speaks_of_a_moved_compile_by_its_real_paths(remembering: Farm, tmp_path: Path) -> None:
    """With a base directory the job that has a key lies elsewhere; what is said of it does not."""
    base = {"ZCC_BASE_DIR": "auto"}
    command = ("gcc", "-g", "-Iinclude", "-c", "x.c", "-o", "x.o")
    places = [tmp_path / "one", tmp_path / "two"]
    for at in places:
        (at / ".git").mkdir(parents=True)
        (at / "include").mkdir()
        (at / "include" / "a.h").write_text("#define A 1\n")
        (at / "x.c").write_text(SOURCE)
    one, two = places
    assert cause(remembering, one, *command, **base) == ("first", "")
    compile_(remembering, one, *command, strict=True, **base)
    assert cause(remembering, one, *command, **base) == ("hit", "")
    assert cause(remembering, two, *command, **base) == ("hit", "")  # the other checkout's result
    assert cause(remembering, two, *command) == ("first", "")
    (one / "include" / "a.h").write_text("#define A 2\n")
    header = str(one / "include" / "a.h")
    assert cause(remembering, one, *command, **base) == ("changed", header)
    compile_(remembering, one, *command, strict=True, **base)
    assert cause(remembering, one, "x.c") == ("changed", header)
    assert "/zcc-base" not in text(remembering, one, "why", "x.o")
    assert cause(remembering, one, *command, ZCC_BASE_DIR="") == (
        "changed",
        "base directory",
    )


def test_why_knows_the_last_compile_when_the_agent_is_another(
    remembering: Farm, project: Path
) -> None:
    compile_(remembering, project)
    compile_(remembering, project)
    stop_agent(remembering)
    answer = ask(remembering, project, "why", "x.c")["answers"][0]
    assert (answer["outcome"], answer["hits_since"]) == ("remote", 1)
    (project / "x.c").write_text(SOURCE + "int more;\n")
    compile_(remembering, project)
    assert cause(remembering, project, "x.c") == ("changed", str(project / "x.c"))


def test_why_names_a_file_that_was_missed_and_is_there_now(
    remembering: Farm, project: Path
) -> None:
    (project / "x.c").write_text(SOURCE + HIDDEN)
    compile_(remembering, project)
    (project / "hidden.h").write_text("")
    expected = ("refused", str(project / "hidden.h"))
    assert cause(remembering, project, *COMMAND) == expected
    compile_(remembering, project, strict=False)
    assert cause(remembering, project, "x.c") == expected


def test_why_says_that_a_result_was_evicted(remembering: Farm, project: Path) -> None:
    compile_(remembering, project)
    stop_agent(remembering)
    store = Path(remembering.local.environment["ZCC_STATE_DIR"]) / "cache" / "results.sqlite"
    with closing(sqlite3.connect(store)) as db, db:
        db.execute("DELETE FROM results")
    assert cause(remembering, project, *COMMAND) == ("evicted", "")


def test_why_says_that_the_cache_is_off_or_the_command_none_for_it(
    remembering: Farm, project: Path
) -> None:
    compile_(remembering, project)
    assert cause(remembering, project, *COMMAND, ZCC_CACHE="off") == ("cache-off", "")
    (project / "d.c").write_text("char *s = __DATE__;\n")
    compile_(remembering, project, "gcc", "-c", "d.c", strict=False)
    assert cause(remembering, project, "d.c")[0] == "not-a-job"
    kind, detail = cause(remembering, project, "gcc", "x.o", "-o", "x")
    assert (kind, detail.partition(" ")[0]) == ("not-a-job", "not-a-compile")


def test_why_of_what_was_never_compiled_is_an_error(remembering: Farm, project: Path) -> None:
    done = remembering.run("zcc", "why", "nothing.c", cwd=project)
    assert done.returncode == 1
    assert b"no compile of nothing.c is known" in done.stderr


# ---- stats ------------------------------------------------------------------------------------


def test_a_remote_compile_and_a_hit_are_accounted_for(remembering: Farm, project: Path) -> None:
    before = remembering.stats()
    compile_(remembering, project)
    compile_(remembering, project)
    after = remembering.stats()

    def grown(name: str) -> float:
        return float(after[name] - before[name])

    assert grown("calls") == 2
    assert grown("remote_wall_s") > 0
    assert grown("saved_cpu_s") == pytest.approx(grown("remote_cpu_s"))
    assert grown("cache_written") == 1
    # What the farm had not seen has travelled: this header at least.
    assert (project / "a.h").stat().st_size <= grown("asked_bytes") <= grown("input_bytes")
    parts = ("queued_s", "sending_s", "remote_wall_s", "returning_s", "overhead_s")
    assert min(map(grown, parts)) >= 0
    assert 0 < sum(map(grown, parts)) < 60
    times = after["answer_times"]["local_hit"]
    assert times["count"] == before["answer_times"]["local_hit"]["count"] + 1
    assert 0 < times["p50_s"] <= times["p99_s"] < 5
    assert after["cache"]["results"] > 0
    assert after["cache"]["limit_bytes"] == 5 << 30
    assert after["agent"]["connected"]


def test_a_variable_that_cannot_be_obeyed_is_noted_once(remembering: Farm, project: Path) -> None:
    for _ in range(2):
        compile_(remembering, project, ZCC_VERIFY="much")
    (note,) = [each for each in ask(remembering, project, "stats")["notes"] if "VERIFY" in each]
    assert note == "ZCC_VERIFY=much is not obeyed: expected a share: a number from 0 to 1"


def test_builds_of_two_projects_are_told_apart(remembering: Farm, project: Path) -> None:
    other = project / "other"
    other.mkdir()
    (other / ".git").mkdir()
    for name in ("x.c", "a.h"):
        (other / name).write_text((project / name).read_text())
    compile_(remembering, project)
    compile_(remembering, project)
    compile_(remembering, other)
    latest, before = ask(remembering, project, "stats", "--builds")[:2]
    assert (latest["project"], latest["calls"]) == (str(other), 1)
    assert (before["project"], before["calls"]) == (str(project), 2)
    assert before["outcomes"]["local_hit"] == 1
    assert ask(remembering, project, "stats", "--build")["build"]["project"] == str(other)
    second = ask(remembering, project, "stats", "--build", "2")
    assert (second["build"]["project"], second["calls"]) == (str(project), 2)
    assert "build of" in text(remembering, project, "stats", "--build")
    assert ask(remembering, project, "stats", "--since", "5m")["calls"] >= 3
    assert ask(remembering, project, "stats", "--since", "2099-01-01")["calls"] == 0


def test_the_forms_agree(remembering: Farm, project: Path) -> None:
    compile_(remembering, project)
    document = ask(remembering, project, "stats")
    lines = text(remembering, project, "stats", "--format=ccache").splitlines()
    ccache = dict(line.split("\t") for line in lines)
    outcomes = document["outcomes"]
    assert int(ccache["direct_cache_hit"]) == outcomes["local_hit"] + outcomes["shared_hit"]
    assert int(ccache["remote_storage_miss"]) == outcomes["remote"]
    exposed = text(remembering, project, "stats", "--format=prometheus")
    assert f'zcc_outcomes_total{{outcome="remote"}} {outcomes["remote"]}\n' in exposed
    assert "zcc_connected 1\n" in exposed
    table = text(remembering, project, "stats")
    assert f"remote       {outcomes['remote']:>9}" in table
    assert "\x1b" not in table


def test_watch_shows_the_numbers_until_it_is_interrupted(remembering: Farm, project: Path) -> None:
    compile_(remembering, project)
    environment = remembering.local.environment | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    command = [str(BIN / "zcc"), "stats", "--json", "--watch", "0.1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
    assert watching.returncode == 0
    assert first["calls"] == second["calls"] > 0


def test_zero_keeps_what_why_knows(remembering: Farm, project: Path) -> None:
    compile_(remembering, project)
    stop_agent(remembering)
    text(remembering, project, "stats", "--zero")
    assert ask(remembering, project, "stats", "--builds") == []
    assert ask(remembering, project, "stats")["calls"] == 0
    assert cause(remembering, project, "x.c") == ("first", "")


def test_zero_begins_anew(remembering: Farm, project: Path) -> None:
    compile_(remembering, project)
    text(remembering, project, "stats", "--zero")
    assert ask(remembering, project, "stats")["calls"] == 0
    assert ask(remembering, project, "stats", "--builds") == []
    compile_(remembering, project)
    stop_agent(remembering)
    # What an agent counted outlives it.
    assert ask(remembering, project, "stats")["outcomes"]["local_hit"] == 1
    assert ask(remembering, project, "stats", "--build")["calls"] == 1
    assert os.path.exists(Path(remembering.local.environment["ZCC_STATE_DIR"]) / "stats.json")


def test_a_source_whose_name_is_no_text_is_counted_like_any_other(
    remembering: Farm, project: Path
) -> None:
    """Its name is in the reason why it runs here."""
    name = os.fsdecode(b"b\xff.c")
    (project / name).write_text("const char *day = __DATE__;\n")
    for _ in range(2):
        compile_(remembering, project, "gcc", "-c", name, strict=False)
    (answer,) = ask(remembering, project, "why", name)["answers"]
    assert answer["cause"]["kind"] == "not-a-job"
    assert "time-macro" in answer["cause"]["detail"]
