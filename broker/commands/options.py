"""What several of the broker's commands take."""

from __future__ import annotations

from typing import Annotated

import platformdirs
import typer

StateDir = Annotated[
    str,
    typer.Option("--state", metavar="DIR", help="Where keys, registry, blobs and logs are kept."),
]
DEFAULT_STATE = platformdirs.user_state_dir("zcc-broker", False)
# No service is registered for it, and no other compile farm's default (3632, 8765, 10245, 10600).
DEFAULT_PORT = 8317
DEFAULT_LISTEN = f"tcp://127.0.0.1:{DEFAULT_PORT}"
