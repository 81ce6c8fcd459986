"""The page's files, as they are installed. They are read once, so that no request names a path."""

from __future__ import annotations

import os

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files(folder: str = PAGE) -> dict[str, bytes]:
    """By name."""
    found = {}
    for entry in os.scandir(folder):
        if entry.is_file() and os.path.splitext(entry.name)[1] in TYPES:
            with open(entry.path, "rb") as file:
                found[entry.name] = file.read()
    return found
