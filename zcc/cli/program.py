"""The three programs' command lines: what is the same for each of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from zcc.cli.help import help_of
from zcc.cli.terminal import complaint, width
from zcc.errors import told
from zcc.logs import for_journal, warn_in_lines

_Function = TypeVar("_Function", bound=Callable[..., Any])

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}


def _without_types(parameters: list[Any]) -> list[Any]:
    """A flag takes no value, and an argument's name says what it is: their help names no Python type
    (typer 0.29 writes `<bool>` and `<str>` there)."""
    for each in parameters:
        if each.param_type_name == "argument":
            each.display_type_rich = _no_type
        elif each.is_flag:
            each.metavar = ""
    return parameters


def _no_type(ctx: Any) -> None:
    """What is shown of an argument's type."""


class ProgramCommand(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def get_help(self, ctx: Any) -> str:
        return help_of(self, ctx, width())


class LenientCommand(ProgramCommand):
    """An option's value may be left out: what it stands for then is `left_out`, by option. For a command that
    takes no arguments without an option, so that what follows can only be the value."""

    left_out: ClassVar[dict[str, str]] = {}
    # What begins so is no value, but another option or an argument.
    no_values: ClassVar[tuple[str, ...]] = ("-",)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = []
        for word, following in zip(args, [*args[1:], ""], strict=False):
            words.append(word)
            if word in self.left_out and (not following or following.startswith(self.no_values)):
                words.append(self.left_out[word])
        return super().parse_args(ctx, words)


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def get_help(self, ctx: Any) -> str:
        return help_of(self, ctx, width())

    # click would make an exit status of its own of a broken pipe: of a command's words, and of its help.

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _die_of_pipe()

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        try:
            return super().make_context(*arguments, **more)
        except BrokenPipeError:
            _die_of_pipe()


class RootGroup(_Group):
    """The group of a program whose own options are not its own: `zcc` leaves all but --help to compilers."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters = super().get_params(ctx)
        for each in parameters:
            each.hidden = each.hidden or each.name in ("install_completion", "show_completion")
        return parameters

    def get_help_option_names(self, ctx: Any) -> list[str]:
        return ["--help"]


class Program(typer.Typer):
    """A program or a group of subcommands, whose commands are all `ProgramCommand`s."""

    def __init__(self, **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "cls": _Group,
            "context_settings": _HELP_NAMES,
            "no_args_is_help": True,
            "pretty_exceptions_enable": False,
            # Errors without rich's frames, which cut options and paths in two.
            "rich_markup_mode": None,
        }
        super().__init__(**(defaults | settings))

    def command(self, name: str | None = None, **settings: Any) -> Callable[[_Function], _Function]:
        return super().command(name, **({"cls": ProgramCommand} | settings))


def run_program(
    app: typer.Typer,
    name: str,
    errors: tuple[type[Exception], ...],
    arguments: list[str] | None = None,
) -> None:
    """Be the program, to its end: the `errors` that are the user's to mend come without a traceback, and output
    that nobody takes ends it as it ends any program.

    Raises:
        SystemExit: always.
    """
    warn_in_lines()
    if sys.stdout is None:  # `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end
    status: str | int | None = None
    try:
        app(args=arguments, prog_name=name)
    except SystemExit as ended:
        status = ended.code
    except errors as error:
        status = for_journal(complaint(f"{name}: {told(error)}"))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _die_of_pipe()
    except OSError as error:
        _drop_output()
        status = complaint(f"{name}: standard output: {error.strerror}")
    sys.exit(status)


def _die_of_pipe() -> NoReturn:
    """Whoever read our output has gone: end by SIGPIPE, which Python switches off, as other programs do."""
    _drop_output()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(128 + signal.SIGPIPE)  # somebody blocks it


def _drop_output() -> None:
    """What is still buffered goes nowhere, so that the interpreter does not fail at it once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
