"""What the commands that watch have in common: the key, a recording and its pace, a build of it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import typer

from zcc import config
from zcc.cli.terminal import say
from zcc.errors import ConfigError
from zcc.farm import Access, load_access
from zcc.printable import printable
from zcc.watching.recording import replayed
from zcc.watching.session import advice, check_role
from zcc.watching.state import FarmState
from zcc.watching.views import BuildView

# Where a key for watching lies beside the one that compiles, and a recording where nothing else is said.
MONITOR_DIR, RECORDING_DIR = "monitor", "events"
_MOST_SPEED = 1000.0
_LAST_NAMED = 8

KEY = typer.Option(
    "",
    "--key",
    metavar="DIR",
    help="Where a key of role monitor or admin lies: what ZCC_CONFIG_DIR was when it joined. Default:"
    " `monitor` in the directory of the settings, else that directory.",
)
FROM = typer.Option(
    "", "--from", metavar="PATH", help="A recording, or one file of it, instead of the farm."
)
BUILD = typer.Argument(
    "", metavar="BUILD", help="A build's name or id, or a part of it; default: the last one."
)
SPEED = typer.Option(
    1.0,
    "--speed",
    metavar="N",
    min=0.0,
    max=_MOST_SPEED,
    help="How many times as fast it is replayed; 0: at once.",
)


def check_speed(speed: float) -> None:
    """What `SPEED` says, for NaN too, which is within no bounds and passes them.

    Raises:
        BadParameter: it is not within them.
    """
    if not 0 <= speed <= _MOST_SPEED:
        raise typer.BadParameter(f"--speed is 0 to {_MOST_SPEED:.0f}")


def monitor_access(environment: Mapping[str, str], directory: str) -> Access:
    """The access of the key to watch with.

    Raises:
        ConfigError: there is none, or it is one that may not watch.
    """
    own = config.config_dir(environment)
    beside = os.path.join(own, MONITOR_DIR)
    for place in [directory] if directory else [beside, own]:
        settings = config.load(environment)
        access = load_access(place, settings.broker, follows=settings.follow == "on")
        if access is not None:
            check_role(access, beside)
            return access
    raise ConfigError(f"no key to watch with: {advice(directory or beside)}")


def recorded_build(build: str, source: str) -> tuple[FarmState, BuildView]:
    """A build of a recording, with all that the recording knows.

    Raises:
        ConfigError: the recording cannot be read, or has no such build.
    """
    path = source or os.path.join(config.state_dir(os.environ), RECORDING_DIR)
    state = replayed(path)
    found = state.build_called(build)
    if found is None:
        last = list(state.known_builds.values())[-_LAST_NAMED:]
        names = ", ".join(printable(each.name) for each in last)
        raise ConfigError(f"no build {build!r} is in {path}; the last are: {names or 'none'}")
    return state, found


def write_out(text: str, output: str, what: str) -> None:
    """Write it to this file and say `what` it is; to standard output where that is asked for."""
    if output == "-":
        typer.echo(text)
        return
    with open(output, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    say(f"{output}: {what}")
