"""Words of others made fit to be shown: no control characters, which a terminal would obey. Pure."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with a question mark for each character that is not seen."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def brief(text: str, most_bytes: int) -> str:
    """The same, cut at so many bytes of UTF-8: what is kept of each of many."""
    return printable(text).encode()[:most_bytes].decode(errors="ignore")
