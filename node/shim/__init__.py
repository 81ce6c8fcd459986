"""Where the preloaded look-up log (the C files here) lies, built once if the package came without it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterable

from cache.digest import Digest, digest_of, short
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
        if sources_in(place):
            return _built(place, state_dir)
    raise SandboxError("neither lookups.so nor its sources are in node/shim: reinstall zcc")


def sources_in(place: str) -> list[str]:
    """The paths of the shim's C files in this directory, sorted."""
    return _files_in(place, ".c")


def _built(place: str, state_dir: str) -> str:
    path = os.path.join(state_dir, f"lookups-{short(_digest_of_texts(place))}.so")
    if os.path.exists(path):
        return path
    os.makedirs(state_dir, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=state_dir, suffix=".so")
    os.close(handle)
    try:
        build(sources_in(place), temporary)
        os.chmod(temporary, 0o755)
        os.rename(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return path


def _files_in(place: str, *suffixes: str) -> list[str]:
    names = os.listdir(place) if os.path.isdir(place) else []
    return [os.path.join(place, name) for name in sorted(names) if name.endswith(suffixes)]


def _digest_of_texts(place: str) -> Digest:
    texts = []
    for path in _files_in(place, ".c", ".h"):
        with open(path, "rb") as file:
            texts.append(file.read())
    return digest_of(b"\0".join(texts))


def build(sources: Iterable[str], target: str, *flags: str, compiler: str = "cc") -> None:
    """Compile the shim, with further flags if any.

    Raises:
        SandboxError: there is no such compiler, or it failed.
    """
    command = [compiler, *BUILD_FLAGS, *flags, *sources, "-o", target]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        detail = error.stderr.decode(errors="replace").strip()
        raise SandboxError(f"{' '.join(command)} failed: {detail}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"{' '.join(command)}: {error}; a node needs a C compiler") from error
