"""The jobs of one command: one for each source, and one result of all.

`gcc -c a.c b.c` compiles one source after the other, and what it says and writes is what the single commands
say and write, in order, except where the driver itself speaks or one source's outputs meet another's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from zcc.agent.analysis.outcome import Prepared
from zcc.agent.results.local_cache import Missed
from zcc.agent.results.restore import Files
from zcc.job import SANDBOX_DIRECTORY, Result

_OFFLOADED = b"__omp_offloading_"
_COLOUR = re.compile(rb"\x1b\[[0-9;]*[mK]")
# The driver's own messages come once for all sources. `cc1:` is not the driver.
_DRIVER_SPEAKS = re.compile(
    rb"^(?:[\w.+-]*-)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+)(?:-[\d.]+)?: ", re.MULTILINE
)


@dataclass(slots=True, eq=False)
class Part:
    """One source's job; `ticket` is its name in the talk with the broker."""

    prepared: Prepared
    ticket: int
    result: Result | None = None
    files: Files = field(default_factory=list)
    is_recalled: bool = False
    missed: Missed | None = None  # why this machine's cache had no result


def way_of(parts: Sequence[Part]) -> str:
    """How the inputs were found; of several sources, the first that was listed counts."""
    return min(part.prepared.way for part in parts)


def names_sandbox(files: Files, result: Result) -> str:
    """Which output names the sandbox's own directory; empty where none does.

    Some compiles write down the name of the driver's temporary file: listings of the assembler, its debug
    information for a source without line markers, its messages. Elsewhere that name is another.
    """
    mark = SANDBOX_DIRECTORY + b"/"
    for path, _, content in files:
        if mark in content:
            return os.fsdecode(path)
    return "the messages" if mark in result.stdout or mark in result.stderr else ""


def names_inode(files: Files) -> str:
    """Which output names a function after the numbers of its source's device and inode; empty where none does.

    clang does so for what `#pragma omp target` moves out of a function, whether or not there is anywhere to
    move it to (getTargetEntryUniqueInfo). On a node the file has other numbers.
    """
    named = (path for path, _, content in files if _OFFLOADED in content)
    return os.fsdecode(next(named, b""))


def overlap(jobs: Sequence[Prepared]) -> str:
    """What one of these jobs writes and another writes, reads or looks for in vain; empty where nothing is.

    What no scan sees of that, `why_not_one` finds in the results.
    """
    written: set[bytes] = set()
    for prepared in jobs:
        outputs = set(prepared.job.outputs)
        if both := written & outputs:
            return os.fsdecode(min(both))
        written |= outputs
    if len(jobs) > 1:
        for prepared in jobs:
            for file in prepared.job.manifest.files:
                if file.path in written:
                    return os.fsdecode(file.path)
            for path in written:
                directory, _, name = path.rpartition(b"/")
                if name in prepared.closure.misses.get(directory or b"/", ()):
                    return os.fsdecode(path)
    return ""


def why_not_one(parts: Sequence[Part]) -> str:
    """Why these results do not make up the command's; empty where they do, as far as they have come."""
    if len(parts) == 1:
        return ""
    names = {
        output.path.rpartition(b"/")[2]
        for part in parts
        if part.result is not None
        for output in part.result.outputs
    }
    for part in parts:
        if part.result is None:
            continue
        if _DRIVER_SPEAKS.search(_COLOUR.sub(b"", part.result.stderr)):
            return "the driver's own messages come once"
        for _, missed in part.result.lookups.misses:
            if both := names.intersection(missed):
                return f"{os.fsdecode(min(both))} was looked for, and is written by another"
    return ""


def are_on_both_streams(parts: Sequence[Part]) -> bool:
    """Whether the command has written to standard output and to standard error."""
    results = [part.result for part in parts if part.result is not None]
    return any(result.stdout for result in results) and any(result.stderr for result in results)


def as_spelled(prepared: Prepared, files: Files) -> Files:
    """The files under the names that the command has for them, for the launcher to find their places."""
    outputs = prepared.outputs
    if outputs is None:
        return files
    return [(outputs.as_spelled(path), mode, content) for path, mode, content in files]


def joined(parts: Sequence[Part]) -> tuple[Files, bytes, bytes]:
    """Files (the main output of the last source last), stdout and stderr of the whole command."""
    files = [file for part in parts for file in as_spelled(part.prepared, part.files)]
    results = [part.result for part in parts if part.result is not None]
    stdout = b"".join(result.stdout for result in results)
    return files, stdout, b"".join(result.stderr for result in results)
