"""`zcc stats`, `zcc config`, `zcc doctor`."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from typing import Any

import typer

from zcc import config as configuration
from zcc import farm
from zcc.agent.stats import read
from zcc.cli import agent
from zcc.errors import ConfigError


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
    ways = document["ways"]
    typer.echo(f"inputs scanned {ways['scanned']}, listed {ways['listed']}")
    for name, label in (("proof_failures", "proof failures"), ("discrepancies", "discrepancies")):
        typer.echo(f"{label:16} {document[name]:>11}")
    typer.echo(
        f"sent {_size(document['bytes_sent'])}, received {_size(document['bytes_received'])}"
    )
    for note in document["notes"]:
        typer.echo(f"note: {note}")


def _size(count: float) -> str:
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


def doctor() -> None:
    """Check every part that a compile needs; each line is a verdict and what to do."""
    sound = True
    for is_well, what, advice in _checks():
        sound = sound and is_well
        typer.echo(
            f"{'ok  ' if is_well else 'FAIL'}  {what}" + ("" if is_well else f"\n      {advice}")
        )
    if not sound:
        raise typer.Exit(1)


def _checks() -> list[tuple[bool, str, str]]:
    environment = os.environ
    try:
        loaded = configuration.load(environment)
        access = farm.load_access(configuration.config_dir(environment), loaded.broker)
    except ConfigError as error:
        return [(False, f"configuration: {error}", "mend or remove that file")]
    rows = [(True, "configuration", "")]
    for name in (loaded.cc, loaded.cxx):
        found = shutil.which(name)
        rows.append(
            (
                found is not None,
                f"compiler {name}: {found}",
                f"install {name}, or set it in config.toml",
            )
        )
    if access is None:
        advice = "zcc-broker token --role client on the broker, then zcc join TOKEN; or zcc up"
        rows.append((False, "no farm joined: all compiles are local", advice))
        return rows
    rows.append((True, f"key for the farm {access.farm} at {access.endpoint}", ""))
    status = agent.ask({"op": "status"})
    if status is None:
        agent.start()
        status = agent.ask({"op": "status"})
    rows.append((status is not None, "agent", "see agent.log in the state directory"))
    answer = agent.ask({"op": "nodes"}) or {}
    listed = answer.get("nodes")
    if not isinstance(listed, list):
        why = (status or {}).get("refusal") or answer.get("error", "no answer")
        rows.append(
            (False, f"broker: {why}", "is it running, is its port open, is the key revoked?")
        )
        return rows
    rows.append((True, "broker answers", ""))
    slots = sum(row["slots"] for row in listed)
    rows.append((slots > 0, f"{len(listed)} nodes with {slots} slots", "start one: zcc-node serve"))
    return rows
