"""The broker's state directory: key pair, registry, recorded endpoint, and the lock of `serve`."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Sequence
from typing import Any

from broker.errors import StartError
from broker.membership.lines import add_lines, open_lines
from broker.scheduling.model import Identity
from cache.digest import DIGEST_SIZE, Digest
from zcc.documents import read_json
from zcc.errors import ConfigError
from zcc.keys import KeyPair, load_key_pair, make_key_pair, save_private

logger = logging.getLogger(__name__)

KEY_FILE = "broker.key"
SERVING_FILE = "serving.json"
LOCK_FILE = "lock"
# Nodes that owe a proof since they were in quarantine, in JSON.
OWING_FILE = "owing.json"
# Blobs that are toolchains, one a line: the digest in hexadecimal, and whose job has run in it. Files of before
# 2026-12 have the digest alone.
TOOLCHAINS_FILE = "toolchains"
_TOOLCHAIN = re.compile(rb"([0-9a-f]{%d})(?: ([!-~]*))?" % (2 * DIGEST_SIZE))


def broker_keys(state_dir: str) -> KeyPair:
    """The broker's own key pair, made by the first `serve`.

    Raises:
        ConfigError: the file is damaged or readable by others.
        StartError: the directory cannot be written.
    """
    path = os.path.join(state_dir, KEY_FILE)
    if not os.path.exists(path):
        try:
            make_key_pair(path)
        except OSError as error:
            raise StartError(f"cannot write {path}: {error.strerror}; say --state DIR") from error
    return load_key_pair(path)


def has_state(state_dir: str) -> bool:
    """Whether a broker was ever started with this directory."""
    return os.path.exists(os.path.join(state_dir, KEY_FILE))


def require_state(state_dir: str, patience_s: float = 0.0) -> None:
    """Look before a command reads: a mistyped directory must not become a second, empty state.

    A broker that was started just before has `patience_s` to make it.

    Raises:
        StartError: no broker was ever started with this directory.
    """
    deadline_s = time.monotonic() + patience_s
    while not has_state(state_dir) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    if not has_state(state_dir):
        raise StartError(
            f"no broker has its state in {state_dir}: start one there (zcc-broker serve --state DIR), or say"
            " with --state DIR where the running one keeps it"
        )


def put_aside(*directories: str) -> None:
    """Rename what is no directory in the place of one to `PLACE.damaged`: it keeps no broker from starting.

    For directories whose loss costs the farm little. A link stays: it may lead to a disk that is not there yet.
    """
    for path in directories:
        if os.path.lexists(path) and not os.path.isdir(path) and not os.path.islink(path):
            os.replace(path, f"{path}.damaged")
            logger.warning("%s is no directory: it is %s.damaged now", path, path)


def take_lock(state_dir: str) -> int:
    """Hold the directory for one `serve`; returns a descriptor to keep open.

    Raises:
        StartError: another broker serves from it.
    """
    path = os.path.join(state_dir, LOCK_FILE)
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StartError(
            f"another broker serves from {state_dir}: stop it, or say --state DIR"
        ) from error
    except OSError as error:
        raise StartError(f"cannot lock {path}: {error.strerror}") from error
    return handle


def known_toolchains(state_dir: str) -> list[tuple[Digest, str]]:
    """The blobs that were noted as toolchains and for which key, oldest first; what cannot be read is sent once
    more."""
    try:
        with open(os.path.join(state_dir, TOOLCHAINS_FILE), "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    found = [_TOOLCHAIN.fullmatch(line) for line in lines]
    return [
        (Digest(bytes.fromhex(each[1].decode())), (each[2] or b"").decode())
        for each in found
        if each is not None
    ]


def add_toolchain(state_dir: str, digest: Digest, user: str) -> None:
    """Note a toolchain for the next start."""
    path = os.path.join(state_dir, TOOLCHAINS_FILE)
    try:
        handle = open_lines(path)
        try:
            add_lines(handle, f"{digest.hex()} {user}\n".encode())
        finally:
            os.close(handle)
    except OSError as error:
        logger.warning("cannot write %s: %s", path, error.strerror)


def known_owing(state_dir: str) -> list[Identity]:
    """The nodes that owed the last broker a proof, by key and name; what cannot be read is forgotten."""
    document = read_document(os.path.join(state_dir, OWING_FILE)) or {}
    nodes = document.get("nodes")
    pairs = nodes if isinstance(nodes, list) else []
    return [
        (str(each[0]), str(each[1])) for each in pairs if isinstance(each, list) and len(each) == 2
    ]


def note_owing(state_dir: str, nodes: Sequence[Identity]) -> None:
    """Write them down for the next start."""
    path = os.path.join(state_dir, OWING_FILE)
    try:
        save_private(path, json.dumps({"nodes": nodes}))
    except OSError as error:
        logger.warning("cannot write %s: %s", path, error.strerror)


def read_document(path: str) -> dict[str, Any] | None:
    """The JSON object in this file; None where there is none that can be read."""
    try:
        document = read_json(path)
    except (OSError, ConfigError):
        return None
    return document if isinstance(document, dict) else None


def record_serving(state_dir: str, endpoint: str, farm: str) -> None:
    """Write down where we listen and the farm's name, for `token`.

    Raises:
        StartError: it cannot be written.
    """
    path = os.path.join(state_dir, SERVING_FILE)
    text = json.dumps({"endpoint": endpoint, "farm": farm}) + "\n"
    try:
        save_private(path, text)
    except OSError as error:
        raise StartError(
            f"cannot write {path}: {error.strerror}; make way for it, or say --state DIR"
        ) from error


def last_serving(state_dir: str) -> tuple[str, str]:
    """(endpoint, farm) of the last `serve`; ("", "") before the first.

    Raises:
        ConfigError: the file is damaged.
    """
    path = os.path.join(state_dir, SERVING_FILE)
    try:
        values = read_json(path)
        return str(values["endpoint"]), str(values["farm"])
    except FileNotFoundError:
        return "", ""
    except (ConfigError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}): remove it") from error
