"""`zcc stats`, `zcc config`."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import typer

from zcc import config as configuration
from zcc.agent.stats import read
from zcc.cli import agent


def stats(
    as_json: bool = typer.Option(False, "--json", help="One JSON object, for scripts."),
    zero: bool = typer.Option(False, "--zero", help="Set all counters to nought."),
) -> None:
    """What happened to the compiles: where they ran, and why not elsewhere."""
    path = os.path.join(configuration.state_dir(os.environ), "stats.json")
    if zero:
        if agent.ask({"op": "zero"}) is None and os.path.exists(path):
            os.unlink(path)
        return
    document: dict[str, Any] = agent.ask({"op": "stats"}) or read(path)
    if as_json:
        typer.echo(json.dumps(document))
        return
    if not document.get("calls"):
        typer.echo("no compiles yet: put zcc in front of the compiler (zcc gcc -c x.c)")
        return
    _print_stats(document)


def _print_stats(document: dict[str, Any]) -> None:
    calls = document["calls"]
    typer.echo(f"calls {calls:>22}")
    for name, count in document["outcomes"].items():
        if count:
            typer.echo(f"  {name:12} {count:>12}  {100 * count / calls:5.1f}%")
    if document["local_reasons"]:
        typer.echo("local, by reason")
        for name, count in document["local_reasons"].items():
            typer.echo(f"  {name:24} {count:>8}")
    if document.get("unknown_options"):
        typer.echo("options that this zcc does not know")
        for name, count in document["unknown_options"].items():
            typer.echo(f"  {name:24} {count:>8}")
    ways = document["ways"]
    typer.echo(f"inputs scanned {ways['scanned']}, listed {ways['listed']}")
    for name, label in (("proof_failures", "proof failures"), ("discrepancies", "discrepancies")):
        typer.echo(f"{label:16} {document[name]:>11}")
    typer.echo(
        f"sent {size_text(document['bytes_sent'])}, received {size_text(document['bytes_received'])}"
    )
    for note in document["notes"]:
        typer.echo(f"note: {note}")


def size_text(count: float) -> str:
    """Bytes for people, in units of 1024."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.1f} GiB"


def config(as_json: bool = typer.Option(False, "--json")) -> None:
    """The configuration in force and where it comes from."""
    environment = os.environ
    values = dataclasses.asdict(configuration.load(environment))
    places = {
        "config_dir": configuration.config_dir(environment),
        "state_dir": configuration.state_dir(environment),
        "socket": configuration.socket_path(environment),
    }
    if as_json:
        typer.echo(json.dumps(places | values))
        return
    for name, value in (places | values).items():
        typer.echo(f"{name:18} {value}")
