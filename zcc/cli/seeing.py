"""`zcc config`."""

from __future__ import annotations

import dataclasses
import json
import os

import typer

from zcc import config as configuration


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
