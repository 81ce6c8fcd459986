"""`zcc-broker check-tiers`: whether each tier of the settings takes a value and gives it back."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from broker.commands.options import DEFAULT_STATE, StateDir, TiersFile
from broker.errors import BrokerError
from broker.tiers.settings import FILE_NAME, TierSettings, open_engine, read_tiers
from cache.remote.engine import Engine, EngineError
from zcc.cli.terminal import say
from zcc.errors import ConfigError

# Of the value that makes the trip: about an object file's.
_TRIP_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What came of one tier; `fault` is empty where it works. `write_ms` is None where nothing is written."""

    name: str
    url: str
    read_ms: float | None = None
    write_ms: float | None = None
    fault: str = ""


def register(app: typer.Typer) -> None:
    """Add the command to the broker's."""
    app.command("check-tiers")(check_tiers)


def check_tiers(
    state: StateDir = DEFAULT_STATE,
    tiers_file: TiersFile = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Have each tier take a value, give it back and remove it; exit status 1 where one does not.

    Of a tier that is read_only a value is asked for that it does not have.
    """
    tiers = read_tiers(state, tiers_file)
    if not tiers:
        where = tiers_file or os.path.join(state, FILE_NAME)
        raise ConfigError(f"there is no [[tier]] in {where}: see zcc help tiers")
    trips = [_tried(tier) for tier in tiers]
    if as_json:
        typer.echo(json.dumps([asdict(trip) for trip in trips], indent=2))
    else:
        for trip in trips:
            say(f"{trip.name}: {trip.url}: {_told(trip)}")
    raise typer.Exit(1 if any(trip.fault for trip in trips) else 0)


def _told(trip: RoundTrip) -> str:
    if trip.fault:
        return f"does not work: {trip.fault}"
    if trip.write_ms is None:
        return f"read-only, answers in {trip.read_ms:.1f} ms"
    return f"works: {trip.write_ms:.1f} ms to write, {trip.read_ms:.1f} ms to read"


def _tried(tier: TierSettings) -> RoundTrip:
    try:
        engine = open_engine(tier)
    except BrokerError as error:
        return RoundTrip(tier.name, tier.url, fault=str(error))
    try:
        return _round_trip(tier, engine)
    except EngineError as error:
        return RoundTrip(tier.name, tier.url, fault=str(error))
    finally:
        engine.close()


def _round_trip(tier: TierSettings, engine: Engine) -> RoundTrip:
    """
    Raises:
        EngineError: it does not work.
    """
    name, value = f"zcc1/check/{os.urandom(8).hex()}", os.urandom(_TRIP_BYTES)
    engine.get([name])  # the first request makes the connection
    write_ms = None
    if not tier.read_only:
        began = time.perf_counter()
        engine.put({name: value})
        write_ms = 1000 * (time.perf_counter() - began)
    began = time.perf_counter()
    found = engine.get([name])
    read_ms = 1000 * (time.perf_counter() - began)
    fault = ""
    if not tier.read_only:
        engine.remove([name])
        if found != {name: value}:
            fault = "it does not give back what it has taken"
        elif engine.get([name]):
            fault = "it does not remove what it is told to remove"
    return RoundTrip(tier.name, tier.url, read_ms, write_ms, fault)
