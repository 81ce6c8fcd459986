"""Which compiler a request means, and what its launcher is told to exec."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from zcc.agent import wire


def with_default(request: wire.Request, name: bytes) -> wire.Request:
    """The request with the configured default compiler in place of none."""
    path = os.fsdecode(request.environment.get(b"PATH", os.defpath.encode()))
    found = shutil.which(name, path=path)
    own = request.executable if found is None or _is_launcher(found) else found
    return replace(request, argv=(name, *request.argv[1:]), executable=own, use_default=False)


def run_reply(request: wire.Request) -> bytes:
    """Exec the compiler; a launcher that found none is told the name, and says so itself."""
    name = request.argv[0] or request.executable
    return wire.encode_run(request.executable or name, name)


def _is_launcher(path: bytes) -> bool:
    """Whether this is a masquerade link to a launcher: never call oneself."""
    return os.path.basename(os.path.realpath(path)) in (b"zcc", b"zcc++")
