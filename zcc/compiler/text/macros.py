"""The macros of a closure, and what a text can become when they are expanded. Pure.

No condition is evaluated: every definition that the closure holds counts, so a text becomes a set of texts.
Where that would be too large, or take too long, TooManyError says so.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from zcc.compiler.text.directives import Computed, Include
from zcc.errors import CompilerError

# Texts that one piece may stand for. Boost.MPL's are 12 directories times what is in use of 80 names.
MAX_TEXTS = 4096
# Macros that one operand may lead to: those of Boost.Preprocessor are 3,000.
MAX_REACHED = 50_000
# Expansions for one operand, of 5 to 10 us each.
MAX_STEPS = 20_000
_MAX_DEPTH = 24
# Macros that GNU modes predefine and that are likely in a path: `<linux/x.h>` from a macro becomes `<1/x.h>`.
_PREDEFINED = frozenset((b"linux", b"unix", b"i386", b"sun", b"sparc", b"mips", b"vax", b"hpux"))

_NAME = re.compile(rb"[A-Za-z_$\x80-\xff][\w$\x80-\xff]*+")
_PASTED = re.compile(rb"([A-Za-z_$][\w$]*+)(?=[ \t]*##)|##[ \t]*([A-Za-z_$][\w$]*+)")
_PARAMETERS = re.compile(rb"\(([^)]*)\)")
_STRINGIZES = re.compile(rb"(?<!#)#(?!#)[ \t]*[A-Za-z_]")
_COMMENT = re.compile(rb"/\*.*?\*/|//.*|/\*.*", re.DOTALL)
_PASTE = re.compile(rb"[ \t]*##[ \t]*")
_TOKEN = re.compile(
    rb"(?P<name>[A-Za-z_$\x80-\xff][\w$\x80-\xff]*+)|(?P<other>[0-9][\w.]*+|\s+|.)", re.DOTALL
)


class TooManyError(CompilerError):
    """More can be meant than is worth looking for."""


class Macros:
    """Every definition of every macro in a closure; values as `read_definitions` gives them."""

    def __init__(self) -> None:
        self.steps = 0  # taken for the operand at hand
        self._values: dict[bytes, dict[bytes, None]] = {}
        self._sorted: tuple[list[bytes], list[bytes]] | None = None
        self._log: list[bytes] = []  # the names that got a value, in the order of additions
        self._pieces: set[bytes] = set()  # those that anything has been pasted of
        # What was found in a text, and what an operand led to; `computed` keeps it here.
        self.headers: dict[tuple[bytes, bool], frozenset[Include]] = {}
        self.settled: dict[Computed, tuple[int, set[bytes], set[Include]]] = {}

    def add(self, definitions: Mapping[bytes, tuple[bytes, ...]]) -> None:
        """Those of one more file."""
        for name, values in definitions.items():
            known = self._values.get(name)
            if known is None:
                self._values[name] = dict.fromkeys(values)
                self._sorted = None
            elif all(value in known for value in values):
                continue
            else:
                known.update(dict.fromkeys(values))
            self._log.append(name)
        self.headers.clear()

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def is_function(self, name: bytes) -> bool:
        return any(value.startswith(b"(") for value in self.values(name))

    def values(self, name: bytes) -> Iterable[bytes]:
        return self._values.get(name, ())

    def pasted(self, piece: bytes) -> Iterator[bytes]:
        """The macros whose names begin or end with this."""
        self._pieces.add(piece)
        if self._sorted is None:
            names = sorted(self._values)
            self._sorted = (names, sorted(name[::-1] for name in names))
        for names, start in ((self._sorted[0], piece), (self._sorted[1], piece[::-1])):
            at = bisect_left(names, start)
            while at < len(names) and names[at].startswith(start):
                yield names[at] if names is self._sorted[0] else names[at][::-1]
                at += 1

    def leads_to(self, text: bytes, with_pasted: bool = True) -> set[bytes]:
        """All names that the expansion of this text may come across, defined or not (they may be yet).

        `with_pasted`: with those that are pasted together.

        Raises:
            TooManyError.
        """
        reached: set[bytes] = set()
        pending = [*self._onward(text, with_pasted)]
        while pending:
            name = pending.pop()
            if name in reached:
                continue
            reached.add(name)
            if len(reached) > MAX_REACHED:
                raise TooManyError
            for value in self.values(name):
                pending += self._onward(value, with_pasted)
        return reached

    def stringizers(self, reached: set[bytes]) -> set[bytes]:
        """Those of these macros whose call can make a string of its arguments, by itself or by those it calls.

        `reached` is closed: what one of them leads to is in it.
        """
        found = {
            name
            for name in reached
            if any(value.startswith(b"(") and _makes_string(value) for value in self.values(name))
        }
        if not found:
            return found
        callers: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for name in reached:
            for value in self.values(name):
                if value.startswith(b"("):
                    for called in _names_in(value)[0]:
                        callers[called].append(name)
        pending = [*found]
        while pending:
            fresh = {each for each in callers.get(pending.pop(), ()) if each not in found}
            found |= fresh
            pending += fresh
        return found

    def callers_of(self, names: Iterable[bytes]) -> set[bytes]:
        """These, and every macro whose expansion can come across one of them by name."""
        found = fresh = {*names}
        while fresh:
            # A search of each definition is cheaper than a table of all names in all of them.
            called = re.compile(
                rb"(?<![\w$])(?:%s)(?![\w$])" % b"|".join(map(re.escape, fresh))
            ).search
            fresh = {
                name
                for name, values in self._values.items()
                if name not in found and any(map(called, values))
            }
            found = found | fresh
        return found

    def is_settled(self, since: int, reached: set[bytes]) -> bool:
        """Whether nothing that has been added since (`changes` was that) belongs to what was reached."""
        return not any(
            name in reached or not self._pieces.isdisjoint(_ends_of(name))
            for name in self._log[since:]
        )

    @property
    def changes(self) -> int:
        return len(self._log)

    def _onward(self, value: bytes, with_pasted: bool) -> list[bytes]:
        names, pieces = _names_in(value)
        found = list(names)
        for piece in pieces if with_pasted else ():
            found += self.pasted(piece)
        return found


def _ends_of(name: bytes) -> Iterator[bytes]:
    for at in range(1, len(name) + 1):
        yield name[:at]
        yield name[-at:]


@lru_cache(maxsize=1 << 16)
def _names_in(value: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The names in a definition that are not its parameters, and those that are there to be pasted."""
    parameters: frozenset[bytes] = frozenset()
    if value.startswith(b"("):
        match = _PARAMETERS.match(value)
        parameters = frozenset(_NAME.findall(match[1])) if match else parameters
    names = dict.fromkeys(name for name in _NAME.findall(value) if name not in parameters)
    pieces = {piece for pair in _PASTED.findall(value) for piece in pair if piece in names}
    pieces |= {name for name in names if name.endswith(b"_")}
    return tuple(names), tuple(sorted(piece for piece in pieces if piece.strip(b"_")))


