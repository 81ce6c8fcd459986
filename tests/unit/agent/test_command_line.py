"""What a newcomer meets on the command line: help for everything, and words for what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner, Result

from broker.commands import tokens
from broker.errors import BrokerError, RegistryError
from broker.main import app as broker_app
from broker.membership.registry import Registry
from broker.state import broker_keys, record_serving
from cache.digest import digest_of
from cache.record import Record, Source
from cache.stores import DiskStore
from node.main import app as node_app
from node.naming import keep_name, settled_name
from zcc.agent.history.builds import Build
from zcc.agent.history.database import FILE_NAME as NOTEBOOK
from zcc.agent.history.database import Notebook
from zcc.agent.history.minutes import History
from zcc.agent.results.local_cache import SPACE
from zcc.cli.agent import told_status
from zcc.cli.explain import told
from zcc.cli.main import command_line
from zcc.errors import ConfigError
from zcc.farm import spoken
from zcc.keys import new_key_pair
from zcc.member_id import member_id
from zcc.messages import PeerRole
from zcc.reasons import Reason

zcc_app = command_line()

BIN = Path(sys.executable).parent

PROGRAMS = {"zcc": zcc_app, "zcc-broker": broker_app, "zcc-node": node_app}


def run(app: typer.Typer, *words: str) -> Result:
    """The command's output; what it would print as an error is raised."""
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, Exception):
        raise result.exception
    return result


def _below(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _below((*words, name), each)


COMMANDS = [
    pytest.param(words, command, id=" ".join(words))
    for program, app in PROGRAMS.items()
    for words, command in _below((program,), typer.main.get_command(app))
]


# ---- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_each_command_option_and_argument_has_its_help(
    words: tuple[str, ...], command: Any
) -> None:
    assert command.help
    bare = [each.opts for each in command.params if not (each.help or "").strip()]
    assert not bare, f"{' '.join(words)}: no help for {bare}"


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_help_names_what_a_value_means_and_no_python_type(
    words: tuple[str, ...], command: Any
) -> None:
    shown = CliRunner().invoke(PROGRAMS[words[0]], [*words[1:], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert not re.findall(r"<(?:bool|str|int|float|list\b[^>]*)>", shown.stdout)


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_each_number_has_a_least_and_a_most(words: tuple[str, ...], command: Any) -> None:
    numbers = [each for each in command.params if _is_number(each.type_descriptor.annotation)]
    infos = [(each.opts, each.type_descriptor.parameter_info) for each in numbers]
    endless = [opts for opts, info in infos if info.min is None or info.max is None]
    assert not endless, f"{' '.join(words)}: {endless}"


def _is_number(annotation: Any) -> bool:
    return bool({annotation, *get_args(annotation)} & {int, float})


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_completes_its_subcommands_in_a_shell(program: str) -> None:
    name = f"_{program.upper().replace('-', '_')}_COMPLETE"
    asked = {name: "complete_bash", "COMP_WORDS": f"{program} ", "COMP_CWORD": "1"}
    done = CliRunner().invoke(PROGRAMS[program], [], prog_name=program, env=asked)
    commands = typer.main.get_command(PROGRAMS[program]).commands  # type: ignore[attr-defined]
    assert set(done.stdout.split()) == set(commands)


# ---- the broker's state -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("keys",),
        ("token", "--role", "node"),
        ("revoke", "somebody"),
        ("cache", "show"),
        ("cache", "purge", "--all"),
        ("storage-token", "--label", "ci"),
        ("storage-tokens",),
        ("storage-revoke", "ci"),
        ("storage-purge", "12345678"),
    ],
    ids=" ".join,
)
def test_a_mistyped_state_directory_is_named_and_not_made(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "START_S", 0.2)
    wrong = tmp_path / "wrong"
    with pytest.raises(BrokerError, match=r"no broker has its state in .*wrong: .*serve --state"):
        run(broker_app, *words, "--state", str(wrong))
    assert not wrong.exists()


def test_a_broker_s_state_is_enough_to_list_its_keys(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))
    Registry(str(tmp_path)).close()
    assert run(broker_app, "keys", "--state", str(tmp_path), "--json").stdout == "[]\n"


def test_help_for_what_is_no_subcommand_says_which_was_perhaps_meant() -> None:
    result = CliRunner().invoke(zcc_app, ["help", "statss"])
    assert result.exit_code == 2
    assert "did you mean: zcc help stats?" in result.output


