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
