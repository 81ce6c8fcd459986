"""`config`, `config set` and `config unset` of each program that has a file of settings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import typer

from zcc.cli.program import Program
from zcc.cli.terminal import say
from zcc.errors import ConfigError
from zcc.settings.editing import set_value, unset_value
from zcc.settings.layers import paths_of, read_layers
from zcc.settings.schema import Schema

DEFAULT = "default"
AS_JSON = typer.Option(False, "--json", help="One JSON object, for scripts.")
_NAME = typer.Argument(metavar="KEY", help="A setting's name, as `config` shows it.")


def settings_commands(
    schema: Callable[[], Schema],
    show: Callable[[bool], None],
    about: str,
    then: str,
    *,
    root_means_machine: bool = False,
) -> Program:
    """The group. `show` prints what is in force; `about` says so in its help; `then` is what makes a change
    take effect. With `root_means_machine` root changes the machine's file unless he says --no-system.
    """
    app = Program(invoke_without_command=True, no_args_is_help=False, help=about)
    default = root_means_machine and not os.geteuid()
    system = typer.Option(
        None,
        "--system/--no-system",
        show_default=False,
        help="The machine's file, in /etc/zcc, and not this user's own."
        + (" Root's default." if root_means_machine else ""),
    )

    @app.callback()
    def shown(ctx: typer.Context, as_json: bool = AS_JSON) -> None:
        if ctx.invoked_subcommand is None:
            show(as_json)

    shown.__doc__ = about

    @app.command("set")
    def set_(
        key: str = _NAME,
        value: str = typer.Argument(metavar="VALUE", help="What it is from now on."),
        system: bool | None = system,
    ) -> None:
        """Write a setting into the file; comments and order of what stands there stay."""
        known = schema()
        name = _known(known, key)
        parsed, wrong = known.parsed(name, value)
        if wrong:
            raise ConfigError(wrong)
        path = _path(known, default if system is None else system)
        set_value(path, name, parsed)
        say(f"{name} = {parsed!r} in {path}; now: {then}")
        _tell_of_other(known, name, path)

    @app.command()
    def unset(key: str = _NAME, system: bool | None = system) -> None:
        """Take a setting out of the file: what stands behind it counts again."""
        known = schema()
        name = _known(known, key)
        path = _path(known, default if system is None else system)
        if not unset_value(path, name):
            raise ConfigError(f"{name} is not set in {path}")
        say(f"{name} is not set in {path} any more; now: {then}")
        _tell_of_other(known, name, path)

    return app


def show_layers(schema: Schema, *, as_json: bool) -> None:
    """Each setting, its value, and where it comes from."""
    found = read_layers(schema, os.environ)
    values = {name: each.default for name, each in schema.settings.items()} | found.values
    origins = {name: found.origins.get(name, DEFAULT) for name in values}
    if as_json:
        typer.echo(json.dumps(values | {"origins": origins}))
        return
    for name, value in values.items():
        say(line(name, value, origins[name]))


def line(name: str, value: object, origin: str = "") -> str:
    """One line of what is in force."""
    shown = f"{name:18} {value if value != '' else 'none'}"
    return f"{shown:38} {origin}" if origin else shown


def _known(schema: Schema, key: str) -> str:
    name = key.replace("-", "_")
    if unknown := schema.why_unknown(name):
        raise ConfigError(unknown)
    return name


def _path(schema: Schema, is_system: bool) -> str:
    system, user = paths_of(schema, os.environ)
    return system if is_system else user


def _tell_of_other(schema: Schema, name: str, path: str) -> None:
    """A change that counts for nothing, or less than it seems, is told so."""
    found = read_layers(schema, os.environ)
    origin = found.origins.get(name)
    if origin is not None and origin != path:
        say(f"in force here is {name} = {found.values[name]!r}, by {origin}")
