"""Which subcommands `zcc` has, and where each of them is.

A subcommand's modules are imported when it runs, or when help is asked for all: those of all take twice the CPU
time of any one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import typer

from zcc.cli.program import Program

# What stands behind the subcommand is another program's command line: to be run, or to be read.
_RUNS = {"allow_interspersed_args": False}
_READS = {"allow_interspersed_args": False, "ignore_unknown_options": True}


@dataclass(frozen=True, slots=True)
class Subcommand:
    """`attribute` of `module` (below zcc.cli) is the function of a command, or the group of further ones."""

    module: str
    attribute: str
    context_settings: Mapping[str, bool] = field(default_factory=dict)
    # The name of the command's class, in the same module; empty: the usual one.
    cls: str = ""


# In the order of `zcc --help`.
SUBCOMMANDS: Mapping[str, Subcommand] = {
    "up": Subcommand("up", "up", _RUNS),
    "watch": Subcommand("watch", "watch", _RUNS),
    "publish": Subcommand("publish", "publish", _RUNS),
    "farms": Subcommand("finding", "farms"),
    "join": Subcommand("farm", "join", cls="JoinCommand"),
    "leave": Subcommand("farm", "leave"),
    "nodes": Subcommand("farm", "nodes"),
    "slots": Subcommand("farm", "slots"),
    "stats": Subcommand("stats", "stats", cls="StatsCommand"),
    "config": Subcommand("show_config", "app"),
    "doctor": Subcommand("doctor", "doctor"),
    "explain": Subcommand("explain", "explain", _READS),
    "why": Subcommand("why", "why", _READS),
    "why-node": Subcommand("why_node", "why_node"),
    "events": Subcommand("events", "events"),
    "trace": Subcommand("events", "trace"),
    "monitor": Subcommand("monitor", "monitor"),
    "report": Subcommand("monitor", "report"),
    "top": Subcommand("top", "top"),
    "masquerade": Subcommand("masquerade", "masquerade"),
    "toolchain": Subcommand("explain", "toolchain"),
    "agent": Subcommand("agent", "app"),
    "cache": Subcommand("cache", "app"),
    "version": Subcommand("version", "version"),
    "completion": Subcommand("completion", "completion"),
}


def add(app: Program, name: str) -> None:
    """Give the program this subcommand."""
    subcommand = SUBCOMMANDS[name]
    module = import_module(f"zcc.cli.{subcommand.module}")
    found = getattr(module, subcommand.attribute)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
        return
    settings: dict[str, Any] = {}
    if subcommand.context_settings:
        settings["context_settings"] = dict(subcommand.context_settings)
    if subcommand.cls:
        settings["cls"] = getattr(module, subcommand.cls)
    app.command(name, **settings)(found)
