"""The terminal that a compile writes to: its size, and the files that describe what it can do.

clang asks ncurses whether the terminal has colours, gcc decides by the name in TERM alone.
"""

from __future__ import annotations

import os

from zcc.agent.launchers.wire import Request
from zcc.compiler.commandline.tables import Family
from zcc.job import Terminal

# Where ncurses looks, as Debian, Red Hat and ncurses itself have it, when nothing says otherwise.
_PLACES = (b"/etc/terminfo", b"/lib/terminfo", b"/usr/lib/terminfo", b"/usr/share/terminfo")


def terminal_of(request: Request, family: Family) -> Terminal | None:
    """What the compiler is to be given on standard error; None: no terminal."""
    if request.terminal is None:
        return None
    rows, columns = request.terminal.rows, request.terminal.columns
    if family is Family.GCC and not request.stdin_is_terminal:
        columns = 0  # gcc asks standard input for the width, and takes any where that is none
    return Terminal(rows, columns)


def terminal_files(request: Request, family: Family) -> tuple[bytes, ...]:
    """Where the description of this terminal may be read from."""
    name = request.environment.get(b"TERM", b"")
    if request.terminal is None or family is not Family.CLANG or not name or b"/" in name:
        return ()
    return tuple(
        os.path.join(place, below, name)
        for place in _places(request.environment)
        for below in (name[:1], b"%02x" % name[0])
    )


def has_own_terminals(request: Request, family: Family) -> bool:
    """Whether the user has descriptions of his own, below HOME, which a node has not."""
    home = request.environment.get(b"HOME", b"")
    asks = request.terminal is not None and family is Family.CLANG
    return asks and bool(home) and os.path.exists(os.path.join(home, b".terminfo"))


def _places(environment: dict[bytes, bytes]) -> list[bytes]:
    named = [environment.get(b"TERMINFO", b"")]
    named += environment.get(b"TERMINFO_DIRS", b"").split(b":")
    return list(dict.fromkeys([*(at for at in named if at.startswith(b"/")), *_PLACES]))
