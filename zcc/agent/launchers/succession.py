"""When an agent makes way: its own files have changed or are gone, or launchers of another build come.

An agent holds its program in memory, so it outlives `pipx upgrade` and `pipx uninstall`. What it starts or
loads later is then of another version, or not there. A launcher that it tells to restart starts the agent that
is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

# At a call, and while idle: 200 files take 0.2 ms.
LOOK_EVERY_S = 2.0
# Two installations that are in use at once shall not drive each other's agents out with each call.
OWN_QUIET_S = 10.0
# What launchers tell the agent that they start.
BUILD_VARIABLE = "ZCC_LAUNCHER_BUILD"

# Modification time, size, inode, device.
_Identity = tuple[int, int, int, int]


class Installation:
    """The files that this program was loaded from."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._identities = {path: _identity(path) for path in paths}
        self._looked_at_s = 0.0
        self._change = ""

    @property
    def change(self) -> str:
        """The first file that was found changed or gone; empty: none so far."""
        return self._change

    def has_changed(self, now: float) -> bool:
        """Whether a file is another one, or gone; looked at every LOOK_EVERY_S at most."""
        if not self._change and now - self._looked_at_s >= LOOK_EVERY_S:
            self._looked_at_s = now
            changed = (path for path, was in self._identities.items() if _identity(path) != was)
            self._change = next(changed, "")
        return bool(self._change)


class Succession:
    """What decides that this agent has had its time.

    `build` is that of the launcher that has started it; None: the first that comes says so.
    """

    def __init__(self, installation: Installation, build: int | None) -> None:
        self.build = build
        self._installation = installation
        self._own_came_at_s = -OWN_QUIET_S

    def is_over(self, now: float) -> bool:
        return self._installation.has_changed(now)

    def is_over_for(self, build: int | None, now: float) -> bool:
        """The same, when a launcher of this build has come; None: one of another protocol."""
        if self.is_over(now):
            return True
        if self.build is None:
            self.build = build
        if build == self.build:
            self._own_came_at_s = now
            return False
        return now - self._own_came_at_s >= OWN_QUIET_S

    def reason(self) -> str:
        """Why it is over, for the log."""
        change = self._installation.change
        return f"{change} has changed" if change else "another build of zcc is in use"


def own_files() -> list[str]:
    """The program, the interpreter, and the modules of zcc that are loaded by now."""
    packages = ("zcc", "cache")
    modules = [
        module.__file__
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in packages and getattr(module, "__file__", None)
    ]
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "zcc")
    return [sys.executable, sys.argv[0], beside, *filter(None, modules)]


def build_of(text: str | None) -> int | None:
    """What BUILD_VARIABLE says."""
    return int(text) if text is not None and text.isdigit() else None


def _identity(path: str) -> _Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
