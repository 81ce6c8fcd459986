"""What this machine's C library declares and exports, for the test of the shim's coverage."""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

# A header of glibc's own opens its declarations with this; kernel headers and other packages' do not.
_MARK = "__BEGIN_DECLS"
# What some headers need before them.
_BEFORE = ("sys/types.h", "stdio.h", "netinet/in.h")
_FOLDERS = ("", "sys", "arpa", "net", "netinet", "rpc", "protocols", "gnu")
_FUNCTION = re.compile(r"^[\w\s*]+?[\s*](\w+)\s*\((.*)\)$")
_PARAMETER = re.compile(r".*\bchar\b[^,]*?(\w+)\s*(?:\[.*\])?$")
_BARE = re.compile(r".*\bchar\s*(?:const)?\s*\*[\s*]*(?:const)?\s*(?:\*|\[\])?$")
_MARKS = re.compile(r"__extension__|__restrict|\brestrict\b|__inline|_Noreturn|\bextern\b")


@dataclass(frozen=True, slots=True)
class Library:
    """The functions that a libc exports: at which addresses, and which have no header's word."""

    exported: frozenset[str]
    aliases: dict[str, frozenset[str]]


def declared() -> dict[str, str]:
    """Functions that the C library's headers declare, with their parameters."""
    found: dict[str, str] = {}
    for text in _preprocessed():
        for statement in _outside_bodies(_without_attributes(text)).split(";"):
            line = " ".join(statement.split())
            match = _FUNCTION.match(line)
            if match and not line.startswith("typedef"):
                found.setdefault(match[1], match[2])
    return found


def char_parameters(parameters: str) -> list[str]:
    """The names of the parameters that are text; empty for one without a name."""
    names = []
    for parameter in parameters.split(","):
        if _BARE.match(parameter.strip()):
            names.append("")
        elif match := _PARAMETER.match(parameter.strip()):
            names.append(match[1].strip("_"))
    return names


def exports_of(*libraries: str) -> Library:
    """What programs can call of these, those names excepted that only libc's own parts may use."""
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    for library in libraries:
        shown = subprocess.run(
            ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True
        ).stdout
        for line in shown.splitlines():
            address, kind, name = line.split()
            name, _, version = name.partition("@")
            if kind in "TWi" and version.lstrip("@") != "GLIBC_PRIVATE":
                places[library, address].add(name)
    aliases = {name: frozenset(names) for names in places.values() for name in names}
    return Library(frozenset(aliases), aliases)


def _preprocessed() -> Iterator[str]:
    before = "".join(f"#include <{name}>\n" for name in _BEFORE)
    for name in _headers():
        done = subprocess.run(
            ["gcc", "-E", "-P", "-D_GNU_SOURCE", "-w", "-x", "c", "-"],
            input=f"{before}#include <{name}>\n", capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            yield done.stdout


def _headers() -> list[str]:
    asked = subprocess.run(
        ["gcc", "-print-multiarch"], check=True, capture_output=True, text=True
    ).stdout.strip()
    found = set()
    for top in ("/usr/include", f"/usr/include/{asked}"):
        for folder in _FOLDERS:
            place = os.path.join(top, folder)
            for name in os.listdir(place) if os.path.isdir(place) else ():
                if name.endswith(".h") and _is_libcs(os.path.join(place, name)):
                    found.add(os.path.join(folder, name))
    return sorted(found)


def _is_libcs(path: str) -> bool:
    with open(path, encoding="latin-1") as file:
        return _MARK in file.read()


def _without_attributes(text: str) -> str:
    pieces = []
    at = 0
    for match in re.finditer(r"__attribute__\s*\(|__asm__\s*\(", text):
        if match.start() < at:
            continue  # within the last one
        pieces.append(text[at : match.start()])
        at, depth = match.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
    return _MARKS.sub("", "".join(pieces) + text[at:])


def _outside_bodies(text: str) -> str:
    before = ""
    while before != text:
        before, text = text, re.sub(r"\{[^{}]*\}", ";", text)
    return text
