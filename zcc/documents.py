"""What zcc keeps in small files for itself and for people, read in one place: text, TOML, JSON.

Whatever stands in such a file, and whatever has been made of it, a sentence names it.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from typing import Any

from zcc.errors import ConfigError


def read_text(path: str, *, is_secret: bool = False) -> str:
    """The file's text.

    Raises:
        FileNotFoundError: there is none, which may be right.
        ConfigError: it cannot be read, is no text, or is a secret that others can read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if is_secret and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"the key in {path} can be read by others: chmod 600 {path}")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is damaged, and no text") from error


def read_toml(path: str) -> dict[str, Any]:
    """What stands in the TOML file. Raises as `read_text` does."""
    try:
        return tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def read_json(path: str) -> Any:
    """What stands in the JSON file. Raises as `read_text` does."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
