"""`zcc why-node FILE` and `zcc why-node JOB`: which nodes could have had a job, and why was it this one?"""

from __future__ import annotations

import json
import os
from typing import Any

import typer

from zcc.agent.history.last_compiles import Last, lasts_of
from zcc.cli import agent, terminal
from zcc.cli.placements import beginning_of, told
from zcc.cli.terminal import say
from zcc.cli.why import moment, notebook, pair
from zcc.errors import ConfigError


def why_node(
    what: str = typer.Argument(
        "",
        metavar="FILE|JOB",
        help="A source, an object, or how a job's key begins. Without one: the latest jobs, a line each.",
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object, for scripts."),
) -> None:
    """Say which nodes a job could have gone to, why it went where it did, and what came of it.

    For each node: how many jobs it held of how many slots, when the job would have ended there, and what stood
    against it. A member sees its own jobs; an admin's key and `zcc-broker why-node` see all. The broker keeps
    the last 20,000 decisions, until it is restarted.
    """
    last, beginning = _job_of(what)
    rows = _ask(beginning)
    if as_json:
        typer.echo(json.dumps({"placed": rows}))
        return
    if last is not None:
        say(f"{pair(last.source, last.output)}, compiled {moment(last.made_s)}")
    if not rows:
        raise ConfigError("the broker keeps no decision on it: too long ago, or nothing was placed")
    for line in told(rows, terminal.width(), tells_all=bool(what)):
        print(line)


def _job_of(what: str) -> tuple[Last | None, bytes]:
    """The last compile of this file, and its job's key; or what the key begins with.

    Raises:
        ConfigError: it is neither, or was never handed to the farm.
    """
    agent.ask({"op": "settle"})
    found = lasts_of(notebook(), os.path.realpath(os.fsencode(what))) if what else []
    if found:
        last = next((each for each in found if each.outcome == "remote"), None)
        if last is None:
            reason = f" ({found[0].reason})" if found[0].reason else ""
            outcome = found[0].outcome.replace("_", " ")
            raise ConfigError(f"the last compile of {what} went to no node: {outcome}{reason}")
        return last, last.key
    beginning = beginning_of(what)
    if beginning is None or os.path.exists(what):
        raise ConfigError(f"no compile of {what} is known, and it is no beginning of a job's key")
    return None, beginning


def _ask(beginning: bytes) -> list[dict[str, Any]]:
    question: dict[str, object] = {"op": "placed", "job": beginning.hex()}
    answer = agent.ask(question)
    if answer is None:
        agent.launch()
        answer = agent.ask(question)
    rows = answer.get("placed") if answer else None
    if not isinstance(rows, list):
        why = answer.get("error") if answer else "no agent"
        raise ConfigError(f"the broker cannot be asked: {why} (zcc doctor)")
    return rows
