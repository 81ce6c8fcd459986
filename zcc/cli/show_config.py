"""`zcc config`."""

from __future__ import annotations

import dataclasses
import json
import os

import typer

from zcc import config as configuration
from zcc import farm
from zcc.agent.analysis.projects import Projects, base_dir_of
from zcc.agent.results.local_cache import CacheMode, mode_of
from zcc.agent.results.verifying import share_of
from zcc.cli.explain import home
from zcc.cli.terminal import say
from zcc.variables import wrong_in


def config(
    as_json: bool = typer.Option(False, "--json", help="One JSON object, for scripts."),
) -> None:
    """The configuration in force for a compile that is started here, now."""
    environment = os.environ
    loaded = configuration.load(environment)
    access = farm.load_access(configuration.config_dir(environment), loaded.broker)
    base_dir = os.fsdecode(base_dir_of(os.environb, os.fsencode(loaded.base_dir)))
    wrong = wrong_in(environment)
    values = dataclasses.asdict(loaded) | {
        "slots": loaded.local_slots,
        "broker": access.where if access is not None else "",
        "cache": mode_of(os.environb, CacheMode(loaded.cache)).value,
        "cache_dir": configuration.cache_dir(environment, loaded),
        "verify": share_of(dict(os.environb), loaded.verify),
        "base_dir": base_dir,
        "base_in_force": base_in_force(base_dir),
    }
    places = {
        "config_dir": configuration.config_dir(environment),
        "state_dir": configuration.state_dir(environment),
        "socket": configuration.socket_path(environment),
    }
    if as_json:
        typer.echo(json.dumps(places | values | {"wrong": wrong}))
        return
    for name, value in (places | values).items():
        say(f"{name:18} {value if value != '' else 'none'}")
    for each in wrong:
        say(f"{'wrong':18} {each}")


def base_in_force(base_dir: str) -> str:
    """Which directory a setting or ZCC_BASE_DIR means for a compile in this one; empty for none."""
    projects = Projects(home(), b"")
    return os.fsdecode(projects.base_in_force(os.fsencode(base_dir), os.getcwdb()))
