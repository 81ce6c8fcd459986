"""`--purge`: what zcc has put on this machine's disk is listed, asked about, and removed; nothing else is.

A directory may be named by a variable or an option, and be anybody's. So what goes is found by the names that
zcc gives (docs/reference/formats.md), and the directory only when nothing is left in it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import typer

from zcc.cli.terminal import say
from zcc.errors import ConfigError

CACHE_NAMES = ("results.sqlite*", "blobs", "heard.*", "forgotten.*")
ACCESS_NAMES = ("farm.toml", "farm.key", "joining.key")
AGENT_NAMES = (
    "agent.log", "agent.log.[0-9]", "agent.sock", "agent.lock", "agent.slots", "agent.starting", "agent.failed",
    "agent.*.sock", "agent.*.lock", "agent.*.slots", "agent.*.starting", "agent.*.failed",
    "history.sqlite*", "stats.json*", "toolchains",
)  # fmt: skip
NODE_NAMES = (
    *ACCESS_NAMES, "name", "mode", "dev", "inputs", "toolchains", "frames", "trees", "scratch", "serving",
    "drain", "lookups-*.so", "attempts-*",
)  # fmt: skip
BROKER_NAMES = (
    "broker.key", "registry.sqlite*", "revoked", "results.sqlite*", "blobs", "voided", "toolchains",
    "costs.sqlite*", "owing.json", "audit", "placed", "spool", "ccache", "ccache-tokens.sqlite*", "audit.log",
    "audit.log.[0-9]", "serving.json", "lock", "tier.key", "tiers.toml", "tombstones", "*.damaged",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Keeping:
    """A directory, and what zcc's things in it are called (as a shell's patterns)."""

    directory: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """`ours` goes, with the directories that are empty then; `strange` is somebody else's, and stays."""

    ours: tuple[str, ...]
    strange: tuple[str, ...]
    directories: tuple[str, ...]


def find(holdings: Iterable[Keeping]) -> Removal:
    """What is there of these, each path once."""
    ours: dict[str, None] = {}
    names: dict[str, None] = {}
    directories: dict[str, None] = {}
    for holding in holdings:
        try:
            there = sorted(os.listdir(holding.directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        directories[holding.directory] = None
        for name in there:
            path = os.path.join(holding.directory, name)
            is_ours = any(fnmatch.fnmatchcase(name, pattern) for pattern in holding.names)
            (ours if is_ours else names)[path] = None
    # A cache within a state directory is one of its entries.
    strange = [path for path in names if path not in ours and path not in directories]
    return Removal(tuple(ours), tuple(strange), tuple(directories))


def ask(found: Removal, more: Iterable[str], *, is_sure: bool) -> None:
    """List what goes, and have it confirmed. `more`: what happens besides, a line each.

    Raises:
        ConfigError: there is nobody to ask.
    """
    for each in more:
        say(each)
    for path in found.ours:
        say(f"removes {path}{'/' if os.path.isdir(path) and not os.path.islink(path) else ''}")
    for path in found.strange:
        say(f"leaves {path}, which is not zcc's")
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise ConfigError("nothing was removed: say --yes")
    typer.confirm("Remove all that?", abort=True)


def remove(found: Removal) -> None:
    """Raises ConfigError, at the end, for what could not be removed."""
    for path in found.ours:
        _remove(path)
    # The inner ones first.
    for directory in sorted(found.directories, key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    left = [path for path in found.ours if os.path.lexists(path)]
    if left:
        raise ConfigError(f"could not be removed: {', '.join(left)}")


def _remove(path: str) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    shutil.rmtree(path, onerror=_open_up)


def _open_up(act: Callable[..., Any], path: str, _: object) -> None:
    """Of a node's trees, some let nobody in."""
    with contextlib.suppress(OSError):
        for each in (os.path.dirname(path), path):
            if os.path.isdir(each) and not os.path.islink(each):
                os.chmod(each, 0o700)
        if act in (os.rmdir, os.unlink):
            act(path)
        elif os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
