"""`zcc SUBCOMMAND`: the launcher becomes this for every word that means no compiler (launcher/words.c)."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from pydoc import pager

import typer

from cache.errors import CacheError
from zcc.cli.program import Program, RootGroup, run_program
from zcc.cli.subcommands import SUBCOMMANDS, add
from zcc.cli.terminal import complaint, width
from zcc.cli.topics import laid_out, titles, topics
from zcc.errors import ZccError

# As of every command line that cannot be read.
USAGE_STATUS = 2
# `zcc help topics` lists the pages; no page is called so.
_TOPICS = "topics"
_LISTED = "zcc --help lists the subcommands, zcc help topics the pages"

_HELP = (
    "Distribute C and C++ compiles over your team's machines.\n\n"
    "Options without a subcommand are the default compiler's: `zcc -v`, `zcc --version`; its help is that of"
    " `zcc cc --help`.\n\n"
    "In front of a compiler: `zcc gcc -c x.c`, `make -j64 CC='zcc gcc'`,"
    " `cmake -DCMAKE_C_COMPILER_LAUNCHER=zcc`.\n\n"
    "Set ZCC_DISABLE=1 to run the compiler directly, ZCC_FALLBACK=never to make every fallback to"
    " a local compile an error that names its reason, ZCC_FALLBACK=forbid to run no compiler here at all."
)


def command_line(*names: str) -> Program:
    """The program with these subcommands and `help`; with all where none is named."""
    app = Program(name="zcc", cls=RootGroup, help=_HELP)
    for name in names or SUBCOMMANDS:
        add(app, name)
    app.command("help")(show_help)
    return app


def show_help(
    ctx: typer.Context,
    command: list[str] = typer.Argument(
        None, metavar="COMMAND|TOPIC", help="As in: agent status, settings, topics."
    ),
) -> None:
    """Show this help, a subcommand's, or a page of the manual: `zcc help topics` lists those."""
    if command and command[0] not in words():
        _show_topic(command)
        return
    root = ctx.find_root()
    root.command.main(args=[*(command or ()), "--help"], prog_name=root.info_name)


def _show_topic(words_given: list[str]) -> None:
    known = topics()
    (topic, *more) = words_given
    if words_given == [_TOPICS]:
        rows = list(titles())
        wide = max((len(name) for name, _ in rows), default=0)
        typer.echo("\n".join(f"zcc help {name:{wide}}  {title}" for name, title in rows))
    elif topic in known and not more:
        with open(known[topic], encoding="utf-8") as page:
            pager(laid_out(page.read(), width()))
    else:
        near = difflib.get_close_matches(topic, (*words(), *known, _TOPICS), n=3)
        meant = (
            f"did you mean: {', '.join(f'zcc help {each}' for each in near)}?" if near else _LISTED
        )
        print(
            complaint(f"zcc: no subcommand and no topic {' '.join(words_given)!r}\n{meant}"),
            file=sys.stderr,
        )
        raise typer.Exit(USAGE_STATUS)


def words() -> list[str]:
    """All subcommands."""
    return sorted((*SUBCOMMANDS, "help"))


def slip(word: str) -> str:
    """What a word is answered that is no subcommand, and of which nothing says that it is a compiler."""
    lines = [f"zcc: {word!r} is no subcommand of zcc's, and nothing says that it is a compiler"]
    lines.append(_near(word))
    found = shutil.which(word)
    if found is not None:
        lines.append(
            f"to compile with it all the same, name it by its path: zcc {os.path.abspath(found)}"
        )
    return "\n".join(lines)


def _near(word: str) -> str:
    """The subcommands that were perhaps meant."""
    near = difflib.get_close_matches(word, words(), n=3)
    if near:
        return f"did you mean: {', '.join(f'zcc {each}' for each in near)}?"
    return "zcc --help lists the subcommands"


def main(arguments: list[str]) -> None:
    """Errors that are the user's to mend come without a traceback."""
    word = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    if word and word not in words():
        print(complaint(slip(word)), file=sys.stderr)
        sys.exit(USAGE_STATUS)
    app = command_line(*({word} & SUBCOMMANDS.keys()))
    run_program(app, "zcc", (ZccError, CacheError, OSError), arguments)
