"""The toolchains of the compilers in use, packed in child processes and looked at for every compile.

No toolchain is believed for a time: what a compiler lists and what libc and the loader open by themselves
leave no miss in the look-up log, so that no proof would find an answer out that has aged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import time

from zcc.compiler.disk.signatures import Memo
from zcc.compiler.toolchain.index import MAX_RECORDS, Toolchain, ToolchainIndex
from zcc.errors import CompilerError, NoRoomError

logger = logging.getLogger(__name__)

# Packing takes seconds of a processor, and a full disk is seldom in order so soon.
AGAIN_S = 30.0

_Key = tuple[bytes, bytes]


class Compilers:
    """Answers which toolchain a compiler is, packing it first where that is new."""

    def __init__(self, directory: str) -> None:
        self._index = ToolchainIndex(directory)
        self._known: Memo[_Key, Toolchain] = Memo(MAX_RECORDS)
        self._packing: dict[_Key, asyncio.Task[None]] = {}
        # What a full disk has refused: until when it is not tried again, and why.
        self._full: dict[_Key, tuple[float, str]] = {}

    async def toolchain(self, executable: bytes, argv0: bytes, path: bytes) -> Toolchain:
        """The packed toolchain of this compiler, under this PATH.

        Raises:
            NoRoomError: there is no room for the pack.
            CompilerError: it cannot be packed: a script, a static binary, not a compiler.
        """
        key = (executable, path)
        known = self._known.get(key)
        if known is not None:
            return known
        seen = self._known.begin()
        toolchain = self._index.lookup(executable, {b"PATH": path})
        if toolchain is None:
            await self._packed(key, argv0)
            seen = self._known.begin()
            toolchain = self._index.lookup(executable, {b"PATH": path})
            if toolchain is None:
                raise CompilerError("the compiler changes while it is packed")
        toolchain.gathered.watch(seen)
        seen.see(os.fsencode(toolchain.pack_path))
        return self._known.put(key, toolchain, seen)

    def is_packing(self, executable: bytes) -> bool:
        """Whether an answer about this compiler takes seconds, which others wait for by now."""
        return any(key[0] == executable for key in self._packing)

    async def _packed(self, key: _Key, argv0: bytes) -> None:
        """Wait for the one child that packs this compiler."""
        task = self._packing.get(key)
        if task is None:
            again_s, why = self._full.get(key, (0.0, ""))
            if time.monotonic() < again_s:
                raise NoRoomError(why)
            self._full.pop(key, None)
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
        if answer.get("is_full"):
            why = f"{self._index.directory} takes no toolchain: {answer['error']}{_file_limit()}"
            self._full[key] = (time.monotonic() + AGAIN_S, why)
            raise NoRoomError(why)
        if "error" in answer:
            reason = str(answer["error"])
            self._index.refuse(executable, {b"PATH": path}, reason)
            raise CompilerError(reason)
        took_s = time.monotonic() - begun
        logger.info("packed %s in %.1f s", os.fsdecode(executable), took_s)


def _file_limit() -> str:
    """What there is to say of this process's own limit, behind another cause."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if hard == resource.RLIM_INFINITY:
        return ""
    return f" (the agent may write no file above {hard} bytes, by `ulimit -f` of the call that started it)"
