"""`docs/reference/commands.md`, made of what the three programs' `--help` is made of: `make docs` writes it.

It stands here and not in `zcc/cli`, as `zcc` imports neither broker nor node.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import typer

from broker.commands.options import DEFAULT_STATE as BROKER_STATE
from broker.main import app as broker_app
from node.main import DEFAULT_STATE as NODE_STATE
from node.main import app as node_app
from zcc.cli.help import help_of
from zcc.cli.main import command_line

zcc_app = command_line()

PROGRAMS = (
    (
        "zcc",
        zcc_app,
        "On a machine that compiles: in front of a compiler, or with one of these words.",
    ),
    ("zcc-broker", broker_app, "On the broker's machine."),
    ("zcc-node", node_app, "On a worker machine."),
)
COLUMNS = 100
# Defaults that are another on each machine, and what the page says in their place.
_PLACES = {
    BROKER_STATE: "~/.local/state/zcc-broker",
    NODE_STATE: "~/.local/state/zcc-node; of root /var/lib/zcc-node",
    os.uname().nodename: "the host's name",
}
_HEAD = """\
# Commands

<!-- Made by `make docs` from what --help is made of: do not edit it. -->

Three programs: `zcc` for who compiles, `zcc-broker` for who runs a farm, `zcc-node` for who lends a machine.
`PROGRAM COMMAND --help` prints what stands here.
[The first word behind `zcc`](../guide/everyday.md#what-the-first-word-means) tells commands from compilers.

A size is `500M` or `10G` (units of 1024), a time `30s`, `5m`, `1h` or `7d`, a share `1%` or `0.01`.
"""


def page() -> str:
    return "".join(f"{line}\n" for line in _lines())


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The program and all that it can be told, each with its whole name; depth first."""
    yield name, command
    for below, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from commands(f"{name} {below}", each)


def _lines() -> Iterator[str]:
    yield _HEAD
    found = [
        (program, text, list(commands(program, typer.main.get_command(app))))
        for program, app, text in PROGRAMS
    ]
    for program, text, each in found:
        yield f"**[`{program}`](#{program})** {text}\n"
        yield "| command | what it does |"
        yield "| --- | --- |"
        for name, command in each[1:]:
            if not hasattr(command, "commands") or command.invoke_without_command:
                yield f"| [`{name}`](#{name.replace(' ', '-')}) | {_summary(command)} |"
        yield ""
    for program, _, each in found:
        for name, command in each:
            yield f"{'##' if name == program else '###'} {name}\n"
            yield f"```text\n{_help(name, command)}\n```\n"


def _summary(command: Any) -> str:
    """The first paragraph of its help, in a cell of a table."""
    text = " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())
    return text.replace("|", r"\|")


def without_places(command: Any) -> None:
    """Defaults that are this machine's are said in words from now on."""
    for each in command.params:
        if isinstance(each.default, str) and each.default in _PLACES:
            each.show_default = _PLACES[each.default]


def _help(name: str, command: Any) -> str:
    without_places(command)
    context = command.make_context(name, [], resilient_parsing=True)
    return help_of(command, context, COLUMNS)


if __name__ == "__main__":
    print(page(), end="")
