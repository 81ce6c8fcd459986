"""What several of the broker's commands take."""

from __future__ import annotations

import re
from typing import Annotated

import platformdirs
import typer

_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}

StateDir = Annotated[
    str,
    typer.Option("--state", metavar="DIR", help="Where keys, registry, blobs and logs are kept."),
]
DEFAULT_STATE = platformdirs.user_state_dir("zcc-broker", False)


def parse_duration(text: str) -> int:
    """Seconds of `30m`, `1h`, `7d`, `90s`."""
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration: write 30m, 1h or 7d")
    return int(match[1]) * _TIMES[match[2]]
