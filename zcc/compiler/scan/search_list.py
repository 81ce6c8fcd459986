"""Where a compiler looks for headers, as the compiler itself says. Runs nothing: sans-io.

Owns the question (`query_arguments`), the reading of the answer (`parse_search_list`) and how long
an answer holds (`SearchMemo`). GCC and clang print the same form under `-v -E`, with LC_ALL=C:

    ignoring nonexistent directory "DIR"
    ignoring duplicate directory "DIR"
    #include "..." search starts here:
     DIR
    #include <...> search starts here:
     DIR
    End of search list.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from zcc.compiler.commandline.languages import ASSEMBLER, ASSEMBLER_WITH_CPP
from zcc.errors import CompilerError

# Environment of the query, on top of the launcher's own: the answer's words must be the untranslated ones.
QUERY_ENVIRONMENT = ((b"LC_ALL", b"C"),)
# A project has a handful of sets of flags; a list is about 2 KB.
MAX_REMEMBERED = 1024

_NONEXISTENT = b'ignoring nonexistent directory "'
_DUPLICATE = b'ignoring duplicate directory "'
_QUOTE_STARTS = b'#include "..." search starts here:'
_ANGLE_STARTS = b"#include <...> search starts here:"
_ENDS = b"End of search list."


@dataclass(frozen=True, slots=True)
class SearchList:
    """Directories as the compiler spells them, in its order.

    A quoted name is looked for beside its includer (unless `skips_includer`, GCC's `-I-`), in `quote`,
    then in `angle`. `ignored` are named but absent, `duplicates` exist and are listed elsewhere.
    """

    quote: tuple[bytes, ...] = ()
    angle: tuple[bytes, ...] = ()
    ignored: tuple[bytes, ...] = ()
    duplicates: tuple[bytes, ...] = ()
    skips_includer: bool = False

    def all_directories(self) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys(self.quote + self.angle + self.ignored + self.duplicates))


@dataclass(frozen=True, slots=True)
class SearchKey:
    """All that a search list depends on besides the directories themselves."""

    executable: bytes
    toolchain: bytes
    language: str
    arguments: tuple[bytes, ...]
    cwd: bytes
    environment: tuple[tuple[bytes, bytes], ...]


def query_arguments(search_arguments: Sequence[bytes], language: str) -> tuple[bytes, ...]:
    """What to append to the compiler's name, to be run in the compile's cwd with QUERY_ENVIRONMENT.

    `search_arguments` are those that can move the list (`-I`, `-isystem`, `--sysroot`, `-std`, `-m`,
    `--target`...) and nothing that names an input or an output. The answer is on standard error.
    """
    # Without a preprocessor nobody prints a list; but the assembler looks in the directories of -I as well.
    asked = ASSEMBLER_WITH_CPP if language == ASSEMBLER else language
    return (b"-v", b"-E", b"-x", asked.encode(), *search_arguments, os.fsencode(os.devnull))


def parse_search_list(answer: bytes, search_arguments: Sequence[bytes] = ()) -> SearchList:
    """The search list in what the compiler wrote to standard error.

    Raises:
        CompilerError: no list, or one with frameworks, header maps, files taken for directories, or names
            that cannot be told from the text around them: compile locally.
    """
    sections: dict[bytes, list[bytes]] = {
        name: [] for name in (_NONEXISTENT, _DUPLICATE, _QUOTE_STARTS, _ANGLE_STARTS)
    }
    section: list[bytes] | None = None
    has_ended = False
    for line in answer.split(b"\n"):
        if line in sections:
            section = sections[line]
        elif line == _ENDS:
            has_ended, section = True, None
        elif section is not None:
            section.append(_directory_on(line))
        elif line.startswith((_NONEXISTENT, _DUPLICATE)):
            if not line.endswith(b'"'):
                raise CompilerError(f"a search directory that cannot be read: {line!r:.200}")
            start = _NONEXISTENT if line.startswith(_NONEXISTENT) else _DUPLICATE
            sections[start].append(line[len(start) : -1])
        elif line.endswith(b"not a directory") or line.endswith(b"Not a directory"):
            raise CompilerError(f"a search directory that is none: {line!r:.200}")
    if not has_ended:
        raise CompilerError("the compiler printed no search list")
    return SearchList(
        quote=tuple(sections[_QUOTE_STARTS]),
        angle=tuple(sections[_ANGLE_STARTS]),
        ignored=tuple(sections[_NONEXISTENT]),
        duplicates=tuple(dict.fromkeys(sections[_DUPLICATE])),
        skips_includer=_has_split(search_arguments),
    )


class SearchMemo:
    """Answers, each as long as every directory that it names is the one that it was.

    A missing directory that appears moves the list, and so does one that becomes the same as another.
    """

    def __init__(self, stat: Callable[[bytes], os.stat_result] = os.stat) -> None:
        self._stat = stat
        self._known: OrderedDict[SearchKey, _Remembered] = OrderedDict()

    def get(self, key: SearchKey) -> SearchList | None:
        remembered = self._known.get(key)
        if remembered is None:
            return None
        if self._identities(remembered.directories) != remembered.identities:
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return remembered.search

    def put(self, key: SearchKey, search: SearchList) -> None:
        """Remember an answer. Taken after the query: a directory that moved meanwhile is not noticed
        here, but the proof of the first job is."""
        directories = [os.path.join(key.cwd, at) for at in search.all_directories()]
        self._known[key] = _Remembered(search, directories, self._identities(directories))
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _identities(self, directories: Sequence[bytes]) -> _Identities:
        return [self._identity(at) for at in directories]

    def _identity(self, path: bytes) -> tuple[int, int] | None:
        try:
            status = self._stat(path)
        except OSError:
            return None
        return status.st_dev, status.st_ino


_Identities = list[tuple[int, int] | None]


@dataclass(frozen=True, slots=True)
class _Remembered:
    search: SearchList
    directories: Sequence[bytes]
    identities: _Identities


def _directory_on(line: bytes) -> bytes:
    """The directory that a line of the list names."""
    if not line.startswith(b" ") or line.endswith((b" (framework directory)", b" (headermap)")):
        raise CompilerError(f"a search directory that cannot be shipped: {line!r:.200}")
    return line[1:]


def _has_split(arguments: Sequence[bytes]) -> bool:
    """Whether `-I-` is given, which takes the includer's own directory out of the search."""
    return b"-I-" in arguments or (b"-I", b"-") in pairwise(arguments)
