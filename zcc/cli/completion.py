"""`zcc completion`: the options that typer gives other programs for it would be the compiler's here."""

from __future__ import annotations

import typer


def completion(
    ctx: typer.Context,
    install: bool = typer.Option(
        False, "--install", help="Write it into the start-up files of the shell instead."
    ),
) -> None:
    """Print the completion of zcc's subcommands for the current shell (bash, zsh, fish)."""
    root = ctx.find_root()
    option = "--install-completion" if install else "--show-completion"
    root.command.main(args=[option], prog_name=root.info_name)
