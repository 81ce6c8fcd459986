"""The token of `zcc join` and `zcc-node join`: a secret, and everybody on the machine can read arguments."""

from __future__ import annotations

import getpass
import sys

from zcc.errors import TokenError

# Instead of a token: it comes by standard input.
STDIN = "-"
HELP = "What `zcc-broker token --role {}` printed; - asks for it, or reads it from standard input."


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
