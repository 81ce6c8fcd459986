"""The version, the same for each program: `--version`, and `zcc version`, since compilers own that option."""

from __future__ import annotations

import typer

from zcc import __version__


def add_version(app: typer.Typer, program: str) -> None:
    """Give the program's command line the option."""

    def show(wanted: bool) -> None:
        if wanted:
            typer.echo(f"{program} {__version__}")
            raise typer.Exit

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", callback=show, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Nothing of its own: `--version` and the subcommands."""


def version() -> None:
    """Print zcc's own version; `zcc --version` is the default compiler's."""
    typer.echo(f"zcc {__version__}")
