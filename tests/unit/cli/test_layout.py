"""What people read fits 80 columns and 60: no line is longer, no word is cut, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from broker.main import app as broker_app
from node.main import app as node_app
from zcc.agent.history.tally import NUMBERS, OUTCOMES, Tally
from zcc.cli import agent, doctor
from zcc.cli import stats as stats_command
from zcc.cli.doctor import CheckResult, CheckState
from zcc.cli.explain import told
from zcc.cli.farm import told_nodes
from zcc.cli.figures import table as figures_table
from zcc.cli.help import help_of
from zcc.cli.layout import fold, table
from zcc.cli.main import command_line

zcc_app = command_line()

WIDTHS = (80, 60)


def words(lines: list[str]) -> list[str]:
    return " ".join(lines).split()


def assert_fits(lines: list[str], whole: list[str], columns: int) -> None:
    for line in lines:
        assert len(line) <= columns or len(line.split()) == 1  # a path
    assert words(lines) == words(whole)


# ---- lines ----


@given(
    st.lists(st.text("ab-./", min_size=1, max_size=30), min_size=1, max_size=20),
    st.integers(20, 90),
)
def test_a_folded_text_has_the_same_words_and_no_longer_lines_than_it_must(
    parts: list[str], columns: int
) -> None:
    lines = fold(" ".join(parts), columns, "  ")
    assert words(lines) == parts
    for line in lines:
        assert len(line) <= columns or len(line.split()) == 1


def test_what_is_piped_stays_on_one_line() -> None:
    assert fold("word " * 100, 0) == ["word " * 100]


def test_the_text_goes_on_below_itself_and_not_below_its_label() -> None:
    assert fold("health         one two three four", 32) == [
        "health         one two three",
        "               four",
    ]
    assert fold("compiled today: one two three", 20) == ["compiled today: one", "  two three"]


def test_colours_take_no_columns() -> None:
    assert fold("\x1b[31mone two\x1b[0m", 20) == ["\x1b[31mone two\x1b[0m"]


HEADER = ("id", "what", "where")
ROWS = [("k-1", "a", "/a/long/way/to/go"), ("k-22", "bbb", "here and there")]


def test_a_table_that_is_too_wide_puts_the_last_field_below_and_then_each_row_in_a_block() -> None:
    assert table(HEADER, ROWS, 0, right=("what",)) == [
        "id    what  where",
        "k-1      a  /a/long/way/to/go",
        "k-22   bbb  here and there",
    ]
    assert table(HEADER, ROWS, 25)[:4] == [
        "id    what",
        "    where",
        "k-1   a",
        "    /a/long/way/to/go",
    ]
    assert table(("id", "x" * 16, "y"), [("k-1", "a", "c")], 20) == [
        "k-1",
        f"  {'x' * 16} a,",
        "  y c",
    ]


# ---- commands ----


def document() -> dict[str, Any]:
    """All that `zcc stats` can show, with numbers as they are after a day."""
    tally = Tally()
    tally.outcomes.update(dict.fromkeys(OUTCOMES, 12_345))
    tally.numbers.update(dict.fromkeys(NUMBERS, 123_456.0))
    tally.ways.update({"scanned": 54_321, "listed": 4_321})
    tally.listed_reasons.update({"computed-include": 300, "assembler": 20, "module-map": 1})
    tally.local_reasons.update({"not-a-compile": 2_000, "compile-error": 100, "no-farm": 9})
    tally.nodes.update({f"node{at}.example.org": 10_000 for at in range(5)})
    for name in tally.answer_times:
        for took in (0.001, 0.002, 0.2, 12.0):
            tally.answer_times[name].add(took)
    return tally.as_dict() | {
        "agent": {"broker": "tcp://broker.example.org:8317", "connected": False, "refusal": ""},
        "cache": {"size_bytes": 4 << 30, "limit_bytes": 5 << 30, "results": 123_456},
        "notes": ["proof: /home/anna/project/include/config.h was looked for and is there"],
        "zeroed_at": 7.0,
        "updated_at": 9.5,
    }


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_numbers_fit(columns: int) -> None:
    title = "build of /home/anna/src/project, began 2026-11-25 10:00:00, took 4 min 10 s"
    whole = figures_table(document(), title, False)
    assert_fits(figures_table(document(), title, False, columns), whole, columns)
    assert max(map(len, whole)) > 80


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (1 << 20, "1.0 MiB of 4.0 MiB: 75.0% were there"),
        (4 << 20, "4.0 MiB of 4.0 MiB: 0.0% were there"),
        (6 << 20, "6.0 MiB, more than the 4.0 MiB of the remote compiles: others ended here"),
    ],
)
def test_no_more_is_sent_of_the_inputs_than_there_is(asked: int, said: str) -> None:
    numbers = document() | {"asked_bytes": asked, "input_bytes": 4 << 20}
    assert f"inputs sent    {said}" in figures_table(numbers, "all compiles", False)


class Build:
    """As `zcc.agent.history.minutes.PastBuild`."""

    begun_s, active_s, number = 1_790_000_000.0, 1_790_000_250.0, 1
    project = b"/home/anna/src/a-project-with-a-name"

    def __init__(self) -> None:
        self.tally = Tally()
        self.tally.numbers["calls"] = 12_345
        self.tally.numbers["bytes_sent"] = 1 << 30


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_builds_fit(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_command, "past_builds", lambda *_: [Build(), Build()])
    monkeypatch.setattr(agent, "ask", lambda _: None)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = stats_command._list_builds(stats_command.Format.TABLE).splitlines()
    assert max(map(len, lines)) <= columns
    assert lines.count(f"    {Build.project.decode()}") == 2


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_nodes_fit_and_say_why_one_is_not_ready(columns: int) -> None:
    row = {
        "name": "worker-17.build.example.org", "state": "paused", "mode": "proportional",
        "running": 12, "slots": 128, "all_slots": 256, "speed": 1.25, "load": 99.5,
        "finished": 1_234_567, "faults": 0,
        "reason": "the disk has 12 MiB left, and a toolchain of 240 MiB does not fit beside the inputs",
    }  # fmt: skip
    lines = told_nodes([row], columns)
    assert max(map(len, lines)) <= columns
    assert str(row["reason"]) in " ".join(words(lines))


def test_the_nodes_show_their_mode_and_live_slots_in_a_terminal_of_80_columns() -> None:
    row = {
        "name": "anna-desk", "state": "ready", "mode": "proportional",
        "running": 5, "slots": 3, "all_slots": 16, "speed": 1.25, "load": 13.5, "finished": 1_234,
        "faults": 0, "reason": "others leave 3 of 16 processors",
    }  # fmt: skip
    full = row | {"name": "b", "mode": "dedicated", "slots": 16, "reason": ""}
    assert told_nodes([row, full], 80) == [
        "node       state  mode            running  speed   load  jobs",
        "anna-desk  ready  proportional  5/3 of 16   1.25  13.50  1234",
        "b          ready  dedicated          5/16   1.25  13.50  1234",
        "anna-desk: others leave 3 of 16 processors",
    ]


def test_what_a_node_says_of_itself_gives_the_terminal_no_orders() -> None:
    row = {
        "name": "\x1b[2Jnode\n", "state": "paused", "mode": "\x1b[1m", "running": 0, "slots": 1,
        "all_slots": 1, "speed": 1.0, "load": 0.0, "finished": 0, "faults": 0,
        "reason": "no room\r\x1b]0;mine\x07\nnode-2 ready",
    }  # fmt: skip
    lines = told_nodes([row], 0)
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert "?[2Jnode?" in lines[1]


@pytest.mark.parametrize("columns", WIDTHS)
def test_what_zcc_makes_of_a_command_fits(columns: int) -> None:
    document = {
        "arguments": [
            ["-DNAME=1", "preprocessor", "a note of some words on what it is for and why"]
        ],
        "compiler": "/usr/bin/x86_64-linux-gnu-gcc-12",
        "way": "local",
        "reason": "output-not-plain",
        "detail": "the output is a link to another file, which the compiler would write through",
        "base_dir": {"directory": "/home/anna", "is_used": False},
    }
    whole = list(told(document))
    assert_fits([each for line in whole for each in fold(line, columns)], whole, columns)


def test_the_doctor_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    holds = "/opt/zcc/lib/python3.11/site-packages/bubblewrap isolates, filters and logs on this machine"
    found = CheckResult(
        CheckState.OK, f"sandbox: {holds}", "weaker than elsewhere: " + "so and so, " * 20
    )
    monkeypatch.setattr(doctor, "_sandbox", lambda: found)
    places = dict.fromkeys(("ZCC_CONFIG_DIR", "ZCC_STATE_DIR"), str(tmp_path))
    compilers = dict.fromkeys(("ZCC_CC", "ZCC_CXX"), "no-such-compiler")

    def shown(**extra: str) -> list[str]:
        done = CliRunner().invoke(zcc_app, ["doctor"], env={**places, **compilers, **extra})
        assert done.exit_code == 1
        return done.stdout.splitlines()

    whole = shown(COLUMNS="")
    assert max(map(len, whole)) > 80
    for columns in WIDTHS:
        assert_fits(shown(COLUMNS=str(columns)), whole, columns)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for below, each in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {below}", each)


HELPED = [
    pytest.param(name, command, id=name)
    for program, app in (("zcc", zcc_app), ("zcc-broker", broker_app), ("zcc-node", node_app))
    for name, command in _commands(program, typer.main.get_command(app))
]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize(("name", "command"), HELPED)
def test_each_help_fits(name: str, command: Any, columns: int) -> None:
    def shown(columns: int) -> list[str]:
        context = command.make_context(name, [], resilient_parsing=True)
        return help_of(command, context, columns).split("\n")

    assert_fits(shown(columns), shown(100), columns)
