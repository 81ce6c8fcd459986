"""What an option is: its spelling, its role, and how a word is matched against rows of them. Pure.

Owns the vocabulary in which the tables are written (`rows`, `local`) and the look-up in one (`Lookup`).
Must not know any option by name.

A word is matched against exact spellings first, then against the longest joined spelling that begins it.
Rows of one family go before rows of both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, Flag, auto

from zcc.reasons import Reason


class Family(Enum):
    GCC = "gcc"
    CLANG = "clang"


class Spelling(Flag):
    """How an option takes its operand; `-I` is SEPARATE | JOINED."""

    FLAG = auto()  # none
    SEPARATE = auto()  # the next word
    JOINED = auto()  # the rest of the word
    EQUALS = auto()  # the rest of the word, after `=`


class Role(Enum):
    """What zcc does about an option."""

    CARRIED = "carried"
    GUARDED = "carried unless it looks like one that names files"
    DEFINE = "define"
    SEARCH = "search"
    LANGUAGE = "language"
    MODE = "mode"
    FORCED_INCLUDE = "forced-include"
    EXTRA_INPUT = "extra-input"
    OUTPUT = "output"
    DEPFILE = "depfile"
    MACHINE = "machine-dependent"
    NESTED = "nested"
    TIME = "time"
    SOURCE = "source"
    UNKNOWN = "unknown"
    LOCAL = "local"


class Use(Enum):
    """Which of its role's options it is, where the reader treats one otherwise than the rest (`reader.py`)."""

    PLAIN = auto()
    # MODE
    OBJECT = auto()
    ASSEMBLY = auto()
    BITCODE = auto()
    # LANGUAGE: the operand is the language of the sources that follow; or it is this one.
    OF_SOURCES = auto()
    OBJC = auto()
    OBJCXX = auto()
    # SEARCH
    ARCHITECTURE = auto()
    TARGET = auto()
    SYSROOT = auto()  # or another place below which whole installations lie
    # EXTRA_INPUT
    PRECOMPILED = auto()
    PROFILE = auto()  # a directory, mostly: the file in it has a derived name
    SAMPLES = auto()
    PLUGIN = auto()
    PLUGIN_ARGUMENT = auto()
    CHARSET = auto()
    MODULE_MAP = auto()
    MODULE_MAPPER = auto()
    SPECS = auto()
    # OUTPUT
    MAIN = auto()
    SPLIT_DEBUG = auto()
    PROFILE_DIRECTORY = auto()
    SAVED_TEMPS = auto()
    STATISTICS = auto()
    TIME_TRACE = auto()
    DUMP = auto()
    OPTIMIZATIONS = auto()
    LISTING = auto()
    # DEPFILE
    RULE = auto()
    RULE_FILE = auto()
    # NESTED: whose words they are.
    PREPROCESSOR_LIST = auto()
    PREPROCESSOR_WORD = auto()
    ASSEMBLER_LIST = auto()
    ASSEMBLER_WORD = auto()
    FRONTEND_WORD = auto()
    BACKEND_WORD = auto()


_CAN_MOVE_THE_SEARCH_LIST = frozenset(
    (Role.CARRIED, Role.GUARDED, Role.SEARCH, Role.LANGUAGE, Role.MACHINE)
)


@dataclass(frozen=True, slots=True)
class Option:
    """A row. `use` is what sets it apart within its role, `reason` why a LOCAL one is local. `derives` are the
    side files of an OUTPUT one that names none itself: suffixes behind the name that the compiler derives them
    from, `*` standing for the source's own suffix, `^` for that too, in any place that releases of the compiler
    choose. `searches`: whether it can move the search list. `means`: the row it is an alias of.
    """

    name: bytes
    spelling: Spelling
    role: Role
    use: Use
    families: frozenset[Family]
    means: bytes
    reason: Reason | None
    derives: tuple[bytes, ...]
    searches: bool


@dataclass(frozen=True, slots=True)
class Match:
    """A row that a word fits. `operand` is None where there is none, or where it is the next word."""

    option: Option
    operand: bytes | None
    takes_next: bool


F = Spelling.FLAG
S = Spelling.SEPARATE
J = Spelling.JOINED
E = Spelling.EQUALS
EITHER = S | J
LONG = S | E

BOTH = frozenset(Family)
GCC = frozenset((Family.GCC,))
CLANG = frozenset((Family.CLANG,))


def rows(
    role: Role,
    spelling: Spelling,
    names: str,
    *,
    use: Use = Use.PLAIN,
    families: frozenset[Family] = BOTH,
    reason: Reason | None = None,
    derives: str = "",
    searches: bool | None = None,
) -> list[Option]:
    """One row for each name; `--long>-x` is a row for `--long` that means `-x`."""
    moves = role in _CAN_MOVE_THE_SEARCH_LIST if searches is None else searches
    suffixes = tuple(suffix.encode() for suffix in derives.split())
    made = []
    for name in names.split():
        spelled, _, means = name.encode().partition(b">")
        made.append(
            Option(
                spelled, spelling, role, use, families, means or spelled, reason, suffixes, moves
            )
        )
    return made


def local(
    reason: Reason, spelling: Spelling, names: str, families: frozenset[Family] = BOTH
) -> list[Option]:
    return rows(Role.LOCAL, spelling, names, families=families, reason=reason)


class Lookup:
    """The rows of one table for one family, ready to be asked."""

    __slots__ = ("_exact", "_joined", "_lengths", "_remembered")

    # Distinct words of a project: flags repeat, names do not. About 1 MB when full.
    MAX_REMEMBERED = 4096

    def __init__(self, rows: Iterable[Option], family: Family) -> None:
        self._exact: dict[bytes, Option] = {}
        self._joined: dict[bytes, Option] = {}
        self._remembered: dict[bytes, Match | None] = {}
        fitting = [row for row in rows if family in row.families]
        for row in sorted(fitting, key=lambda row: len(row.families)):
            if row.spelling & (Spelling.FLAG | Spelling.SEPARATE):
                self._exact.setdefault(row.name, row)
            if row.spelling & Spelling.JOINED:
                self._joined.setdefault(row.name, row)
            if row.spelling & Spelling.EQUALS:
                self._joined.setdefault(row.name + b"=", row)
        self._lengths = tuple(sorted({len(prefix) for prefix in self._joined}, reverse=True))

    def find(self, word: bytes) -> Match | None:
        """The row that this word fits best; None: unknown."""
        try:
            return self._remembered[word]
        except KeyError:
            if len(self._remembered) >= self.MAX_REMEMBERED:
                self._remembered.clear()
            match = self._remembered[word] = self._search(word)
            return match

    def _search(self, word: bytes) -> Match | None:
        option = self._exact.get(word)
        if option is not None:
            return Match(option, None, bool(option.spelling & Spelling.SEPARATE))
        for length in self._lengths:
            option = self._joined.get(word[:length])
            if option is not None and len(word) >= length:
                return Match(option, word[length:], takes_next=False)
        return None
