"""A farm of real processes whose members begin with the compilers' toolchains.

To pack a toolchain, send it and unpack it takes 2 s of CPU for gcc and 5 for clang: here once in a run of
pytest, for all its workers. Who tests how toolchains travel takes a `LocalFarm`, which begins with none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import Popen

from broker.commands.tokens import invitation
from node.toolchains.store import ToolchainStore
from tests.conftest import SHARED, families
from zcc.cli.up import LocalFarm
from zcc.compiler.toolchain.index import ToolchainIndex
from zcc.compiler.toolchain.pack import pack_compiler
from zcc.errors import CompilerError
from zcc.messages import PeerRole

# The compilers that are the same toolchain.
_FAMILIES = {"gcc": ("gcc", "g++"), "clang": ("clang", "clang++")}
_LIMIT_BYTES = 8 << 30


@dataclass
class PreparedFarm(LocalFarm):
    """Its tokens are made in this process, as `zcc-broker token` does it, which takes an interpreter less.

    `compilers` are those whose toolchains are there; clang's only where a test of this run speaks of it.
    """

    compilers: tuple[str, ...] = ("gcc",)

    def start(self, nodes: int, slots: int) -> None:
        self._lend("client", os.path.join(self.directory, "client"))
        super().start(nodes, slots)

    def add_node(self, name: str, slots: int, *options: str, token: str = "") -> Popen[bytes]:
        self._lend("node", os.path.join(self.directory, name))
        return super().add_node(name, slots, *options, token=token)

    def _ask_token(self, role: str, uses: int = 1) -> Callable[[], str]:
        return partial(invitation, self._at("broker"), PeerRole(role), "", "1h", uses)

    def _lend(self, part: str, state: str) -> None:
        """Put copies of the toolchains into the state directory of a client or a node."""
        os.makedirs(state, mode=0o700, exist_ok=True)
        for made in _made(self.compilers):
            shutil.copytree(
                made / part, os.path.join(state, "toolchains"), symlinks=True, dirs_exist_ok=True
            )


def search_path() -> str:
    """The PATH of whoever compiles in tests: zcc's programs come last."""
    return f"{os.environ['PATH']}:{os.path.dirname(sys.executable)}"


def _made(wanted: tuple[str, ...]) -> list[Path]:
    """The directories of these toolchains that the run asks for. Who comes first makes them; others wait."""
    shared = Path(os.environ[SHARED])
    found = []
    with (shared / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for family, compilers in _FAMILIES.items():
            if family in families.intersection(wanted) and shutil.which(family) is not None:
                found.append(shared / family)
                if not found[-1].exists():
                    _make(found[-1], compilers)
    return found


def _make(place: Path, compilers: tuple[str, ...]) -> None:
    fresh = place.with_suffix(".new")
    index = ToolchainIndex(str(fresh / "client"))
    store = ToolchainStore(str(fresh / "node"), _LIMIT_BYTES)
    for compiler in compilers:
        path = shutil.which(compiler)
        if path is not None:
            with contextlib.suppress(CompilerError):  # cannot be sent: the tests say what follows
                packed = pack_compiler(index, os.fsencode(path), os.fsencode(search_path()))
                store.install(packed.digest, packed.pack_path)
    fresh.rename(place)
