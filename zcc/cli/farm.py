"""`zcc join`, `zcc leave`, `zcc nodes` and `zcc slots`."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from typing import Any

import typer

from zcc import config, farm
from zcc.cli import agent, joining, layout, leaving, terminal
from zcc.cli.terminal import say
from zcc.errors import ConfigError
from zcc.messages import PeerRole
from zcc.printable import printable
from zcc.service import purge

_NODES = ("node", "state", "mode", "running", "speed", "load", "jobs")


class JoinCommand(joining.DiscoveringCommand):
    """Of `zcc join`."""


def join(
    token: str = typer.Argument(
        "", metavar="TOKEN", show_default=False, help=joining.HELP.format("client")
    ),
    label: str = typer.Option(
        "", metavar="NAME", help="How the broker lists this key; default USER@HOST."
    ),
    discover: joining.Discover = None,
) -> None:
    """Enrol this user with a join token (`zcc-broker token --role client`).

    Who has a key keeps it: another token gives it another role, or takes it to another farm.
    """
    directory = config.config_dir(os.environ)
    name = label or f"{os.environ.get('USER', 'user')}@{os.uname().nodename}"
    told, endpoints = joining.told(token, discover)
    roles = ("client", "publisher", "admin", "monitor")
    access = farm.join(told, directory, name, roles, endpoints)
    # A running agent knows the old access; the next compile starts one with the new.
    agent.ask({"op": "stop"})
    say(f"joined {farm.spoken(access.farm)} at {access.endpoint}")
    is_monitor = access.role == PeerRole.MONITOR.value
    say("now: zcc monitor" if is_monitor else "try it: zcc gcc -c hello.c && zcc stats")


def leave(
    yes: bool = leaving.YES,
    local: bool = leaving.LOCAL,
    with_all: bool = leaving.PURGE,
) -> None:
    """Leave the farm: the broker revokes this user's key, and it is removed here."""
    directory = config.config_dir(os.environ)
    if not with_all:
        leaving.leave(directory, "zcc join TOKEN", yes, local)
        agent.ask({"op": "stop"})
        return
    found = purge.find(_holdings())
    purge.ask(found, leaving.told_first(directory), is_sure=yes)
    leaving.leave_if_member(directory, "zcc join TOKEN", local)
    agent.stop_and_wait()
    # An agent writes down what it knows when it ends.
    purge.remove(purge.find(_holdings()))
    say("nothing of zcc's is left but the program: pipx uninstall zcc-farm")


def _holdings() -> list[purge.Keeping]:
    """What this user's zcc keeps."""
    environment = os.environ
    state = config.state_dir(environment)
    runtime = os.path.dirname(config.socket_path(environment))
    try:
        cache = config.cache_dir(environment, config.load(environment))
    except ConfigError:  # a wrong setting must keep nobody here
        cache = config.cache_dir(environment, config.Config())
    return [
        purge.Keeping(config.config_dir(environment), (*purge.ACCESS_NAMES, config.FILE_NAME)),
        purge.Keeping(state, purge.AGENT_NAMES),
        purge.Keeping(cache, purge.CACHE_NAMES),
        purge.Keeping(runtime, purge.AGENT_NAMES),
    ]


def nodes(
    as_json: bool = typer.Option(False, "--json", help="One JSON array, for scripts."),
) -> None:
    """The machines of the farm: slots, mode, measured speed, state, and why some take fewer jobs or none."""
    answer = agent.ask({"op": "nodes"})
    if answer is None:
        agent.launch()
        answer = agent.ask({"op": "nodes"})
    rows = answer.get("nodes") if answer else None
    if not isinstance(rows, list):
        why = answer.get("error") if answer else "no agent"
        raise ConfigError(f"cannot list the nodes: {why} (zcc doctor)")
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for line in told_nodes(rows, terminal.width()):
        print(line)


def slots(
    as_json: bool = typer.Option(
        False, "--json", help="One JSON object: `local`, `farm` and `slots`, their sum."
    ),
) -> None:
    """How many compiles can run at a time now, for `make -j$(zcc slots)`: this machine's slots and this user's
    share of the farm's. Without a farm, or while it does not answer, the machine's alone."""
    counts = _count_slots()
    if as_json:
        typer.echo(json.dumps(counts))
        return
    typer.echo(counts["slots"])


def _count_slots() -> dict[str, int]:
    """A build must begin, whatever is wrong with the agent: `zcc doctor` is for that."""
    answer = agent.ask({"op": "slots"})
    if answer is None:
        with contextlib.suppress(ConfigError, OSError):
            agent.launch()
            answer = agent.ask({"op": "slots"})
    local, shared = (answer or {}).get("local"), (answer or {}).get("farm")
    if not isinstance(local, int) or not isinstance(shared, int):
        local, shared = config.load(os.environ).local_slots, 0
    return {"local": local, "farm": shared, "slots": local + shared}


def told_nodes(rows: list[dict[str, Any]], columns: int) -> list[str]:
    """The nodes in a table, and below it why some take no jobs or fewer. Names, modes and reasons are the
    nodes' own words. Behind a name that several have stands the node's key."""
    names = Counter(row["name"] for row in rows)

    def called(row: dict[str, Any]) -> str:
        key = row.get("member") if names[row["name"]] > 1 else ""
        return printable(f"{row['name']} ({key})" if key else row["name"])

    cells = [
        (
            called(row), printable(row["state"]), printable(row["mode"]) or "-",
            _places(row), f"{row['speed']:.2f}", f"{row['load']:.2f}", str(row["finished"]),
        )
        for row in rows
    ]  # fmt: skip
    lines = layout.table(_NODES, cells, columns, right=_NODES[3:])
    for row in rows:
        if row.get("reason"):
            told = f"{called(row)}: {printable(row['reason'])}"
            lines += layout.fold(told, columns, "  ")
    return lines


def _places(row: dict[str, Any]) -> str:
    """Jobs that run, slots that are lent now, and how many that could be."""
    of_all = f" of {row['all_slots']}" if row["all_slots"] > row["slots"] else ""
    return f"{row['running']}/{row['slots']}{of_all}"
