"""Where the preloaded look-up log (`lookups.c`) lies, built once if the package came without it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile

from cache.digest import digest_of, short
from node.errors import SandboxError

LIBRARY_NAME = "lookups.so"
# Nothing of libc is linked: one build serves every libc that a toolchain brings.
BUILD_FLAGS = (
    "-O2", "-fPIC", "-shared", "-nostdlib", "-ffreestanding", "-fno-stack-protector",
    "-fvisibility=hidden",
)  # fmt: skip
_BUILD_TIMEOUT_S = 60


def find_shim(state_dir: str) -> str:
    """The path of the shim: as installed, else built into `state_dir` with the machine's `cc`.

    Raises:
        SandboxError: it is neither installed nor can it be built.
    """
    for place in __path__:
        installed = os.path.join(place, LIBRARY_NAME)
        if os.path.exists(installed):
            return installed
    for place in __path__:
        source = os.path.join(place, "lookups.c")
        if os.path.exists(source):
            return _built(source, state_dir)
    raise SandboxError("neither lookups.so nor lookups.c is in node/shim: reinstall zcc")


def _built(source: str, state_dir: str) -> str:
    with open(source, "rb") as file:
        path = os.path.join(state_dir, f"lookups-{short(digest_of(file.read()))}.so")
    if os.path.exists(path):
        return path
    os.makedirs(state_dir, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=state_dir, suffix=".so")
    os.close(handle)
    try:
        build(source, temporary)
        os.chmod(temporary, 0o755)
        os.rename(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return path


def build(source: str, target: str, *flags: str, compiler: str = "cc") -> None:
    """Compile the shim, with further flags if any.

    Raises:
        SandboxError: there is no such compiler, or it failed.
    """
    command = [compiler, *BUILD_FLAGS, *flags, source, "-o", target]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        detail = error.stderr.decode(errors="replace").strip()
        raise SandboxError(f"{' '.join(command)} failed: {detail}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"{' '.join(command)}: {error}; a node needs a C compiler") from error
