"""What click knows of a command, and the text of `--help`, laid out so that no option and no path is cut."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zcc.cli.layout import fold

# Lines of more are hard to read, whatever the terminal has.
MOST_COLUMNS = 100
# Names that are longer stand on a line of their own, above their text.
_MOST_NAME_SHARE = 3
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Help:
    """What is said of one command, in the order in which it is said."""

    usage: str
    paragraphs: tuple[str, ...]
    # Titles with their rows: a name (an option with its value, a subcommand), and what it does.
    sections: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def parts_of(command: Any, ctx: Any) -> Help:
    """The help of this command in its parts; sections without rows are left out."""
    records = [(each, each.get_help_record(ctx)) for each in command.get_params(ctx)]
    sections: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        rows = tuple(row for each, row in records if row and each.param_type_name == kind)
        sections.append((title, rows))
    sections.append(("Commands", tuple(_subcommands(command, ctx))))
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return Help(
        usage=command.get_usage(ctx),
        paragraphs=tuple(" ".join(each.split()) for each in paragraphs),
        sections=tuple((title, rows) for title, rows in sections if rows),
    )


def help_of(command: Any, ctx: Any, columns: int) -> str:
    """The help of this command in so many columns; 0: as many as are easy to read."""
    columns = min(columns or MOST_COLUMNS, MOST_COLUMNS)
    parts = parts_of(command, ctx)
    lines = fold(parts.usage, columns, 2 * _INDENT)
    for paragraph in parts.paragraphs:
        lines += ["", *fold(_INDENT + paragraph, columns, _INDENT)]
    for title, rows in parts.sections:
        lines += _section(title, rows, columns)
    return "\n".join(lines)


def _subcommands(command: Any, ctx: Any) -> Iterator[tuple[str, str]]:
    """Each with the first paragraph of its help."""
    for name in getattr(command, "commands", ()):
        found = command.get_command(ctx, name)
        if not found.hidden:
            yield name, " ".join(inspect.cleandoc(found.help or "").split("\n\n")[0].split())


def _section(title: str, rows: Sequence[tuple[str, str]], columns: int) -> Iterator[str]:
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
