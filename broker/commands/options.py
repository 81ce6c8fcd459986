"""What several of the broker's commands take."""

from __future__ import annotations

import os
from typing import Annotated

import platformdirs
import typer

from zcc.service.places import why_unreachable_for_others

# Where the service keeps it (`zcc-broker install-service` by root).
SERVICE_STATE = "/var/lib/zcc-broker"


def default_state(usual: str) -> str:
    """The service's for root, unless he has one in the usual place."""
    is_services = not os.geteuid() and os.path.isdir(SERVICE_STATE) and not os.path.exists(usual)
    return SERVICE_STATE if is_services else usual


def become_owner(ctx: typer.Context, state: str) -> str:
    """Be the owner of the state directory when root asks: what root makes in it, the broker could not write."""
    if ctx.resilient_parsing or os.geteuid() or why_unreachable_for_others(__file__):
        return state
    try:
        owner = os.stat(state)
    except OSError:
        return state  # who makes it owns it, or says what is wrong with it
    if owner.st_uid:
        os.setgroups([])
        os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
        os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
    return state


StateDir = Annotated[
    str,
    typer.Option(
        "--state",
        metavar="DIR",
        help="Where keys, registry, blobs and logs are kept. Root becomes the owner of what is there.",
        callback=become_owner,
    ),
]
TiersFile = Annotated[
    str,
    typer.Option(
        "--tiers",
        metavar="FILE",
        help="The settings of tiers behind the cache; default tiers.toml in the state directory.",
    ),
]
DEFAULT_STATE = default_state(platformdirs.user_state_dir("zcc-broker", False))
# No service is registered for it, and no other compile farm's default (3632, 8765, 10245, 10600).
DEFAULT_PORT = 8317
DEFAULT_LISTEN = f"tcp://127.0.0.1:{DEFAULT_PORT}"