def test_help_goes_down_to_a_command_of_a_subcommand() -> None:
    assert (
        "zcc agent status [OPTIONS]"
        in CliRunner().invoke(zcc_app, ["help", "agent", "status"], prog_name="zcc").output
    )
    assert CliRunner().invoke(zcc_app, ["help", "agent", "nosuch"]).exit_code == 2


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("zcc", ["up", "--nodes", "0", "--", "true"]),
        ("zcc", ["up", "--slots", "-1", "--", "true"]),
        ("zcc", ["publish", "--slots", "-1", "--", "true"]),
        ("zcc-node", ["serve", "--slots", "-3"]),
    ],
)
def test_a_count_that_is_none_is_refused_before_anything_starts(
    program: str, words: list[str]
) -> None:
    result = CliRunner().invoke(PROGRAMS[program], words)
    assert result.exit_code == 2
    assert words[1] in result.output


def test_a_mistyped_cache_directory_is_named_and_not_made(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    with pytest.raises(ConfigError, match=r"wrong holds no results: zcc config"):
        run(zcc_app, "cache", "show", "--dir", str(wrong))
    assert not wrong.exists()


# ---- how a program ends -------------------------------------------------------------------------


def output_to(place: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """The command, with its output going there."""
    line = f"exec {shlex.join((str(BIN / words[0]), *words[1:]))} {place}"
    return subprocess.run(["sh", "-c", line], capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("words", [("zcc", "config"), ("zcc-broker", "--help"), ("zcc-node", "-h")])
def test_output_that_nobody_takes_ends_a_program_as_any_other(words: tuple[str, ...]) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    with subprocess.Popen(
        [BIN / words[0], *words[1:]], stdout=writable, stderr=subprocess.PIPE
    ) as process:
        os.close(writable)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (-signal.SIGPIPE, b"")
    full = output_to(">/dev/full", *words)
    assert full.returncode == 1
    assert re.fullmatch(
        rf"{words[0]}: (standard output: )?No space left on device\n", full.stderr.decode()
    )
    closed = output_to(">&-", *words)
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_more_output_than_a_pipe_holds_ends_quietly_too(tmp_path: Path) -> None:
    """It fails in the middle of the command, not at its end."""
    broker_keys(str(tmp_path))
    with closing(Registry(str(tmp_path))) as registry:
        for _ in range(300):
            registry.add(new_key_pair().public, PeerRole.CLIENT, "x" * 100, 0.0)
    line = f"{BIN}/zcc-broker keys --json --state {tmp_path} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (b"[\n141\n", b"")


# ---- purging ----------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> str:
    """A directory with one result, compiled by the node `n1` of a user's job."""
    store = DiskStore(str(tmp_path), SPACE, 1 << 30)
    source = Source(digest_of(b"gcc 12"), "n1", "k" * 40, "u" * 40)
    store.put_records([Record(digest_of(b"job"), b"body", (), 4, source, time.time())])
    store.close()
    return str(tmp_path)


@pytest.mark.parametrize(
    "words", [("--node", "nosuch"), ("--node", "x" * 40), ("--user", "nosuch")], ids=" ".join
)
def test_a_purge_of_a_name_that_no_result_bears_is_an_error(
    words: tuple[str, ...], results: str
) -> None:
    with pytest.raises(ConfigError, match=rf"no result here is .*{words[1]}: there are results"):
        run(zcc_app, "cache", "purge", *words, "--dir", results)


def test_what_purge_and_trim_did_can_be_read_by_scripts(results: str) -> None:
    purged = run(zcc_app, "cache", "purge", "--node", "n1", "--dir", results, "--json")
    assert json.loads(purged.stdout) == {"forgotten": 1, "removed": 0, "freed_bytes": 0}
    trimmed = run(zcc_app, "cache", "trim", "1G", "--dir", results, "--json")
    assert json.loads(trimmed.stdout) == {"forgotten": 0, "removed": 0, "freed_bytes": 0}


def test_what_storage_purge_did_can_be_read_by_scripts(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))
    with closing(Registry(str(tmp_path))) as registry:
        registry.add("k" * 40, PeerRole.CLIENT, "desk", time.time())
    done = run(broker_app, "storage-purge", "k" * 8, "--state", str(tmp_path), "--json")
    assert json.loads(done.stdout) == {"removed": 0}


def test_an_audit_of_a_node_that_made_nothing_is_an_error_too(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))
    record_serving(str(tmp_path), "tcp://127.0.0.1:1", "farm")
    with closing(DiskStore(str(tmp_path), "farm", 1 << 30)) as store:
        source = Source(digest_of(b"gcc 12"), "n1", "k" * 40, "u" * 40)
        store.put_records([Record(digest_of(b"job"), b"body", (), 4, source, time.time())])
    for name in ("zz", "k-00000000", "x" * 40):
        with pytest.raises(ConfigError, match=r"no result here is compiled by .*: there are resul"):
            run(broker_app, "audit", "--node", name, "--state", str(tmp_path))
    for name in ("n1", "k" * 40, member_id("k" * 40)):
        with pytest.raises(BrokerError, match="no broker serves"):  # it is looked at first
            run(broker_app, "audit", "--node", name, "--state", str(tmp_path))


# ---- builds -----------------------------------------------------------------------------------


@pytest.fixture
def two_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZCC_STATE_DIR", str(tmp_path))
    notebook = Notebook(str(tmp_path / NOTEBOOK))
    history, now_s = History(notebook, agent=1), time.time()
    for number, project in enumerate((b"/older", b"/newer"), 1):
        build = Build(number, project, now_s + number, now_s + number)
        history.tally_of(build, now_s).numbers["calls"] += 1
    history.flush(now_s)
    notebook.close()


@pytest.mark.usefixtures("two_builds")
def test_a_listed_build_s_number_is_the_one_that_build_takes() -> None:
    for listed in json.loads(run(zcc_app, "stats", "--builds", "--json").stdout):
        shown = run(zcc_app, "stats", "--json", "--build", str(listed["number"])).stdout
        assert json.loads(shown)["build"]["project"] == listed["project"]
    latest = json.loads(run(zcc_app, "stats", "--build", "--json").stdout)["build"]
    assert (latest["number"], latest["project"]) == (1, "/newer")


@pytest.mark.usefixtures("two_builds")
@pytest.mark.parametrize("number", ["0", "x", "-1", "1.5", "999"])
def test_a_build_that_there_is_not_is_an_error_that_says_what_to_do(number: str) -> None:
    with pytest.raises(ConfigError, match=rf"--build {number}: .*zcc stats --builds lists them"):
        run(zcc_app, "stats", f"--build={number}" if number[0] == "-" else "--build", *(
            () if number[0] == "-" else (number,)
        ))  # fmt: skip


# ---- names ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("two_builds")
@pytest.mark.parametrize(
    "words",
    [
        ("--zero", "--build", "1"),
        ("--zero", "--since", "1h"),
        ("--zero", "--json"),
        ("--zero", "--watch", "1"),
        ("--build", "1", "--builds"),
        ("--build", "1", "--since", "1h"),
        ("--builds", "--since", "1h"),
        ("--builds", "--format", "prometheus"),
        ("--builds", "--format", "ccache"),
        ("--json", "--format", "table"),
        ("--json", "--format", "prometheus"),
    ],
    ids=" ".join,
)
def test_options_of_stats_that_exclude_each_other_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        run(zcc_app, "stats", *words)
    assert len(json.loads(run(zcc_app, "stats", "--builds", "--json").stdout)) == 2
    run(zcc_app, "stats", "--json", "--format", "json")


@pytest.mark.parametrize("seconds", ["nan", "-1", "0", "inf", "1e20", "soon"])
def test_a_watch_s_seconds_are_refused_in_words(seconds: str) -> None:
    with pytest.raises(ConfigError, match=f"--watch {seconds}: expected seconds"):
        run(zcc_app, "stats", f"--watch={seconds}")


def test_a_beginning_that_is_too_short_is_told_apart_from_no_key(tmp_path: Path) -> None:
    with closing(Registry(str(tmp_path))) as registry:
        registry.add(new_key_pair().public, PeerRole.NODE, "n2", 0.0)
        with pytest.raises(RegistryError, match="from 3 letters on"):
            registry.revoke("n", 1.0)
        with pytest.raises(RegistryError, match=r"zcc-broker keys$"):
            registry.revoke("n27", 1.0)


def test_a_node_is_called_as_it_joined(tmp_path: Path) -> None:
    state = str(tmp_path)
    assert settled_name(state, "") == os.uname().nodename
    keep_name(state, "attic")
    assert settled_name(state, "") == "attic"


def test_a_node_that_is_renamed_stays_so_and_says_what_the_broker_s_list_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_name(str(tmp_path), "attic")
    assert settled_name(str(tmp_path), "cellar") == "cellar"
    assert "called cellar from now on; zcc-broker keys lists its key as attic" in caplog.text
    assert settled_name(str(tmp_path), "") == "cellar"


def test_a_farm_without_a_name_is_just_the_farm() -> None:
    assert spoken("farm") == "the farm"
    assert spoken("blue") == "the farm blue"


# ---- words ------------------------------------------------------------------------------------

STATUS: dict[str, Any] = {
    "version": "1.0", "pid": 7, "uptime_s": 65.0, "calls": 2, "slots": {"limit": 4, "used": 1},
    "broker": None, "farm": None, "connected": False, "refusal": "",
    "standing": {"processors": 4, "nice": 5, "cgroup": "/user.slice/x", "remarks": ["runs slowly"]},
    "memory": {
        "resident_bytes": 50 << 20, "limit_bytes": 256 << 20,
        "maps": {name: {"entries": 1, "bytes": at << 20} for at, name in enumerate("abcd")},
    },
}  # fmt: skip


def test_the_agent_s_state_is_told_in_words() -> None:
    assert told_status(STATUS) == [
        "agent        zcc 1.0, process 7, started 1 min 5 s ago",
        "farm         none joined, so all compiles run here (zcc join TOKEN)",
        "in hand      2 calls",
        "local slots  1 of 4 taken",
        "memory       50.0 MiB; may remember 256.0 MiB: d 3.0 MiB, c 2.0 MiB, b 1.0 MiB",
        "processors   4, niceness 5, in /user.slice/x",
        "odd          runs slowly",
    ]
    before_an_upgrade = {k: v for k, v in STATUS.items() if k not in ("standing", "memory")}
    assert len(told_status(before_an_upgrade)) == 4
    joined = STATUS | {"broker": "tcp://b:1", "farm": "blue"}
    assert told_status(joined | {"connected": True})[1] == "farm         blue, tcp://b:1, connected"
    assert "not connected: revoked" in told_status(joined | {"refusal": "revoked"})[1]
    assert told_status(joined | {"dialling": True})[1] == "farm         blue, tcp://b:1, dialling"


EXPLAINED: dict[str, Any] = {
    "arguments": [["-c", "carried", ""]], "compiler": "/usr/bin/gcc", "way": "scanned", "files": 3,
    "bytes": 2048, "outputs": ["/p/x.o", "/p/x.d"], "toolchain": "ab", "job_bytes": 300, "key": "cd",
    "base_dir": {"directory": "/p", "is_used": True},
}  # fmt: skip


def test_an_explanation_is_told_in_words() -> None:
    lines = list(told(EXPLAINED))
    assert "inputs       3 files, 2.0 KiB" in lines
    assert lines[4:6] == ["outputs      /p/x.o", "             /p/x.d"]
    assert lines[-1].startswith("base_dir     /p, names are relative to it")
    in_place = told(EXPLAINED | {"base_dir": {"directory": "/p", "is_used": False}})
    assert "/p, but this command is compiled in place" in list(in_place)[-1]
    here = list(told({
        "arguments": [], "compiler": "/usr/bin/gcc", "way": "local", "reason": "no-source",
        "detail": "", "base_dir": {"directory": "", "is_used": False},
    }))  # fmt: skip
    assert here[1:] == [
        "way          local: no-source",
        f"why          {Reason.NO_SOURCE.sentence}",
        "do           Name a source.",
        "base_dir     none is in force",
    ]


def test_config_shows_which_checkout_auto_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p" / ".git").mkdir(parents=True)
    (tmp_path / "p" / "src").mkdir()
    monkeypatch.chdir(tmp_path / "p" / "src")
    for name in ("ZCC_CONFIG_DIR", "ZCC_STATE_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("ZCC_BASE_DIR", "auto")
    shown = json.loads(run(zcc_app, "config", "--json").stdout)
    assert (shown["base_dir"], shown["base_in_force"]) == ("auto", str(tmp_path / "p"))
    monkeypatch.setenv("ZCC_BASE_DIR", "")
    assert re.search(r"^base_in_force +none$", run(zcc_app, "config").stdout, re.MULTILINE)
