"""The manual pages of all commands, a file each: `python -m tests.manual_pages DIRECTORY` writes them.

It stands here and not in `zcc/cli`, as `zcc` imports neither broker nor node.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import typer

from tests.commands_page import PROGRAMS, commands, without_places
from zcc import __version__
from zcc.cli.help import parts_of
from zcc.cli.manual import manual_page, page_name


def pages() -> Iterator[tuple[str, str]]:
    """The name of each page's file, and its text."""
    for program, app, _ in PROGRAMS:
        found = list(commands(program, typer.main.get_command(app)))
        names = [name for name, _ in found]
        for name, command in found:
            without_places(command)
            context = command.make_context(name, [], resilient_parsing=True)
            text = manual_page(name, parts_of(command, context), __version__, _related(name, names))
            yield f"{page_name(name)}.1", text


def _related(name: str, names: list[str]) -> list[str]:
    """The command above it, and those below."""
    above = [name.rpartition(" ")[0]] if " " in name else []
    return above + [each for each in names if each.rpartition(" ")[0] == name]


def main(directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    for name, text in pages():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
