"""What launchers and the agent keep beside the agent's socket.

`zcc/launcher/start.c` and `slot.c` are the other side.

NAME.lock      held by the launcher that starts an agent, then by that agent until it listens
NAME.starting  since when a start is under way, and what the agent has said on its stderr
NAME.failed    the same of a start that failed; launchers try no other for 30 s
NAME.slots     locks that bound the compilers at a time while no agent does; as long as there are slots
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from dataclasses import dataclass

_SOCKET_SUFFIX = ".sock"
# Of what an agent has said before it failed: a sentence, or a traceback's end.
_MAX_REASON_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FailedStart:
    """The last start of an agent, which came to nothing."""

    ago_s: float
    reason: str


def beside(socket_path: str, suffix: str) -> str:
    """The file of this kind for the agent at `socket_path`."""
    return socket_path.removesuffix(_SOCKET_SUFFIX) + suffix


def say_ready(environment: MutableMapping[str, str], socket_path: str) -> None:
    """Tell whoever started this process that it listens, and end the start."""
    for mark in (".starting", ".failed"):
        try:
            os.unlink(beside(socket_path, mark))
        except FileNotFoundError:
            pass
    ready, lock = (environment.pop(f"ZCC_{name}_FD", "") for name in ("READY", "START_LOCK"))
    if ready.isdigit():
        try:
            os.write(int(ready), b"\n")
        except BrokenPipeError:
            pass  # who started us has compiled by itself meanwhile
        os.close(int(ready))
    if lock.isdigit():
        os.close(int(lock))


def tell_slots(socket_path: str, slots: int) -> None:
    """Say how many compilers launchers let run at a time when they find no agent."""
    path = beside(socket_path, ".slots")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(descriptor, slots)
    finally:
        os.close(descriptor)


def last_failure(socket_path: str) -> FailedStart | None:
    """Why no agent runs, where one was started and failed."""
    try:
        with open(beside(socket_path, ".failed"), "rb") as file:
            at_s = os.fstat(file.fileno()).st_mtime
            said = file.read()[-_MAX_REASON_BYTES:].decode(errors="replace").strip()
    except OSError:
        return None
    return FailedStart(max(0.0, time.time() - at_s), said.splitlines()[-1] if said else "")
