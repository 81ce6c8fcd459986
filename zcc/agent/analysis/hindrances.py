"""What keeps a command on this machine before anything of its inputs is looked at.

A rule of its own is a function and a row of `HINDRANCES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from zcc.agent.analysis.command import Command
from zcc.agent.analysis.helpers_on_path import odd_path
from zcc.agent.analysis.outcome import Here
from zcc.agent.analysis.output_places import is_overwritten
from zcc.agent.analysis.terminals import has_own_terminals
from zcc.compiler.neutral.renaming import may_map
from zcc.job import SANDBOX_DIRECTORY, can_be_run
from zcc.machine_class import processor_class
from zcc.reasons import Reason

# Of the words that a job may have: a moved job's are longer, and one more.
_WORDS_SHARE = 0.5
_TEMPORARY = SANDBOX_DIRECTORY + b"/"


def _native(command: Command) -> Here | None:
    names = command.parsed.machine_dependent
    return Here(Reason.NATIVE, os.fsdecode(names[0])) if names and not processor_class() else None


def _time_macro(command: Command) -> Here | None:
    """SOURCE_DATE_EPOCH decides __DATE__ and __TIME__, never __TIMESTAMP__."""
    texts = command.parsed.time_macros
    times = [text for text in texts if not command.has_date or b"__TIMESTAMP__" in text]
    return Here(Reason.TIME_MACRO, os.fsdecode(times[0])) if times else None


def _own_terminals(command: Command) -> Here | None:
    has_own = has_own_terminals(command.request, command.family)
    return Here(Reason.TERMINAL_DESCRIPTION, "~/.terminfo") if has_own else None


def _overwritten_source(command: Command) -> Here | None:
    source = command.parsed.source
    is_lost = is_overwritten(source, command.cwd, command.outputs.files.outputs)
    return Here(Reason.OUTPUT_IS_SOURCE, os.fsdecode(source)) if is_lost else None


def _odd_path(command: Command) -> Here | None:
    oddity = odd_path(command.request.environment.get(b"PATH"), command.cwd, command.toolchain)
    return Here(Reason.ENVIRONMENT, f"PATH: {oddity}") if oddity else None


def _long(command: Command) -> Here | None:
    argv = command.request.argv
    if can_be_run(argv, command.variables, _WORDS_SHARE):
        return None
    return Here(Reason.LONG_COMMAND, f"{len(argv)} arguments")


def _stale_profile(command: Command) -> Here | None:
    for path in command.profiles() if command.parsed.removes_profile else ():
        if os.path.lexists(os.path.join(command.cwd, path)):
            return Here(Reason.STALE_PROFILE, os.fsdecode(path))
    return None


def _mapped_temporary(command: Command) -> Here | None:
    """The name of the sandbox's temporary file is known by its directory, in what comes back."""
    line = b"\0".join(command.request.argv)
    if b"-prefix-map" not in line and b"@" not in line:
        return None  # each hit asks: 1 us, where to go through 54 words takes 27
    for word in command.parsed.words:
        if b"-prefix-map" in b"".join(word.arguments) and may_map(word, _TEMPORARY):
            return Here(Reason.TEMPORARY_NAME, os.fsdecode(word.arguments[0]))
    return None


# In the order in which they are asked: the first that has something to say is what the user reads.
HINDRANCES: tuple[Callable[[Command], Here | None], ...] = (
    _native,
    _time_macro,
    _own_terminals,
    _overwritten_source,
    _odd_path,
    _long,
    _stale_profile,
    _mapped_temporary,
)


def hindrance_of(command: Command) -> Here | None:
    """Why this command stays here; None where nothing keeps it."""
    for hindrance in HINDRANCES:
        why = hindrance(command)
        if why is not None:
            return why
    return None
