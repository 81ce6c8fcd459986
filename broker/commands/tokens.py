"""`zcc-broker token`: what lets somebody join."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from enum import Enum
from typing import Annotated

import typer

from broker.commands.options import DEFAULT_LISTEN, DEFAULT_STATE, StateDir
from broker.errors import BrokerError
from broker.membership.registry import Registry
from broker.state import broker_keys, has_state, last_serving, require_state
from zcc.config import parse_duration
from zcc.farm import DEFAULT_FARM
from zcc.keys import Token, new_key_pair
from zcc.messages import PeerRole
from zcc.reaching import check_address, split_interface

# More than one broker has members.
MOST_USES = 1_000_000
# `zcc-broker serve & zcc-broker token`: for so long the second waits for what the first makes.
START_S = 5.0
_EVERYWHERE = ("tcp://0.0.0.0:", "tcp://*:", "tcp://[::]:")


class MemberRole(str, Enum):  # noqa: UP042 - typer's choices want plain strings
    CLIENT = "client"
    NODE = "node"
    PUBLISHER = "publisher"
    ADMIN = "admin"
    MONITOR = "monitor"


def register(app: typer.Typer) -> None:
    """Add the command to the broker's."""
    app.command("token")(token)


def token(
    role: Annotated[
        MemberRole,
        typer.Option(
            help="What the joiner may do on the farm. A publisher is a client whose own machine may"
            " compile for the shared cache (`zcc publish`)."
        ),
    ],
    state: StateDir = DEFAULT_STATE,
    endpoint: Annotated[
        str,
        typer.Option(
            metavar="tcp://HOST:PORT|_zcc._tcp.DOMAIN",
            help="How the joiner reaches the broker: an endpoint, or the name of SRV records in DNS; default"
            " where it listens.",
        ),
    ] = "",
    expires: Annotated[
        str, typer.Option(metavar="AGE", help="How long the token is good: 30m, 1h, 7d.")
    ] = "1h",
    uses: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=MOST_USES, help="How many members may join with it."),
    ] = 1,
) -> None:
    """Print a join token, for `zcc join` or `zcc-node`. It is a secret until it is used."""
    if not has_state(state):
        print(f"zcc-broker: waiting for a broker to start in {state} ...", file=sys.stderr)
    require_state(state, START_S)
    print(invitation(state, PeerRole(role.value), endpoint, expires, uses))


def invitation(state: str, role: PeerRole, endpoint: str, expires: str, uses: int) -> str:
    """A join token of the broker whose state this is, noted in its registry.

    Raises:
        BrokerError: nothing says by which address it is reached.
        ConfigError: an endpoint or an age that is none.
    """
    keys = broker_keys(state)
    served, farm = last_serving(state)
    reached = endpoint or served or DEFAULT_LISTEN
    if reached.startswith(_EVERYWHERE):
        raise BrokerError(
            f"the broker listens on all addresses ({reached}):"
            " say by which one it is reached with --endpoint tcp://HOST:PORT"
        )
    waiting = split_interface(reached)
    if waiting is not None:
        raise BrokerError(
            f"the broker waits for the interface {waiting[0]}: bring it up, or say with --endpoint tcp://HOST:PORT"
            " by which address it will be reached"
        )
    check_address(reached)
    joiner, now = new_key_pair(), time.time()
    expires_at = now + parse_duration(expires)
    with closing(Registry(state)) as registry:
        registry.add_joiner(joiner.public, role, now, expires_at, uses)
    made = Token(reached, keys.public, joiner.secret, farm or DEFAULT_FARM, role.value, expires_at)
    return made.encode()
