"""`zcc-broker backup` and `restore`: what of a broker cannot be made again, in one file.

    a tar of regular files: FORMAT (the text "1"), and those of COPIED, MERGED and KEPT that there were

What is not in it need not be, or must not come back: results, and the lists of what is void. Those that are on
the disk stay; where there are none they begin anew, which costs members and tiers what they hold.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from broker.commands.options import DEFAULT_STATE, StateDir
from broker.errors import BrokerError
from broker.membership import registry, revocations
from broker.membership.lines import add_lines, open_lines
from broker.membership.table import copy_of
from broker.state import KEY_FILE, OWING_FILE, SERVING_FILE, require_state, take_lock
from broker.storage import tokens
from broker.tiers import settings
from zcc.cli.terminal import say
from zcc.documents import read_text

FORMAT_NAME, FORMAT = "FORMAT", b"1\n"
# SQLite's files are copied by SQLite, as the broker may be at work on them.
DATABASES = (registry.FILE_NAME, tokens.FILE_NAME)
COPIED = (KEY_FILE, *DATABASES)
# What stands on the disk counts as well.
MERGED = (revocations.FILE_NAME,)
# What is on the disk is newer, and stays.
KEPT = (OWING_FILE, SERVING_FILE, settings.FILE_NAME)
_MOST_BYTES = 1 << 30

Archive = Annotated[str, typer.Argument(metavar="FILE", help="The backup.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the broker's."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(file: Archive, state: StateDir = DEFAULT_STATE) -> None:
    """Write key, members, revocations and settings to one file, beside a running broker.

    Whoever has it can be the farm: it is as secret as the state directory. Credentials of tiers are not in it.
    """
    require_state(state)
    directory = os.path.dirname(os.path.abspath(file))
    handle, temporary = tempfile.mkstemp(prefix=".backup-", dir=directory)  # 0600
    try:
        with os.fdopen(handle, "wb") as made, tarfile.open(fileobj=made, mode="w") as archive:
            _add(archive, FORMAT_NAME, FORMAT)
            names = [name for name in (*COPIED, *MERGED, *KEPT) if _is_there(state, name)]
            for name in names:
                _add(archive, name, _content(os.path.join(state, name), name))
            made.flush()
            os.fsync(handle)
        os.rename(temporary, file)
    except OSError as error:
        raise BrokerError(f"cannot write {file}: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    say(f"{file}: {', '.join(names)}")


def restore(file: Archive, state: StateDir = DEFAULT_STATE) -> None:
    """Put a backup back, while no broker runs here. Whoever was revoked since stays revoked, as far as this
    disk knows; results are left as they are.
    """
    found = _read(file)
    os.makedirs(state, mode=0o700, exist_ok=True)
    lock = take_lock(state)
    try:
        _refuse_another(state, found[KEY_FILE])
        knew = _is_there(state, revocations.FILE_NAME)
        for name in MERGED:  # first: nobody is to be valid for a moment who is not
            _merge(os.path.join(state, name), found.get(name, b""))
        for name in COPIED:
            if name in found:
                _replace(os.path.join(state, name), found[name])
        for name in KEPT:
            if name in found and not _is_there(state, name):
                _replace(os.path.join(state, name), found[name])
    except OSError as error:
        raise BrokerError(f"cannot write to {state}: {error.strerror}; try again") from error
    finally:
        os.close(lock)
    say(f"{state}: {', '.join(name for name in found if name != FORMAT_NAME)}")
    if not knew:
        say(
            "This disk knew of no revocations: who was revoked since the backup is a member again."
            " zcc-broker keys lists all; zcc-broker revoke ends one."
        )


def _is_there(state: str, name: str) -> bool:
    return os.path.exists(os.path.join(state, name))


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(content))


def _content(path: str, name: str) -> bytes:
    if name in DATABASES:
        return copy_of(path)
    with open(path, "rb") as file:
        return file.read()


def _read(file: str) -> dict[str, bytes]:
    """What is in a backup, by name.

    Raises:
        BrokerError: it is none.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            found = dict(_members(archive))
    except (OSError, tarfile.TarError) as error:
        raise BrokerError(f"cannot read {file}: {error}") from error
    if found.get(FORMAT_NAME) != FORMAT or KEY_FILE not in found:
        raise BrokerError(f"{file} is no backup that this release can read")
    return found


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    left_bytes = _MOST_BYTES
    for member in archive:
        left_bytes -= member.size
        content = archive.extractfile(member) if member.isreg() else None
        if member.name not in (FORMAT_NAME, *COPIED, *MERGED, *KEPT) or left_bytes < 0:
            raise tarfile.TarError(f"{member.name!r} is in no backup of a broker")
        if content is not None:
            yield member.name, content.read()


def _refuse_another(state: str, key: bytes) -> None:
    """
    Raises:
        BrokerError: another farm's key is here.
    """
    try:
        there = read_text(os.path.join(state, KEY_FILE), is_secret=True)
    except FileNotFoundError:
        return
    if there.encode() != key:
        raise BrokerError(
            f"{state} belongs to another farm: its {KEY_FILE} is not the backup's; say --state DIR, or move it"
        )


def _merge(path: str, lines: bytes) -> None:
    """Add the lines that are not there."""
    handle = open_lines(path)
    try:
        with open(path, "rb") as file:
            known = set(file.read().split(b"\n"))
        fresh = [line for line in lines.split(b"\n") if line and line not in known]
        if fresh:
            add_lines(handle, b"".join(line + b"\n" for line in fresh))
            os.fsync(handle)
    finally:
        os.close(handle)


def _replace(path: str, content: bytes) -> None:
    """Whole or not at all, and without what belonged to the file before."""
    handle, temporary = tempfile.mkstemp(prefix=".restored-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        for beside in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + beside)
        os.rename(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
