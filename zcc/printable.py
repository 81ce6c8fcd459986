"""Words of others made fit to be shown: no control characters, which a terminal would obey. Pure."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with a question mark for each character that is not seen."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
