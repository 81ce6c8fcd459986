"""`zcc watch -- make`: a build, and how far it is."""

from __future__ import annotations

import os
import sys

import typer

from zcc.cli.progress import is_shown, named, run_shown
from zcc.cli.terminal import complaint

# As of a shell, for a command that there is not, and one that is no program.
NOT_FOUND, NOT_RUN = 127, 126


def watch(
    command: list[str] = typer.Argument(metavar="COMMAND", help="What to run, a build mostly."),
) -> None:
    """Run a build with a line below it that says how far it is: done, running, from a cache, saved.

    The line is on a terminal alone, and nothing is said elsewhere. The command's output and its exit status
    are its own.
    """
    environment = named(os.environ)
    try:
        if not is_shown():
            os.execvpe(command[0], command, environment)
        raise typer.Exit(run_shown(command, environment))
    except FileNotFoundError:
        print(complaint(f"zcc: {command[0]}: command not found"), file=sys.stderr)
        raise typer.Exit(NOT_FOUND) from None
    except OSError as error:
        print(complaint(f"zcc: {command[0]}: {error.strerror}"), file=sys.stderr)
        raise typer.Exit(NOT_RUN) from None
