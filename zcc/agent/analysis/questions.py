"""What is asked of the compiler itself, and how long each answer holds.

Owns the memory of the answers. What a question looks like on a command line, and how its answer is read, is
`zcc/compiler/`'s affair.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from zcc.agent.launchers.wire import Request
from zcc.compiler.commandline import arguments, languages
from zcc.compiler.commandline.arguments import Compilation
from zcc.compiler.commandline.tables import Family
from zcc.compiler.scan import precompiled
from zcc.compiler.scan.precompiled import InputsMemo
from zcc.compiler.scan.search_list import (
    QUERY_ENVIRONMENT,
    SearchKey,
    SearchList,
    SearchMemo,
    parse_search_list,
    query_arguments,
)
from zcc.compiler.toolchain.index import Toolchain

MAX_NAMED_FILES = 4096


@dataclass(frozen=True, slots=True)
class Ran:
    """What a query of the compiler gave."""

    exit_status: int
    stdout: bytes
    stderr: bytes


# (command, working directory, environment) -> what it gave.
Run = Callable[[list[bytes], bytes, Mapping[bytes, bytes]], Awaitable[Ran]]
# `Questions.named_file`.
NamedFile = Callable[[Request, tuple[bytes, ...], bytes], Awaitable[bytes]]


class Surroundings:
    """What the analysis needs others to do; the agent's shell and the command line supply it."""

    def __init__(
        self,
        run: Run,
        toolchain: Callable[[bytes, bytes, bytes], Awaitable[Toolchain]],
    ) -> None:
        self.run = run
        # (executable, argv[0], PATH) -> the packed toolchain; raises CompilerError.
        self.toolchain = toolchain


class Questions:
    """Asks, and remembers. One for each agent."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._searches = SearchMemo()
        self._pch_inputs = InputsMemo(precompiled.MAX_REMEMBERED)
        self._named_files: dict[tuple[bytes, ...], bytes] = {}

    async def search_list(
        self,
        request: Request,
        parsed: Compilation,
        toolchain: Toolchain,
        variables: Mapping[bytes, bytes],
    ) -> SearchList:
        """Where this compile looks for headers; `variables` are those that move it.

        Raises:
            CompilerError: the compiler does not say, or names what cannot be shown to a node.
        """
        language = languages.ASKED_AS.get(parsed.language, parsed.language)
        key = SearchKey(
            executable=request.executable,
            toolchain=toolchain.digest,
            language=language,
            arguments=parsed.search_arguments,
            cwd=request.cwd,
            environment=tuple(sorted(variables.items())),
        )
        known = self._searches.get(key)
        if known is not None:
            return known
        asked = dict(request.environment) | dict(QUERY_ENVIRONMENT)
        command = [
            request.executable,
            *query_arguments(parsed.search_arguments, language),
        ]
        ran = await self._run(command, request.cwd, asked)
        search = parse_search_list(ran.stderr, parsed.search_arguments)
        self._searches.put(key, search)
        return search

    async def made_of(self, request: Request, headers: tuple[bytes, ...]) -> list[bytes]:
        """What clang will look at again for these precompiled headers."""
        inputs: list[bytes] = []
        for path in headers:
            at = os.path.join(request.cwd, path)
            known = self._pch_inputs.get((request.executable, at))
            if known is None:
                seen = self._pch_inputs.begin()
                seen.see(at)
                command = [request.executable, *precompiled.query_arguments(path)]
                ran = await self._run(command, request.cwd, request.environment)
                known = precompiled.parse_inputs(ran.stdout)
                self._pch_inputs.put((request.executable, at), known, seen)
            inputs += known
        return inputs

    async def own_files(
        self, request: Request, parsed: Compilation, names: tuple[bytes, ...]
    ) -> list[bytes]:
        """Where the compiler finds these among its own files; the mere name where it does not.

        An answer is remembered for good: where another file goes before it since, the proof shows that.
        """
        found: dict[bytes, None] = {}
        for name in names:
            # gcc reads its specs before it knows for which processor, and the rest behind that.
            for given in (parsed.search_arguments, ()):
                found[await self.named_file(request, given, name) or name] = None
        return list(found)

    async def named_file(self, request: Request, given: tuple[bytes, ...], name: bytes) -> bytes:
        """What the compiler calls a file among its own of this name, under these options."""
        asked = (*given, b"-print-file-name=" + name)
        key = (request.executable, request.cwd, *asked)
        if key not in self._named_files:
            command = [request.executable, *asked]
            ran = await self._run(command, request.cwd, request.environment)
            if len(self._named_files) >= MAX_NAMED_FILES:
                self._named_files.clear()
            self._named_files[key] = ran.stdout.partition(b"\n")[0]
        return self._named_files[key]

    async def listing(self, request: Request, parsed: Compilation, family: Family) -> Ran:
        """What the compiler says that it reads (`-M`); never remembered."""
        command = [request.executable, *arguments.dependency_arguments(parsed, family)]
        return await self._run(command, request.cwd, request.environment)
