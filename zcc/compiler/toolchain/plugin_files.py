"""Plugins of gcc and clang: what has to be there for one to be loaded, and which can be sent at all.

A plugin is code of the user's that runs inside the compiler. Its content and that of every library which it
brings along are inputs of the job. What it reads shows in the look-up log, as does each variable that it asks
for and each library that it loads; a file that it writes is one that the job does not declare. Whatever of this
is not as it would be here makes the result none, and the plugin stays here from then on
(`agent/analysis/plugins.py`). What no log shows (the clock, the processor, random numbers) is not seen: such a
plugin does not write the same twice here either.
"""

from __future__ import annotations

import os
from functools import partial

from cache.digest import Digest
from zcc.compiler.disk.paths import PathWalker
from zcc.compiler.disk.signatures import Memo, Sightings
from zcc.compiler.scan.provision import NOTHING, Provision
from zcc.compiler.toolchain.elf import LD_SO_CACHE, LibrarySearch, read_imports
from zcc.compiler.toolchain.index import Toolchain
from zcc.errors import CompilerError

# A search takes some 10 ms.
MAX_REMEMBERED = 64
# Ways past the functions that the look-up log shadows.
_UNSEEN = frozenset((b"environ", b"__environ", b"_environ"))


class Plugins:
    """Finds what plugins bring along."""

    def __init__(self) -> None:
        self._known: Memo[tuple[tuple[bytes, ...], Digest], Provision] = Memo(MAX_REMEMBERED)
        self._members: dict[Digest, frozenset[bytes]] = {}

    def brought(self, plugins: tuple[bytes, ...], toolchain: Toolchain) -> Provision:
        """What these plugins, at absolute paths, need to be loaded beyond the toolchain.

        Files that have to exist (`required`), and places that have to stay empty (`optional`).

        Raises:
            CompilerError: one of them cannot be sent.
        """
        if not plugins:
            return NOTHING
        find = partial(self._search, plugins, toolchain)
        return self._known.answer((plugins, toolchain.digest), find)

    def _search(
        self, plugins: tuple[bytes, ...], toolchain: Toolchain, seen: Sightings
    ) -> Provision:
        search = LibrarySearch(PathWalker())
        program = toolchain.programs.get("cc1") or toolchain.programs["c"]
        for plugin in plugins:
            search.add_library(plugin, program)
        needs = search.needs
        for path in (*plugins, *needs.paths, *needs.absent, *needs.watched):
            seen.see(path)
        members = self._members_of(toolchain)
        files = {path for path in needs.paths if os.path.realpath(path) not in members}
        for path in (*plugins, *sorted(files)):
            if unseen := _UNSEEN & read_imports(path):
                raise CompilerError(f"{os.fsdecode(path)} takes {os.fsdecode(min(unseen))} itself")
        if needs.needs_cache and LD_SO_CACHE not in members:
            files.add(LD_SO_CACHE)
        absent = {path for path in needs.absent if not os.path.lexists(path)}
        return Provision(required=tuple(sorted(files)), optional=tuple(sorted(absent)))

    def _members_of(self, toolchain: Toolchain) -> frozenset[bytes]:
        if toolchain.digest not in self._members:
            if len(self._members) >= MAX_REMEMBERED:
                self._members.clear()
            paths = frozenset(member.path for member in toolchain.members)
            self._members[toolchain.digest] = paths
        return self._members[toolchain.digest]
