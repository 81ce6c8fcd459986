"""What a job is about, in words for people: what a farm's watchers are shown of it. Pure.

It is the agent's word and tells on nothing: what a job is expected to cost depends on its traits
(zcc/traits.py), its turn on `Submit.build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from zcc.bounds import MAX_SECONDS, Count, Length, Name, Range

# Reasons, and files, of a build in one message of an agent's counts: a second of a build has a handful of the
# first, and some of the second are enough. All 64 agents of a key may say as much each second.
MAX_COUNTED = 16
MAX_FILES = 8
# A code of zcc/reasons.py has 24 characters at most.
MAX_WORD = 40

Milliseconds = Annotated[int, Range(0, int(MAX_SECONDS * 1000))]
Word = Annotated[str, Length(MAX_WORD, is_cut=True)]
BuildCount = Annotated[tuple[tuple[Word, Count], ...], Length(MAX_COUNTED)]


@dataclass(frozen=True, slots=True)
class BuildName:
    """A build of this machine: `number` is the Unix millisecond in which it began, `name` is for people."""

    number: Count
    name: Name


@dataclass(frozen=True, slots=True)
class Subject:
    """`file` is the source, from where its project begins. `toolchain` is the compiler's name and version.
    `scan_ms` is how long it took to find what the job reads."""

    build: BuildName
    file: Name
    language: Word
    toolchain: Name
    scan_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A compile on the agent's machine: for what reason, of which source, and how long it waited for that."""

    reason: Word
    file: Name
    waited_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class BuildCounts:
    """What came of a build's calls since the last time, as far as the broker does not see it.

    `local` counts compiles on this machine by reason, `missed` by cause what its own cache did not answer.
    `saved_ms` is the CPU time that all hits took when they were compiled. `files` are some of the local ones.
    """

    build: BuildName
    local_hits: Count
    saved_ms: Milliseconds
    local: BuildCount
    missed: BuildCount
    files: Annotated[tuple[LocalFile, ...], Length(MAX_FILES)]
