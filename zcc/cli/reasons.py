"""Causes of misses as sentences. Pure."""

from __future__ import annotations

import re

from zcc.agent.causes import Cause
from zcc.agent.fingerprint import Difference
from zcc.compiler.renaming import NEUTRAL_DIRECTORY

_CAUSES = {
    "first": "nothing is known of an earlier compile of it",
    "refused": "what the cache holds does not hold any more: {} was looked for in vain, and is there now",
    "evicted": "nothing has changed, but its result is not kept any more (cache_size, zcc stats: evicted)",
    "not-kept": "nothing has changed, but the compile before left no result to keep: {}",
    "damaged": "what the cache held was damaged, and is forgotten: {}",
    "unknown": "this machine's cache does not hold it",
    "cache-off": "the cache is off (ZCC_CACHE or the setting cache)",
    "refresh": "a new compile was asked for (ZCC_CACHE=refresh)",
    "not-a-job": "it can only run here: {}",
}
_MOST_SHOWN = 5
_NEUTRAL = re.compile(rf"{re.escape(NEUTRAL_DIRECTORY.decode())}/\S*")


def sentences(cause: Cause) -> list[str]:
    """What made the compile a miss: the first difference, then others."""
    if cause.kind != "changed":
        return [_CAUSES[cause.kind].format(cause.detail)]
    if not cause.differences:
        return ["something has changed since the compile before; what it was has been lost"]
    lines = [phrase(each) for each in cause.differences[:_MOST_SHOWN]]
    if cause.count > len(lines):
        lines.append(f"and {cause.count - len(lines)} more")
    return lines


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
