"""What the program is, whichever of its commands it is asked for."""

from __future__ import annotations

import os

import typer

from broker.errors import BrokerError
from cache.errors import CacheError
from zcc.cli.program import run_program
from zcc.errors import ZccError

PROGRAM = "zcc-broker"
HELP = "The meeting point of a zcc farm: authenticates its members, schedules jobs, relays files."


def run(app: typer.Typer) -> None:
    """Be the program, to its end: a user's mistake ends in one line, not in a traceback.

    Whatever it makes is its user's alone, below a directory of whatever mode.
    """
    os.umask(0o077)
    run_program(app, PROGRAM, (BrokerError, CacheError, ZccError, OSError))
