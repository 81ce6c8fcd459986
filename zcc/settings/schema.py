"""What may stand in one file of settings. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_KINDS = {str: "a text in quotes", int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them. `kind` is str, int or float; `why_wrong` says what is wrong with a value of this kind, and
    gives an empty text where it is right."""

    kind: type
    default: Any
    why_wrong: Callable[[Any], str] = lambda value: ""


@dataclass(frozen=True, slots=True)
class Schema:
    """All settings of one file, by name."""

    file_name: str
    settings: Mapping[str, Setting]

    def why_unknown(self, name: str) -> str:
        """A sentence on a name that is none of these, with the one that was perhaps meant; empty: it is one."""
        if name in self.settings:
            return ""
        plain = name.replace("-", "_")
        near = difflib.get_close_matches(plain, self.settings, 1)
        there_are = f"there are {', '.join(sorted(self.settings))}"
        return f"unknown setting {name!r}; " + (f"is {near[0]} meant?" if near else there_are)

    def checked(self, name: str, value: Any) -> tuple[Any, str]:
        """The value as it is used, and a sentence on it where it is wrong; empty: it is right."""
        setting = self.settings[name]
        if setting.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not setting.kind:
            return value, f"{name} must be {_KINDS[setting.kind]}, found {value!r}"
        if isinstance(value, (int, float)) and value < 0:
            return value, f"{name} must not be negative, found {value!r}"
        why = setting.why_wrong(value)
        return value, f"{name} = {value!r}: {why}" if why else ""

    def parsed(self, name: str, text: str) -> tuple[Any, str]:
        """The same for a value that was typed."""
        kind = self.settings[name].kind
        try:
            value = kind(text)
        except ValueError:
            return text, f"{name} must be {_KINDS[kind]}, found {text!r}"
        return self.checked(name, value)
