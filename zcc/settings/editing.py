"""Changing one setting in a file that somebody has written: his comments, order and blank lines stay.

By tomlkit, which is what Python's own tools edit their files with, is pure Python, and keeps all that it does
not change to the byte. It is imported when a file is changed, and by nothing else.
"""

from __future__ import annotations

import os
import stat
import tempfile
from typing import Any

from zcc.documents import read_text
from zcc.errors import ConfigError

# Of a file that is made anew: the machine's is read by every user.
_MODE = 0o644


def set_value(path: str, name: str, value: Any) -> None:
    """Write the setting into the file, which is made if there is none.

    Raises:
        ConfigError: what stands there is no TOML, or it cannot be written.
    """
    document = _document(path)
    document[name] = value
    _write(path, document)


def unset_value(path: str, name: str) -> bool:
    """Take the setting out of the file; whether it was there. Raises as `set_value` does."""
    document = _document(path)
    if name not in document:
        return False
    del document[name]
    _write(path, document)
    return True


def _document(path: str) -> Any:
    import tomlkit  # noqa: PLC0415 - 20 ms that no other command should pay
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    try:
        return tomlkit.parse(read_text(path))
    except FileNotFoundError:
        return tomlkit.document()
    except TOMLKitError as error:
        raise ConfigError(f"cannot read {path}: {error}; mend it by hand") from error


def _write(path: str, document: Any) -> None:
    """Whole or not at all; through a symlink, and with the modes that the file has."""
    path = os.path.realpath(path)
    directory, name = os.path.split(path)
    temporary = ""
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{name}.", dir=directory)
        with os.fdopen(handle, "w") as file:
            _keep_modes(path, handle)
            file.write(document.as_string())
            file.flush()
            os.fsync(handle)
        os.rename(temporary, path)
    except OSError as error:
        if temporary:
            os.unlink(temporary)
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _keep_modes(path: str, handle: int) -> None:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        os.fchmod(handle, _MODE)
        return
    os.fchmod(handle, stat.S_IMODE(there.st_mode))
    if not os.geteuid():
        os.fchown(handle, there.st_uid, there.st_gid)