def expand(text: bytes, macros: Macros) -> set[bytes]:
    """The texts that this can become, joined without the blanks around them.

    Raises:
        TooManyError.
    """
    return _expanded(text, macros, _MAX_DEPTH, frozenset())


def _expanded(text: bytes, macros: Macros, depth: int, hidden: frozenset[bytes]) -> set[bytes]:
    text = text.strip()
    macros.steps += 1
    if macros.steps > MAX_STEPS:
        raise TooManyError
    made = {b""}
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None
        at = match.end()
        name = match["name"]
        pieces = {match[0]}
        if name in _PREDEFINED:
            pieces.add(b"1")
        if name is not None and name not in hidden and name in macros:
            if depth == 0:
                raise TooManyError
            called = arguments_at(text, at)
            pieces = _expand_name(name, called and called[0], macros, depth - 1, hidden | {name})
            if called is not None and macros.is_function(name):
                at = called[1]
        if len(made) * len(pieces) > MAX_TEXTS:
            raise TooManyError
        made = {start + piece for start in made for piece in pieces}
    return made


def _expand_name(
    name: bytes,
    arguments: list[bytes] | None,
    macros: Macros,
    depth: int,
    hidden: frozenset[bytes],
) -> set[bytes]:
    # In small letters it may be a plain word where it stands: `list.hpp`, and some header's `list`.
    pieces = set() if name.isupper() else {name}
    for value in macros.values(name):
        if not value.startswith(b"("):
            bodies = {body_of(value)}
        elif arguments is not None:
            bodies = _substituted(
                value, arguments, lambda text: _expanded(text, macros, depth, hidden)
            )
        else:
            continue
        for body in bodies:
            pieces |= _expanded(_PASTE.sub(b"", body), macros, depth, hidden)
        if len(pieces) > MAX_TEXTS:
            raise TooManyError
    return pieces or {name}


