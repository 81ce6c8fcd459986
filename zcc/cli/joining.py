"""What `zcc join` and `zcc-node join` are told: a token, and whether to look for the farm in the networks here.

The token is a secret, and everybody on the machine can read arguments.
"""

from __future__ import annotations

import getpass
import sys
from typing import Annotated, ClassVar

import typer

from zcc.cli import finding
from zcc.cli.program import LenientCommand
from zcc.discovery.announcement import Announcement, fingerprint_of
from zcc.errors import TokenError
from zcc.keys import TOKEN_PREFIX, Token

# Instead of a token: it comes by standard input.
STDIN = "-"
HELP = "What `zcc-broker token --role {}` printed; - asks for it, or reads it from standard input."
# Announced addresses that are dialled; each at which the farm's key is not has cost some seconds.
MAX_ENDPOINTS = 4

Discover = Annotated[
    str | None,
    typer.Option(
        "--discover",
        metavar="[NAME]",
        show_default=False,
        help="Look for the farm in the networks at hand, by this name where one is said, show its fingerprint,"
        " and join where it is announced. The token is needed all the same.",
    ),
]


class DiscoveringCommand(LenientCommand):
    left_out: ClassVar = {"--discover": ""}
    no_values: ClassVar = ("-", TOKEN_PREFIX)


def told(token: str, discover: str | None) -> tuple[str, tuple[str, ...]]:
    """The token, and the endpoints to dial in place of its own; none where nothing is to be looked for.

    Raises:
        BadParameter, TokenError: there is no token, or no farm of it is announced.
    """
    if discover is None:
        if not token:
            raise typer.BadParameter("say the TOKEN, or - to be asked for it", param_hint="'TOKEN'")
        return told_token(token), ()
    announced = finding.announced(discover)
    for line in finding.fingerprints(announced):
        print(line, file=sys.stderr)
    text = told_token(token or STDIN)
    return text, endpoints_of(Token.decode(text), announced)


def endpoints_of(token: Token, announced: tuple[Announcement, ...]) -> tuple[str, ...]:
    """Where the token's farm is announced: what has another key is another farm, whatever its name.

    Raises:
        TokenError: it is announced nowhere.
    """
    wanted = fingerprint_of(token.broker_public)
    endpoints = [
        endpoint for each in announced if each.fingerprint == wanted for endpoint in each.endpoints
    ]
    if not endpoints:
        raise TokenError(
            f"the token is of the farm with the fingerprint {wanted}, and what is announced here has another:"
            " it is another farm, or somebody who takes this one's name. Nothing was joined, and the token is"
            f" not used up. Without --discover it leads to its own address, {token.endpoint}"
        )
    return tuple(dict.fromkeys(endpoints))[:MAX_ENDPOINTS]


def told_token(argument: str) -> str:
    """The token that this argument is, or stands for.

    Raises:
        TokenError: nothing comes.
    """
    if argument != STDIN:
        return argument
    if sys.stdin is not None and sys.stdin.isatty():
        return getpass.getpass("join token: ")
    line = "" if sys.stdin is None else sys.stdin.readline()
    if not line.strip():
        raise TokenError("standard input has no join token: zcc-broker token prints one")
    return line
