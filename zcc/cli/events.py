"""`zcc events` and `zcc trace`: what happens on the farm, a line each; and a build's trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import TextIO

import typer
import zmq

from cache.frame import decompress
from zcc import config
from zcc.cli.watching import BUILD, FROM, KEY, monitor_access, recorded_build, write_out
from zcc.errors import ConfigError
from zcc.events import MAX_EVENTS_BYTES, FarmEvent, as_document, unpack_events
from zcc.farm import Access
from zcc.messages import FEED_BYTES, Happened, Snapshot
from zcc.printable import printable
from zcc.watching.recording import RecordingWriter, read_recording
from zcc.watching.session import WatchSession
from zcc.watching.state import FarmState
from zcc.watching.trace import build_trace

DEFAULT_SIZE = "256M"
_LOOK_S = 0.1


def events(
    as_json: bool = typer.Option(False, "--json", help="One JSON object a line, for scripts."),
    since: str = typer.Option(
        "",
        "--since",
        metavar="POSITION",
        help="Go on behind this position, as --json says it with each event; without a gap, if the broker still"
        " has what came since.",
    ),
    once: bool = typer.Option(False, "--once", help="Say how the farm is now, and end."),
    record: str = typer.Option(
        "", "--record", metavar="DIR", help="Write what happens down there, and print nothing."
    ),
    size: str = typer.Option(
        DEFAULT_SIZE, "--size", metavar="SIZE", help="The most that --record may take."
    ),
    source: str = FROM,
    key: str = KEY,
) -> None:
    """What happens on the farm, a line an event: first how it is, then on until Ctrl-C.

    The fields are in docs/reference/events.md. A key of role monitor is needed, beside the one that compiles:
    ZCC_CONFIG_DIR=DIR zcc join -.
    """
    limit_bytes = config.parse_size(size)
    if source:
        for batch in read_recording(source):
            for event in batch:
                _print(event, as_json, {})
        return
    feed, number = _position(since)
    access = monitor_access(os.environ, key)
    watching = _Printing(as_json, once)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(access, watching, feed, number, record, limit_bytes))


def trace(
    build: str = BUILD,
    output: str = typer.Option(
        "build.json", "-o", "--output", metavar="FILE", help="Where to write it; -: here."
    ),
    source: str = FROM,
) -> None:
    """Write the trace of a build, for ui.perfetto.dev or chrome://tracing: a track a slot, arrows from a job's
    submission to its run, how many waited and ran.

    It is made of a recording: `zcc events --record DIR`, DIR by default `events` among zcc's state.
    """
    state, found = recorded_build(build, source)
    what = f"{printable(found.name)}, {len(found.past)} jobs; open it in ui.perfetto.dev"
    write_out(json.dumps(build_trace(state, found)), output, what)


def _position(text: str) -> tuple[bytes, int]:
    if not text:
        return b"", 0
    feed, _, number = text.partition(":")
    try:
        position = bytes.fromhex(feed), int(number)
    except ValueError:
        position = b"", 0
    if len(position[0]) != FEED_BYTES or position[1] < 0:
        raise typer.BadParameter(f"{text!r} is no position: copy one of zcc events --json")
    return position


class _Printing:
    """Prints events; `is_done` when no more are wanted."""

    def __init__(self, as_json: bool, once: bool) -> None:
        self._as_json = as_json
        self._once = once
        self.is_done = False

    def print(self, message: Snapshot | Happened, batch: list[FarmEvent]) -> None:
        following = message.number + isinstance(message, Happened)
        position = {"position": f"{message.feed.hex()}:{following}"}
        for event in batch:
            _print(event, self._as_json, position)
        sys.stdout.flush()
        self.is_done = self._once


def _print(event: FarmEvent, as_json: bool, more: Mapping[str, str]) -> None:
    out: TextIO = sys.stdout
    if as_json:
        out.write(json.dumps(as_document(event) | dict(more)) + "\n")
        return
    words = [f"{event.at_ms / 1000:11.3f}", f"{event.NAME:11}"]
    for field in fields(event)[1:]:
        value = getattr(event, field.name)
        if value not in ("", 0, False, ()):
            words.append(f"{field.name}={printable(str(value))}")
    out.write(" ".join(words) + "\n")


async def _watch(
    access: Access, printing: _Printing, feed: bytes, since: int, record: str, limit_bytes: int
) -> None:
    """Until all that was wanted has come, nobody takes what is told, or the broker says no.

    Raises:
        ConfigError: it does.
        OSError: the output, or the recording, takes no more.
    """
    state = FarmState()
    writer = RecordingWriter(record, state, limit_bytes) if record else None
    failed: list[OSError] = []  # in a callback of the loop, which would go on

    def heard(message: Snapshot | Happened) -> None:
        if printing.is_done or failed:
            return
        try:
            take(message)
        except OSError as error:
            failed.append(error)

    def take(message: Snapshot | Happened) -> None:
        batch = unpack_events(decompress(message.body, MAX_EVENTS_BYTES))
        if writer is None:
            printing.print(message, batch)
            return
        for event in batch:
            state.apply(event)
        writer.add(message)

    context = zmq.Context[zmq.Socket[bytes]]()
    session = WatchSession(context, access, heard, feed, since)
    try:
        was_open, said = False, ""
        while not (printing.is_done or failed or session.refused):
            if was_open and session.state != said:
                said = session.state
                typer.echo(f"zcc: {said}: dialling again" if said else "zcc: back", err=True)
            was_open = was_open or session.is_open
            await asyncio.sleep(_LOOK_S)
        if failed:
            raise failed[0]
        if session.refused:
            raise ConfigError(session.refused)
    finally:
        session.close()
        context.term()
        if writer is not None:
            writer.close()
