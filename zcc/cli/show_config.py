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
from zcc.cli.settings import DEFAULT, line, settings_commands
from zcc.cli.terminal import say
from zcc.variables import why_wrong, wrong_in

# What a call's own variables go before (zcc/variables.py).
_OF_CALLS = {"cache": "ZCC_CACHE", "verify": "ZCC_VERIFY", "base_dir": "ZCC_BASE_DIR"}


def show(as_json: bool) -> None:
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
    origins = _origins(loaded.broker, access)
    if as_json:
        typer.echo(json.dumps(places | values | {"origins": origins, "wrong": wrong}))
        return
    for name, value in (places | values).items():
        say(line(name, value, origins.get(name, "")))
    for each in wrong:
        say(line("wrong", each))


def _origins(broker: str, access: farm.Access | None) -> dict[str, str]:
    """Where each setting comes from: a file's path, a variable's name, or the default."""
    found = configuration.found_settings(os.environ).origins
    origins = {name: found.get(name, DEFAULT) for name in configuration.SCHEMA.settings}
    if access is not None and not broker:
        directory = configuration.config_dir(os.environ)
        origins["broker"] = os.path.join(directory, "farm.toml")
    for name, variable in _OF_CALLS.items():
        value = os.environ.get(variable)
        is_empty_base = value == "" and name == "base_dir"
        if is_empty_base or (value and not why_wrong(variable, value)):
            origins[name] = variable
    return origins


def base_in_force(base_dir: str) -> str:
    """Which directory a setting or ZCC_BASE_DIR means for a compile in this one; empty for none."""
    projects = Projects(home(), b"")
    return os.fsdecode(projects.base_in_force(os.fsencode(base_dir), os.getcwdb()))


app = settings_commands(
    lambda: configuration.SCHEMA,
    show,
    "The configuration in force for a compile that is started here, now, and where each value comes from.",
    "zcc agent stop, and the next compile goes by it",
)
