"""Reasons and causes of misses, as people and programs are told of them. Pure.

Whatever stands here may come from another zcc: a code without a reason is told as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zcc.agent.history.causes import Cause
from zcc.agent.history.fingerprint import Difference
from zcc.compiler.neutral.renaming import NEUTRAL_DIRECTORY
from zcc.reasons import NOTHING, Reason, reason_of

_MOST_SHOWN = 5
_NEUTRAL = re.compile(rf"{re.escape(NEUTRAL_DIRECTORY.decode())}/\S*")


def about(code: str) -> dict[str, str] | None:
    """For programs: what this zcc knows of the reason."""
    reason = reason_of(code)
    if reason is None:
        return None
    return {
        "code": reason.value,
        "kind": reason.kind.value,
        "sentence": reason.sentence,
        "advice": reason.advice,
    }


def brief(code: str) -> str:
    """What is the case, and what to do where that is anything; empty for a code without a reason."""
    reason = reason_of(code)
    if reason is None:
        return ""
    return (
        reason.what
        if reason.is_choice or not needs_doing(reason)
        else f"{reason.what} {reason.advice}"
    )


def lines_about(code: str) -> Iterator[tuple[str, str]]:
    """(`why` or `do`, what is to be said under it)."""
    reason = reason_of(code)
    if reason is not None:
        yield "why", reason.sentence
        if needs_doing(reason):
            yield "do", reason.advice


def needs_doing(reason: Reason) -> bool:
    return reason.advice != NOTHING


def code_in(text: str) -> str:
    """The code in front of a detail, as in `time-macro (/p/x.c)`."""
    return text.partition(" (")[0]


def sentences(cause: Cause) -> list[str]:
    """What made the compile a miss: the first difference, then others."""
    if cause.kind != Reason.CHANGED:
        return [_within(cause)]
    if not cause.differences:
        return ["something has changed since the compile before; what it was has been lost"]
    lines = [phrase(each) for each in cause.differences[:_MOST_SHOWN]]
    if cause.count > len(lines):
        lines.append(f"and {cause.count - len(lines)} more")
    return lines


def _within(cause: Cause) -> str:
    """The reason's sentence within a line, and its detail."""
    reason = reason_of(cause.kind)
    said = cause.kind if reason is None else f"{reason.what[0].lower()}{reason.what[1:-1]}"
    return f"{said}: {cause.detail}" if cause.detail else said


def phrase(difference: Difference) -> str:
    """One difference, as in `the header /p/a.h changed`."""
    name, change = _told(difference.name), difference.change
    before, after = _told(difference.before) or "(empty)", _told(difference.after) or "(empty)"
    match difference.kind:
        case "toolchain":
            return f"the toolchain of {name} changed: it was {before[:12]}, it is {after[:12]}"
        case "environment" if change == "changed":
            return f"the variable {name} was {before}, it is {after}"
        case "environment" if change == "added":
            return f"the variable {name} was not set, it is {after}"
        case "environment":
            return f"the variable {name} is not set, it was {before}"
        case "option" if change == "changed":
            return f"the option {name} stands where {before} was"
        case "option":
            return f"the option {name} was {change}"
        case "directory" if change == "changed":
            return f"the working directory was {before}, it is {after}"
        case "directory":
            return f"the directory {name} {_APPEARED[change]}"
        case "compiler" | "machine" | "terminal":
            return f"the {name} was {before}, it is {after}"
        case "base":
            return "it was not run with the same base directory (ZCC_BASE_DIR, base_dir)"
        case "source":
            return f"the source {name} changed"
        case "symlink" if change == "changed":
            return f"the link {name} led to {before}, it leads to {after}"
        case "symlink":
            return f"the link {name} {_APPEARED[change]}"
        case "header" | "input" if change == "changed":
            return f"the {difference.kind} {name} changed"
        case "header" | "input":
            return f"the {difference.kind} {name} {_APPEARED[change]}"
        case _:
            return f"the {difference.kind} {name} was {change}"


def _told(text: str) -> str:
    """Without the neutral name under which outputs stand in a job's key."""
    return _NEUTRAL.sub("OUTPUT", text)


_APPEARED = {
    "added": "was not among the inputs, it is now",
    "removed": "is not among the inputs any more",
}
