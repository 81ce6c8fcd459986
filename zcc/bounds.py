"""The bounds of everything that a peer names: each number, word, path and list has one. Pure.

Owns the named types of which messages (zcc/messages.py), jobs and results (zcc/job.py) are made, and the rule
that is derived from a type. A field of plain `int`, `float`, `str`, `bytes` or `tuple` has no rule, so a class
with one cannot even be imported with the codec. `docs/reference/bounds.md` has the table.

A class is read as a record, which may grow at its end: a field that is lacking has its default, and those that
are not known are passed over. A tuple has the length that its type says, for good.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cache.digest import DIGEST_SIZE, Digest


@dataclass(frozen=True, slots=True)
class Range:
    """A number's, both ends included."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Length:
    """Of a text in characters, of bytes, or of a list. `is_cut`: whoever writes it cuts it to that."""

    most: int
    least: int = 0
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Like:
    """Bytes of at most so many, which a pattern matches as a whole."""

    pattern: re.Pattern[bytes]
    most: int
    what: str


# ---- numbers ---------------------------------------------------------------------------------------

# int64: what SQLite, struct and every other program take.
MAX_COUNT = (1 << 63) - 1
# One petabyte: more than any disk or memory that a compile sees.
MAX_SIZE_BYTES = 1 << 50
# 30 days: of CPU, on the wall or in a queue, for one compile.
MAX_SECONDS = 30 * 86400.0
# A node of more processors than any machine has; the broker's own bound is broker/core/limits.py's.
MAX_SLOTS = 1 << 20
# Load averages and speeds; of either, a thousand is already absurd.
MAX_LOAD = 1e6
MAX_SPEED = 1e9

Count = Annotated[int, Range(0, MAX_COUNT)]
Size = Annotated[int, Range(0, MAX_SIZE_BYTES)]
Seconds = Annotated[float, Range(0.0, MAX_SECONDS)]
SlotCount = Annotated[int, Range(0, MAX_SLOTS)]
Load = Annotated[float, Range(0.0, MAX_LOAD)]
Speed = Annotated[float, Range(0.0, MAX_SPEED)]

# ---- words -----------------------------------------------------------------------------------------

# Names of members and farms, versions, roles, states: what stands in a column of a table.
MAX_NAME = 256
# Reasons and details, for people and for logs.
MAX_REASON = 4096
# Sessions and leases are 16 bytes, ccache's keys at most 64: who sends another length is told so.
MAX_ID_BYTES = 64

Name = Annotated[str, Length(MAX_NAME, is_cut=True)]
Reason = Annotated[str, Length(MAX_REASON, is_cut=True)]
Id = Annotated[bytes, Length(MAX_ID_BYTES)]

# ---- paths -----------------------------------------------------------------------------------------

MAX_PATH_BYTES = 4095  # PATH_MAX without the NUL
MAX_NAME_BYTES = 255  # NAME_MAX, of every file system that Linux has
# Deepest path of what compilers read; node_modules and Nix reach 40. It bounds every walk.
MAX_DEPTH = 200

_STEP = rb"/(?!\.{1,2}(?:/|\Z))[^/\0]{1,%d}" % MAX_NAME_BYTES
_PATH = re.compile(rb"/|(?:%s){1,%d}" % (_STEP, MAX_DEPTH))
_PLAIN = re.compile(rb"[^\0]*")
_SOME = re.compile(rb"[^\0]+")
_VARIABLE = re.compile(rb"[^\0=]+")


def is_path(value: bytes) -> bool:
    """Whether this is a Path."""
    return len(value) <= MAX_PATH_BYTES and _PATH.fullmatch(value) is not None


# An absolute path that goes nowhere but down.
Path = Annotated[bytes, Like(_PATH, MAX_PATH_BYTES, "an absolute physical path")]
# A path, or a name, as a program spelled it.
Spelling = Annotated[bytes, Like(_SOME, MAX_PATH_BYTES, "a path")]
# As bytes of an argument or of a variable's value; Linux takes 128 KiB for each.
MAX_WORD_BYTES = 128 << 10
Word = Annotated[bytes, Like(_PLAIN, MAX_WORD_BYTES, "a word without NUL")]
VariableName = Annotated[bytes, Like(_VARIABLE, MAX_PATH_BYTES, "a variable's name")]


# ---- what is not known -----------------------------------------------------------------------------

# What a peer of a later release may say at the end of a record: some fields, words as long as the longest
# Reason among them, and short lists. It is looked at no further than this.
MAX_UNKNOWN_FIELDS = 16
MAX_UNKNOWN_ITEMS = 256
MAX_UNKNOWN_BYTES = 32 << 10


