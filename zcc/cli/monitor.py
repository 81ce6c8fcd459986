"""`zcc monitor` and `zcc report`: the farm as a page, and a build's page as a file."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser
from urllib.parse import quote

import typer

from zcc.cli.terminal import say
from zcc.cli.watching import (
    BUILD,
    FROM,
    KEY,
    SPEED,
    check_speed,
    monitor_access,
    recorded_build,
    write_out,
)
from zcc.errors import ConfigError
from zcc.farm import Access
from zcc.monitor.files import page_files
from zcc.monitor.report import report as report_of
from zcc.printable import printable
from zcc.watching.draining import check_may_drain

DEFAULT_LISTEN = "127.0.0.1:8318"


def monitor(
    listen: str = typer.Option(
        DEFAULT_LISTEN,
        "--listen",
        metavar="HOST:PORT",
        help="Where the page is; beyond this machine only with --token-file.",
    ),
    is_opened: bool = typer.Option(False, "--open", help="Open the page in a browser."),
    source: str = typer.Option(
        "",
        "--replay",
        metavar="PATH",
        help="Show a recording of zcc events --record instead of the farm.",
    ),
    speed: float = SPEED,
    token_file: str = typer.Option(
        "",
        "--token-file",
        metavar="FILE",
        help="Who reads the page has to know the token in it: open /?token=TOKEN once.",
    ),
    names: list[str] = typer.Option(
        [],
        "--name",
        metavar="NAME",
        help="Another name under which the page answers, as a proxy's; may be repeated.",
    ),
    allows_drain: bool = typer.Option(
        False,
        "--allow-drain",
        help="Readers may drain nodes, and let them work again; needs a key of role admin and --token-file.",
    ),
    key: str = KEY,
) -> None:
    """Show the farm as a page: who compiles what, where, why it waits, and how builds were.

    It runs until Ctrl-C, beside the broker and not in it. A key of role monitor is needed, beside the one that
    compiles: ZCC_CONFIG_DIR=DIR zcc join -.
    """
    try:
        from zcc.monitor import access, serving  # noqa: PLC0415 (an extra, which may be missing)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the page needs {error.name}: pip install 'zcc-farm[monitor]'"
        ) from error
    check_speed(speed)
    host, port = access.listening(listen)
    token = access.token_for(host, token_file)
    origin = source or monitor_access(os.environ, key)
    if allows_drain:
        _check_may_drain(origin, token)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"cannot listen on {listen}: {os.strerror(error.errno or 0)}") from error
    named = f"[{host}]" if family == socket.AF_INET6 else host
    address = f"http://{named}:{listener.getsockname()[1]}/"
    say(f"the page is at {address}{'?token=TOKEN' if token else ''}; Ctrl-C ends it")
    sys.stdout.flush()
    if is_opened:
        webbrowser.open(f"{address}?token={quote(token, safe='')}" if token else address)
    serving.run(listener, origin, token=token, names=names, speed=speed, may_drain=allows_drain)


def _check_may_drain(origin: Access | str, token: str) -> None:
    """What `--allow-drain` needs.

    Raises:
        ConfigError: something of it is not there.
    """
    if isinstance(origin, str):
        raise ConfigError("--allow-drain: a recording has no nodes that could be drained")
    check_may_drain(origin)
    if not token:
        raise ConfigError(
            "--allow-drain needs --token-file: without, every account of this machine could drain nodes"
        )


def report(
    build: str = BUILD,
    output: str = typer.Option(
        "build.html", "-o", "--output", metavar="FILE", help="Where to write it; -: here."
    ),
    source: str = FROM,
) -> None:
    """Write the page of a build as one file that can be mailed: it fetches nothing.

    It is made of a recording: `zcc events --record DIR`, DIR by default `events` among zcc's state.
    """
    state, found = recorded_build(build, source)
    write_out(report_of(state, found, page_files()), output, printable(found.name))
