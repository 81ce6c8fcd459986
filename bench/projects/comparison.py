"""What two builds of one project have in common: every file, every command's words and answers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatch

from builds import Build, Command

# Journals of the build systems, with times and process ids in them: two plain builds differ in them too.
JOURNALS = (
    "*config.log",
    "*.ninja_log",
    "*.ninja_deps",
    "*CMakeFiles/CMake*.log",
    "*CMakeFiles/*.bin",  # linked from files with random names
    "*CMakeFiles/rules.ninja.tmp*",
    "*.gch",  # hold addresses of the process that made them
    "*.pch",  # and the times of headers that CMake wrote
    "*.gcda",
    "*meson-logs/*",
    "*meson-private/*.dat",
    "*meson-info/*",
)
# A compiler's and a build system's names for what is there for a moment only.
_FLEETING = re.compile(
    rb"/tmp/c[cg][A-Za-z0-9]{6}|/tmp/[A-Za-z0-9_]+-[0-9a-f]{6}|cmTC_[0-9a-f]{5}|tmp[a-z0-9_]{8}"
)


@dataclass(frozen=True)
class Comparison:
    """How many files and commands were compared, and what was not equal."""

    files: int
    commands: int
    differences: list[str]


def compare(plain: Build, distributed: Build) -> Comparison:
    """Both builds have been run."""
    one, other = (
        {
            name: seen
            for name, seen in build.written.items()
            if not any(fnmatch(name, pattern) for pattern in JOURNALS)
        }
        for build in (plain, distributed)
    )
    names = sorted(one.keys() | other.keys())
    differences = [f"file {name}" for name in names if one.get(name) != other.get(name)]
    said, said_there = (Counter(map(normal, build.commands)) for build in (plain, distributed))
    for command in (said - said_there) + (said_there - said):
        words = b" ".join(command.words).decode(errors="replace")
        differences.append(f"messages or status of: {words}")
    return Comparison(len(names), len(plain.commands), differences)


def normal(command: Command) -> Command:
    """The command without names that are made up for each run."""
    words = tuple(_FLEETING.sub(b"*", word) for word in command.words)
    stdout, stderr = (_FLEETING.sub(b"*", text) for text in (command.stdout, command.stderr))
    return Command(words, stdout, stderr, command.status)
