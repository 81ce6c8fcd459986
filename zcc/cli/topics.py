"""`zcc help TOPIC`: the pages of docs/guide and docs/reference, which are installed with the package."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from zcc.cli.layout import fold

SHELVES = ("guide", "reference")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Where the wheel puts them (CMakeLists.txt); in a checkout they lie where they are written.
_PLACES = (os.path.join(_PACKAGE, "pages"), os.path.join(os.path.dirname(_PACKAGE), "docs"))
# What is laid out as it stands: code, a table's row, a title.
_AS_IT_STANDS = re.compile(r" {4}|\||#|<!--|!\[")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def topics() -> dict[str, str]:
    """The path of each page by its name: `settings` and `reference/settings` are the same."""
    found: dict[str, str] = {}
    for shelf in SHELVES:
        at = next((each for each in _PLACES if os.path.isdir(os.path.join(each, shelf))), "")
        for name in sorted(os.listdir(os.path.join(at, shelf))) if at else ():
            topic, extension = os.path.splitext(name)
            if extension == ".md":
                path = os.path.join(at, shelf, name)
                found[f"{shelf}/{topic}"] = path
                found.setdefault(topic, path)
    return found


def titles() -> Iterator[tuple[str, str]]:
    """Each topic by its whole name, and the title of its page."""
    for name, path in topics().items():
        if "/" in name:
            with open(path, encoding="utf-8") as page:
                yield name, page.readline().strip("# \n")


def laid_out(text: str, columns: int) -> str:
    """The page in lines of so many columns (0: as it is written): prose is folded, code and tables stay whole.

    Links to other pages are shown as the words that are linked: a terminal follows none.
    """
    lines: list[str] = []
    code = False
    for line in text.splitlines():
        code ^= line.startswith("```")
        if code or _AS_IT_STANDS.match(line):
            lines.append(line)
        else:
            indent = "  " if line.startswith("* ") else ""
            lines += fold(_LINK.sub(_without_link, line), columns, indent)
    return "".join(f"{line}\n" for line in lines)


def _without_link(match: re.Match[str]) -> str:
    words, target = match.groups()
    return f"{words} ({target})" if "://" in target else words
