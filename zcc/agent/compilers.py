"""The toolchains of the compilers in use, packed in child processes and checked now and then."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time

from zcc.compiler.toolchain import Toolchain, ToolchainIndex
from zcc.errors import CompilerError

logger = logging.getLogger(__name__)

# A full check is about 200 stats. The driver, the programs that it runs and what configures it are looked at
# for every compile; an upgrade that leaves those alone (of a library) and finishes within this second before a
# compile is noticed by the next one.
CHECK_EVERY_S = 1.0

_Key = tuple[bytes, bytes]
_Signature = tuple[tuple[int, ...], ...]


class Compilers:
    """Answers which toolchain a compiler is, packing it first where that is new."""

    def __init__(self, directory: str) -> None:
        self._index = ToolchainIndex(directory)
        self._known: dict[_Key, tuple[Toolchain, float, tuple[bytes, ...], _Signature]] = {}
        self._packing: dict[_Key, asyncio.Task[None]] = {}

    async def toolchain(self, executable: bytes, argv0: bytes, path: bytes) -> Toolchain:
        """The packed toolchain of this compiler, under this PATH.

        Raises:
            CompilerError: it cannot be packed: a script, a static binary, not a compiler.
        """
        key = (executable, path)
        known = self._known.get(key)
        if (
            known is not None
            and time.monotonic() - known[1] < CHECK_EVERY_S
            and _signature(known[2]) == known[3]
        ):
            return known[0]
        begun = time.monotonic()
        toolchain = self._index.lookup(executable, {b"PATH": path})
        if toolchain is None:
            await self._packed(key, argv0)
            toolchain = self._index.lookup(executable, {b"PATH": path})
            if toolchain is None:
                raise CompilerError("the compiler changes while it is packed")
        looked_at = (executable, *toolchain.programs.values(), *toolchain.configurations)
        self._known[key] = (toolchain, begun, looked_at, _signature(looked_at))
        return toolchain

    async def _packed(self, key: _Key, argv0: bytes) -> None:
        """Wait for the one child that packs this compiler."""
        task = self._packing.get(key)
        if task is None:
            task = self._packing[key] = asyncio.create_task(self._pack(key, argv0))
            task.add_done_callback(lambda _: self._packing.pop(key, None))
        # A launcher that goes away must not end the packing that others wait for.
        await asyncio.shield(task)

    async def _pack(self, key: _Key, argv0: bytes) -> None:
        executable, path = key
        begun = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            *self._index.pack_command(executable, argv0, path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await child.communicate()
        try:
            answer = json.loads(stdout)
        except ValueError:
            answer = {"error": stderr.decode(errors="replace")[-500:] or "packing died"}
        if "error" in answer:
            reason = str(answer["error"])
            self._index.refuse(executable, {b"PATH": path}, reason)
            raise CompilerError(reason)
        took_s = time.monotonic() - begun
        logger.info("packed %s in %.1f s", os.fsdecode(executable), took_s)


def _signature(paths: tuple[bytes, ...]) -> _Signature:
    """What an upgrade or an edit changes of these files, at the end of all symlinks."""
    found: list[tuple[int, ...]] = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found.append((0,))
            continue
        found.append((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))
    return tuple(found)
