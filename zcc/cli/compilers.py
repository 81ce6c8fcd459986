"""The compilers that the subcommands speak of: found on PATH, packed if they are not yet."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping

from zcc import config
from zcc.agent.analysis.compilers import Compilers
from zcc.compiler.toolchain.index import Toolchain
from zcc.errors import ConfigError

# Packing takes two to five seconds, a look at what is packed a few milliseconds.
_PATIENCE_S = 0.3


def compilers_of(environment: Mapping[str, str]) -> Compilers:
    """The packed toolchains that this user's agent uses too."""
    return Compilers(os.path.join(config.state_dir(environment), "toolchains"))


def packed_toolchain(name: str, environment: Mapping[str, str]) -> Toolchain:
    """The toolchain of a compiler on PATH; says so on a terminal when it has to be packed first.

    Raises:
        ConfigError: there is no such program.
        CompilerError: it is no compiler that can be packed.
    """
    search = environment.get("PATH", os.defpath)
    found = shutil.which(name, path=search)
    if found is None:
        raise ConfigError(f"{name}: command not found")
    path = os.fsencode(os.path.abspath(found))
    wanted = compilers_of(environment).toolchain(path, os.fsencode(name), os.fsencode(search))

    async def wait() -> Toolchain:
        task = asyncio.ensure_future(wanted)
        done, _ = await asyncio.wait([task], timeout=_PATIENCE_S)
        if not done and sys.stderr.isatty():
            print(f"packing the toolchain of {name}, once ...", file=sys.stderr, flush=True)
        return await task

    return asyncio.run(wait())