def pass_over(unknown: Sequence[Any]) -> None:
    """Take no notice of these fields, as msgpack gives them.

    Raises:
        ValueError: they are more than a later release has to say.
    """
    if len(unknown) > MAX_UNKNOWN_FIELDS:
        raise ValueError(f"more than {MAX_UNKNOWN_FIELDS} fields that are not known")
    waiting = list(unknown)
    items_left, bytes_left = MAX_UNKNOWN_ITEMS - len(waiting), MAX_UNKNOWN_BYTES
    while waiting:
        value = waiting.pop()
        if type(value) is list:
            items_left -= len(value)
            waiting += value[:MAX_UNKNOWN_ITEMS]
        elif type(value) in (str, bytes):
            bytes_left -= len(value)
        elif type(value) not in (int, float, bool, type(None)):
            raise ValueError(f"a {type(value).__name__} in a field that is not known")
        if items_left < 0 or bytes_left < 0:
            raise ValueError("fields that are not known hold too much")


# ---- rules -----------------------------------------------------------------------------------------

Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a type stands for.

    `read` takes a value as msgpack gives it and returns it as the type has it; `judge` takes it as the type has
    it. Both raise ValueError for what breaks the bounds. `write` makes of a value in memory what msgpack is
    given. `most_bytes` is what msgpack may take for one, `most_items` the longest list in it, which of a record
    has as many fields more as may be unknown.
    """

    read: Check
    judge: Check
    write: Check
    most_bytes: int
    most_items: int = 0


# What msgpack puts before a number, a word or a list, at most.
_HEAD_BYTES = 9


def rule_of(hint: Any) -> Rule:
    """The rule that a type stands for.

    Raises:
        TypeError: a type without bounds.
    """
    if hint is Digest:
        return _scalar(_digest, DIGEST_SIZE)
    if hint is bool:
        return _scalar(_flag, 0)
    origin = get_origin(hint)
    if origin is Annotated:
        base, bound = get_args(hint)
        if get_origin(base) is tuple:
            return _list_rule(rule_of(get_args(base)[0]), bound)
        return _BOUNDED[base, type(bound)](bound)
    if origin is tuple and get_args(hint)[-1] is not Ellipsis:
        return _row_rule([rule_of(item) for item in get_args(hint)])
    if origin in (Union, UnionType) and get_args(hint)[1:] == (type(None),):
        return _optional_rule(rule_of(get_args(hint)[0]))
    if is_dataclass(hint) and isinstance(hint, type):
        return _class_rule(hint)
    raise TypeError(f"{hint!r} has no bound: use or add a type of zcc/bounds.py")


def hints_of(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, with their bounds."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _scalar(check: Check, most_bytes: int) -> Rule:
    return Rule(check, check, _same, most_bytes + _HEAD_BYTES)


def _same(value: Any) -> Any:
    return value


def _digest(value: Any) -> Any:
    if type(value) is not bytes or len(value) != DIGEST_SIZE:
        raise ValueError(f"expected a digest, found {value!r:.40}")
    return value


def _flag(value: Any) -> Any:
    if type(value) is not bool:
        raise ValueError(f"expected true or false, found {value!r:.40}")
    return value


def _integer_rule(bound: Range) -> Rule:
    least, most = bound.least, bound.most

    def check(value: Any) -> Any:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"expected a number from {least} to {most}, found {value!r:.40}")
        return value

    return _scalar(check, 0)


def _number_rule(bound: Range) -> Rule:
    least, most = bound.least, bound.most

    def check(value: Any) -> Any:
        # A NaN is in no range.
        if type(value) not in (int, float) or not least <= value <= most:
            raise ValueError(f"expected a number from {least} to {most}, found {value!r:.40}")
        return float(value)

    def write(value: Any) -> Any:
        return min(max(least, value), most)  # of a NaN: the least

    return Rule(check, check, write, _HEAD_BYTES)


def _text_rule(bound: Length) -> Rule:
    least, most = bound.least, bound.most

    def check(value: Any) -> Any:
        if type(value) is not str or not least <= len(value) <= most:
            raise ValueError(f"expected at most {most} characters, found {value!r:.40}")
        return value

    def cut(value: Any) -> Any:
        return sayable(value[:most])

    # A character takes up to four bytes.
    write = cut if bound.is_cut else _same
    return Rule(check, check, write, 4 * most + _HEAD_BYTES)


def sayable(text: str) -> str:
    """The text without what UTF-8 cannot say: bytes of a path that are none."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _bytes_rule(bound: Length) -> Rule:
    least, most = bound.least, bound.most

    def check(value: Any) -> Any:
        if type(value) is not bytes or not least <= len(value) <= most:
            raise ValueError(f"expected {least} to {most} bytes, found {value!r:.40}")
        return value

    return _scalar(check, most)