def arguments_at(text: bytes, at: int) -> tuple[list[bytes], int] | None:
    """The arguments of a call whose parenthesis comes at `at`, and where it ends."""
    while at < len(text) and text[at : at + 1].isspace():
        at += 1
    if text[at : at + 1] != b"(":
        return None
    depth, start, arguments = 0, at + 1, []
    for here in range(at, len(text)):
        mark = text[here : here + 1]
        if mark == b"(":
            depth += 1
        elif mark == b")":
            depth -= 1
            if depth == 0:
                arguments.append(text[start:here].strip())
                return arguments, here + 1
        elif mark == b"," and depth == 1:
            arguments.append(text[start:here].strip())
            start = here + 1
    return None


def _substituted(
    value: bytes, arguments: list[bytes], expand: Callable[[bytes], set[bytes]]
) -> set[bytes]:
    """The bodies of a function-like definition with these arguments; none where it takes another number.

    An argument is expanded first, except beside `#` and `##`.
    """
    match = _PARAMETERS.match(value)
    if match is None:
        return set()
    parameters = [name.strip() for name in match[1].split(b",")] if match[1].strip() else []
    if parameters and parameters[-1].endswith(b"..."):
        at = len(parameters) - 1
        arguments = [*arguments[:at], b", ".join(arguments[at:])]
        parameters[-1] = parameters[-1][:-3].strip() or b"__VA_ARGS__"
    if len(parameters) != len(arguments) and (parameters or arguments != [b""]):
        return set()
    given = dict(zip(parameters, arguments, strict=False))
    body = body_of(value)
    made, at = {b""}, 0
    for name in _NAME.finditer(body):
        if name[0] not in given:
            continue
        between = body[at : name.start()]
        is_raw = between.rstrip().endswith(b"#") or body[name.end() :].lstrip().startswith(b"##")
        texts = {given[name[0]]} if is_raw else expand(given[name[0]])
        if len(made) * len(texts) > MAX_TEXTS:
            raise TooManyError
        made = {start + between + text for start in made for text in texts}
        at = name.end()
    return {start + body[at:] for start in made}


@lru_cache(maxsize=1 << 15)
def _makes_string(value: bytes) -> bool:
    return b"#" in value and _STRINGIZES.search(value) is not None


@lru_cache(maxsize=1 << 15)
def body_of(value: bytes) -> bytes:
    """What a definition stands for, without its parameters and comments."""
    match = _PARAMETERS.match(value) if value.startswith(b"(") else None
    return clean(value[match.end() :] if match else value)


def clean(text: bytes) -> bytes:
    return _COMMENT.sub(b" ", text).strip() if b"/" in text else text.strip()


def given_definitions(defines: Iterable[bytes]) -> dict[bytes, tuple[bytes, ...]]:
    """What the command line (the operands of `-D`) defines."""
    found: dict[bytes, tuple[bytes, ...]] = {}
    for text in defines:
        name, equals, value = text.partition(b"=")
        plain, paren, rest = name.partition(b"(")
        # -D'F(x)=y' is a function; the blank tells an object from one.
        spelled = paren + rest + b" " + value if paren else b" " + (value if equals else b"1")
        found[plain] = (*found.get(plain, ()), spelled)
    return found
