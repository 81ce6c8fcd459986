"""`zcc top`: the farm in a terminal, and its present for scripts."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Iterable

import typer

from zcc.cli.terminal import width
from zcc.cli.watching import KEY, SPEED, check_speed, monitor_access
from zcc.errors import ConfigError
from zcc.events import FarmEvent
from zcc.top.log import WatchedFarm
from zcc.top.overview import Letters, document, overview_of
from zcc.top.plain import plain
from zcc.watching.following import follow, hear_present, replay
from zcc.watching.recording import read_recording

EXTRA = "zcc-farm[tui]"
# A broker in reach answers within seconds.
_PRESENT_TIMEOUT_S = 10.0


def top(
    once: bool = typer.Option(False, "--once", help="Print how the farm is now, and end."),
    as_json: bool = typer.Option(False, "--json", help="With --once: as one JSON object."),
    source: str = typer.Option(
        "",
        "--replay",
        metavar="PATH",
        help="A recording of zcc events --record, or one file of it, instead of the farm; with --once its end.",
    ),
    speed: float = SPEED,
    key: str = KEY,
) -> None:
    """Show the farm in the terminal: nodes with their slots, builds, who waits, what happens.

    The extra `zcc-farm[tui]` is needed for the screen, and for --once nothing. A key of role monitor is needed,
    beside the one that compiles: ZCC_CONFIG_DIR=DIR zcc join -. `?` lists the keys.
    """
    if as_json and not once:
        raise typer.BadParameter("--json goes with --once; zcc events --json tells what happens")
    check_speed(speed)
    if once:
        _print(_present(source, key), as_json)
        return
    _check_terminal()
    try:
        from zcc.top.app import TopApp  # noqa: PLC0415 (an extra, which may be missing)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the screen needs {error.name}: pip install '{EXTRA}'; zcc top --once does without"
        ) from error
    if source:
        recording = _begun(source)
        app = TopApp(lambda heard, said: replay(recording, speed, heard, said))
    else:
        access = monitor_access(os.environ, key)
        app = TopApp(lambda heard, said: follow(access, heard, said))
    app.run()
    if app.return_code:
        raise typer.Exit(app.return_code)


def _present(source: str, key: str) -> WatchedFarm:
    """The farm as it is, or as a recording ends."""
    farm = WatchedFarm()
    if source:
        for batch in _begun(source):
            farm.take(batch)
    else:
        access = monitor_access(os.environ, key)
        farm.take(asyncio.run(hear_present(access, _PRESENT_TIMEOUT_S)))
    return farm


def _begun(source: str) -> Iterable[list[FarmEvent]]:
    """The batches of a recording, of which there is at least one.

    Raises:
        ConfigError: there is none.
    """
    batches = read_recording(source)
    first = next(batches, None)
    if first is None:
        raise ConfigError(f"{source} holds no events yet")
    return itertools.chain([first], batches)


def _print(farm: WatchedFarm, as_json: bool) -> None:
    overview = overview_of(farm, Letters())
    text = json.dumps(document(overview)) if as_json else "\n".join(plain(overview, width()))
    typer.echo(text)


def _check_terminal() -> None:
    """What is drawn goes to stderr.

    Raises:
        ConfigError: nobody would see it.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if not all(stream is not None and stream.isatty() for stream in streams):
        raise ConfigError("zcc top needs a terminal: zcc top --once prints how the farm is")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise ConfigError(
            "zcc top needs a terminal that moves its cursor (TERM): use zcc top --once"
        )
