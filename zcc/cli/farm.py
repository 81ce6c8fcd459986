"""`zcc join`, `zcc leave` and `zcc nodes`."""

from __future__ import annotations

import json
import os

import typer

from zcc import config, farm
from zcc.cli import agent, leaving
from zcc.errors import ConfigError


def join(
    token: str = typer.Argument(
        metavar="TOKEN", help="What `zcc-broker token --role client` printed."
    ),
    label: str = typer.Option(
        "", metavar="NAME", help="How the broker lists this key; default USER@HOST."
    ),
) -> None:
    """Enrol this user with a join token (`zcc-broker token --role client`).

    Who has a key keeps it: another token gives it another role, or takes it to another farm.
    """
    directory = config.config_dir(os.environ)
    name = label or f"{os.environ.get('USER', 'user')}@{os.uname().nodename}"
    access = farm.join(token, directory, name, ("client", "publisher", "admin", "monitor"))
    # A running agent knows the old access; the next compile starts one with the new.
    agent.ask({"op": "stop"})
    typer.echo(f"joined {farm.spoken(access.farm)} at {access.endpoint}")
    typer.echo("try it: zcc gcc -c hello.c && zcc stats")


def leave(yes: bool = leaving.YES, local: bool = leaving.LOCAL) -> None:
    """Leave the farm: the broker revokes this user's key, and it is removed here."""
    leaving.leave(config.config_dir(os.environ), "zcc join TOKEN", yes, local)
    agent.ask({"op": "stop"})


def nodes(
    as_json: bool = typer.Option(False, "--json", help="One JSON array, for scripts."),
) -> None:
    """The machines of the farm: slots, measured speed, state."""
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
    typer.echo(f"{'node':24} {'state':12} {'running':>9} {'speed':>6} {'load':>6} {'jobs':>7}")
    for row in rows:
        busy = f"{row['running']}/{row['slots']}"
        typer.echo(
            f"{row['name']:24} {row['state']:12} {busy:>9} {row['speed']:>6.2f}"
            f" {row['load']:>6.2f} {row['finished']:>7}"
        )
