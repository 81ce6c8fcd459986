"""A `serve` whose options may stand in a file of settings too: an option goes before the user's file, and that
before the machine's.

A setting has its option's name, with `_` for `-`. On SIGHUP the command line is read once more over the files
as they are then: `reread`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import typer

from zcc.cli.program import LenientCommand
from zcc.cli.settings import settings_commands, show_layers
from zcc.errors import ConfigError, ZccError, told
from zcc.logs import LEVELS
from zcc.service.manager import ServiceManager
from zcc.service.units import Service
from zcc.settings.layers import read_layers
from zcc.settings.schema import Schema, Setting

logger = logging.getLogger(__name__)

_WORDS = "zcc.words"  # of a context's `meta`


class ServeCommand(LenientCommand):
    """`file_name` has its settings; the options of `only_options` may not stand there, and with one of `alone`
    nothing there counts. `checks`: what reads a value, and raises ConfigError for one that cannot be."""

    file_name: ClassVar[str]
    only_options: ClassVar[frozenset[str]] = frozenset()
    alone: ClassVar[frozenset[str]] = frozenset()
    checks: ClassVar[Mapping[str, Callable[[Any], object]]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            ctx.meta[_WORDS] = list(args)
            if not {"--help", "-h", *self.alone} & set(args):
                found = read_layers(self.schema(), os.environ)
                ctx.default_map = {**(ctx.default_map or {}), **found.values}
        return super().parse_args(ctx, args)

    def schema(self) -> Schema:
        """What may stand in the file, as the options are."""
        left_out = self.only_options | {"help"}
        return Schema(
            self.file_name,
            {
                each.name: Setting(
                    int if isinstance(each.default, int) else str,
                    getattr(each.default, "value", each.default),
                    partial(_why_wrong, self.checks.get(each.name)),
                )
                for each in self.params
                if each.name not in left_out
            },
        )


def reread(ctx: Any) -> dict[str, Any]:
    """What the command would be given if it began now.

    Raises:
        ConfigError: a file cannot be read, or has what cannot be.
    """
    words = list(ctx.meta[_WORDS])
    with ctx.command.make_context(ctx.info_name, words, parent=ctx.parent) as again:
        return dict(again.params)


def reload_on_hangup(
    ctx: Any,
    manager: ServiceManager,
    appliers: Mapping[str, Callable[[Any], None]],
    status: Callable[[], str],
) -> None:
    """From now on SIGHUP has the settings read again: those with an applier change, of others the log says that
    they wait for a restart. A process of a terminal's ends with it, as ever.
    """
    if _has_terminal():
        return
    in_force = dict(ctx.params)

    def reload() -> None:
        manager.reloading()
        try:
            _apply(reread(ctx), in_force, appliers)
        except (ConfigError, OSError) as error:
            logger.error("the settings stay as they are: %s", told(error))
        manager.ready(status())

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def _apply(
    values: Mapping[str, Any],
    in_force: dict[str, Any],
    appliers: Mapping[str, Callable[[Any], None]],
) -> None:
    changed = [name for name, value in values.items() if value != in_force.get(name)]
    for name in changed:
        if name in appliers:
            appliers[name](values[name])
            in_force[name] = values[name]
            logger.info("%s is %s from now on", name, values[name])
        else:
            logger.warning("%s is %s after a restart", name, values[name])
    if not changed:
        logger.info("the settings were read again: nothing has changed")


def add_settings(app: typer.Typer, command: str, service: Service) -> None:
    """Give the program `config`, for the file that this command of its reads."""

    def schema() -> Schema:
        found: Any = typer.main.get_command(app)
        serve: ServeCommand = found.commands[command]
        return serve.schema()

    about = f"What {service.name} {command} goes by where no option says otherwise, and where it stands."
    app.add_typer(
        settings_commands(
            schema,
            lambda as_json: show_layers(schema(), as_json=as_json),
            about,
            f"systemctl reload {service.name}, or start it anew",
            root_means_machine=True,
        ),
        name="config",
    )


def choose_level(word: str) -> None:
    """Log from this level on."""
    logging.getLogger().setLevel(word.upper())


def check_level(word: str) -> None:
    """Raises ConfigError where there is no such level."""
    if word.lower() not in LEVELS:
        raise ConfigError(f"{word!r} is no level: {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")


def within(least: int, most: int) -> Callable[[int], None]:
    """What reads a number from `least` to `most`."""

    def check(number: int) -> None:
        if not least <= number <= most:
            raise ConfigError(f"expected {least} to {most}")

    return check


def among(words: Iterable[str]) -> Callable[[str], None]:
    """What reads one of these words."""
    allowed = tuple(words)

    def check(word: str) -> None:
        if word not in allowed:
            raise ConfigError(f"expected {', '.join(filter(None, allowed[:-1]))} or {allowed[-1]}")

    return check


def _why_wrong(check: Callable[[Any], object] | None, value: Any) -> str:
    """What is wrong with an option's value; empty: nothing."""
    try:
        if check is not None:
            check(value)
    except ZccError as error:
        return str(error)
    return ""


def _has_terminal() -> bool:
    """Whether a terminal's end would send SIGHUP."""
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
        return True
    return False