def _like_rule(bound: Like) -> Rule:
    matches, most, what = bound.pattern.fullmatch, bound.most, bound.what

    def check(value: Any) -> Any:
        if type(value) is not bytes or len(value) > most or matches(value) is None:
            raise ValueError(f"expected {what} of at most {most} bytes, found {value!r:.60}")
        return value

    return _scalar(check, most)


_BOUNDED: dict[tuple[Any, type], Callable[[Any], Rule]] = {
    (int, Range): _integer_rule,
    (float, Range): _number_rule,
    (str, Length): _text_rule,
    (bytes, Length): _bytes_rule,
    (bytes, Like): _like_rule,
}


def _list_rule(item: Rule, bound: Length) -> Rule:
    least, most, read_item, judge_item, write_item = (
        bound.least, bound.most, item.read, item.judge, item.write,
    )  # fmt: skip

    def read(value: Any) -> Any:
        if type(value) is not list or not least <= len(value) <= most:
            raise ValueError(f"expected a list of {least} to {most}")
        return tuple([read_item(each) for each in value])

    def judge(value: Any) -> Any:
        if type(value) is not tuple or not least <= len(value) <= most:
            raise ValueError(f"expected a list of {least} to {most}")
        for each in value:
            judge_item(each)
        return value

    def write(value: Any) -> Any:
        return [write_item(each) for each in value]

    most_items = max(most, item.most_items)
    return Rule(read, judge, write, most * item.most_bytes + _HEAD_BYTES, most_items)


def _row_rule(rules: list[Rule]) -> Rule:
    count = len(rules)

    def read(value: Any) -> Any:
        if type(value) is not list or len(value) != count:
            raise ValueError(f"expected {count} fields")
        return tuple([rule.read(each) for rule, each in zip(rules, value, strict=True)])

    def judge(value: Any) -> Any:
        if type(value) is not tuple or len(value) != count:
            raise ValueError(f"expected {count} fields")
        for rule, each in zip(rules, value, strict=True):
            rule.judge(each)
        return value

    def write(value: Any) -> Any:
        return [rule.write(each) for rule, each in zip(rules, value, strict=True)]

    most_bytes = sum(rule.most_bytes for rule in rules) + _HEAD_BYTES
    most_items = max((rule.most_items for rule in rules), default=0)
    return Rule(read, judge, write, most_bytes, max(most_items, count))


def fields_reader(rules: Sequence[Rule], required: int) -> Callable[[Any], list[Any]]:
    """Reads a record's fields: at least the `required` first ones, and no more than are known."""
    checks = [rule.read for rule in rules]
    count = len(checks)

    def read(value: Any) -> list[Any]:
        if type(value) is not list or len(value) < required:
            raise ValueError(f"expected {required} fields or more")
        if len(value) > count:
            pass_over(value[count:])
        return [check(each) for check, each in zip(checks, value, strict=False)]

    return read


def required_of(kind: type) -> list[str]:
    """The names of those fields of a dataclass that have no default; they are its first."""
    return [
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    ]


def _class_rule(kind: type) -> Rule:
    rules = {name: rule_of(hint) for name, hint in hints_of(kind).items()}
    read_fields = fields_reader(list(rules.values()), len(required_of(kind)))
    judges = [(name, rule.judge) for name, rule in rules.items()]
    writes = [(name, rule.write) for name, rule in rules.items()]

    def read(value: Any) -> Any:
        return kind(*read_fields(value))

    def judge(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"expected a {kind.__name__}, found {value!r:.40}")
        for name, check in judges:
            try:
                check(getattr(value, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return value

    def write(value: Any) -> Any:
        return [check(getattr(value, name)) for name, check in writes]

    most_bytes = sum(rule.most_bytes for rule in rules.values()) + _HEAD_BYTES
    most_items = max((rule.most_items for rule in rules.values()), default=0)
    return Rule(read, judge, write, most_bytes, max(most_items, len(rules) + MAX_UNKNOWN_FIELDS))


def _optional_rule(rule: Rule) -> Rule:
    def judge(value: Any) -> Any:
        return None if value is None else rule.judge(value)

    def read(value: Any) -> Any:
        return None if value is None else rule.read(value)

    def write(value: Any) -> Any:
        return None if value is None else rule.write(value)

    return Rule(read, judge, write, rule.most_bytes, rule.most_items)
