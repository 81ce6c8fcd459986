"""The text of `--help`: what click knows of a command, laid out so that no option and no path is cut in two."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from zcc.cli.layout import fold

# Lines of more are hard to read, whatever the terminal has.
MOST_COLUMNS = 100
# Names that are longer stand on a line of their own, above their text.
_MOST_NAME_SHARE = 3
_INDENT = "  "


def help_of(command: Any, ctx: Any, columns: int) -> str:
    """The help of this command in so many columns; 0: as many as are easy to read."""
    columns = min(columns or MOST_COLUMNS, MOST_COLUMNS)
    lines = fold(command.get_usage(ctx), columns, 2 * _INDENT)
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += ["", *fold(_INDENT + " ".join(paragraph.split()), columns, _INDENT)]
    records = [(each, each.get_help_record(ctx)) for each in command.get_params(ctx)]
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        shown = [record for each, record in records if record and each.param_type_name == kind]
        lines += _section(title, shown, columns)
    lines += _section("Commands", _subcommands(command, ctx), columns)
    return "\n".join(lines)


def _subcommands(command: Any, ctx: Any) -> Iterator[tuple[str, str]]:
    """Each with the first paragraph of its help."""
    for name in getattr(command, "commands", ()):
        found = command.get_command(ctx, name)
        if not found.hidden:
            yield name, " ".join(inspect.cleandoc(found.help or "").split("\n\n")[0].split())


def _section(title: str, rows: Iterable[tuple[str, str]], columns: int) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        return
    yield from ("", f"{title}:")
    most = columns // _MOST_NAME_SHARE
    wide = max((len(name) for name, _ in rows if len(name) <= most), default=0)
    indent = " " * (wide + 2 * len(_INDENT))
    for name, text in rows:
        head = f"{_INDENT}{name:{wide}}{_INDENT}"
        if len(head) > len(indent):
            yield head.rstrip()
            head = indent
        yield from (line.rstrip() for line in fold(head + text, columns, indent))
