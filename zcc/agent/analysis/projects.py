"""Where a command's project begins, and from which base its names are told."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from functools import lru_cache

from zcc.compiler.commandline.compilation import Compilation
from zcc.compiler.commandline.tables import Family
from zcc.compiler.neutral.relocation import is_movable
from zcc.compiler.scan.closure import project_root
from zcc.compiler.toolchain.index import Toolchain
from zcc.config import is_base_dir

MAX_ROOTS = 4096
ROOTS_HOLD_S = 5.0


class Projects:
    """One for each agent: it remembers where checkouts are. `base_dir` as in the configuration."""

    def __init__(self, home: bytes, base_dir: bytes) -> None:
        top = os.path.realpath(home)
        self._base_dir = base_dir
        self._roots = lru_cache(MAX_ROOTS)(lambda at, _: project_root(at, top))

    def root_of(self, directory: bytes) -> bytes:
        """Where the project begins: about 60 us of look-ups, so an answer is believed for some seconds. One
        that has aged makes a compile take the listed way, or share with nobody."""
        return self._roots(directory, time.monotonic() // ROOTS_HOLD_S)

    def checkout_of(self, directory: bytes) -> bytes | None:
        """The checkout that a directory lies in; None outside of any. An answer may have aged."""
        # Of a directory outside of any the root is the directory itself: one that cannot be there tells.
        below = os.path.join(directory, b"\n")
        root = self.root_of(below)
        return None if root == below else root

    def base_in_force(self, given: bytes, cwd: bytes) -> bytes:
        """The directory that a setting means for compiles in `cwd`; empty for none."""
        if given != b"auto":
            return os.path.realpath(given) if given else b""
        # Outside of any checkout there is nothing to share with.
        return self.checkout_of(cwd) or b""

    def base_of(
        self,
        parsed: Compilation,
        toolchain: Toolchain,
        cwd: bytes,
        environment: Mapping[bytes, bytes],
        search: Mapping[bytes, bytes],
    ) -> bytes:
        """Where the checkout begins that is to be moved to a neutral place; empty for none.

        ZCC_BASE_DIR of the `environment` goes before the configuration. `search`: variables that name
        directories of headers.
        """
        base = self.base_in_force(base_dir_of(environment, self._base_dir), cwd)
        if not base or parsed.language == "assembler":
            return b""
        family = toolchain.family
        is_old = family is Family.CLANG and release_of(toolchain) < 19
        names_files = is_old and "c++" in parsed.language
        if names_files and any(base in value for value in search.values()):
            return b""  # what the types of those headers are called would name them
        is_safe = is_movable(parsed.words, family, base, types_name_files=names_files)
        return base if is_safe else b""


def base_dir_of(environment: Mapping[bytes, bytes], default: bytes) -> bytes:
    """What ZCC_BASE_DIR says; `default` where it is not set, or is nothing that can be obeyed."""
    given = environment.get(b"ZCC_BASE_DIR")
    return default if given is None or not is_base_dir(os.fsdecode(given)) else given


def release_of(toolchain: Toolchain) -> int:
    """The first number of the compiler's version; 0 where it does not say."""
    found = re.search(r"version (\d+)", toolchain.version)
    return 0 if found is None else int(found[1])
