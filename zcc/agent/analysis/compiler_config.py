"""Files that configure a compiler (clang's *.cfg, gcc's specs): what in them keeps a compile here.

Options in them are on no command line. Most mean the same everywhere, and the files go along. Not so one that
writes a file: it acts in the agent's own questions too, in the user's directory.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Sequence

from cache.digest import Digest
from zcc.agent.analysis.questions import NamedFile
from zcc.agent.launchers.wire import Request
from zcc.compiler.commandline.compilation import Compilation
from zcc.compiler.toolchain.index import Toolchain
from zcc.regular import opener

MAX_BYTES = 1 << 18
MAX_TOOLCHAINS = 64

_COMMENT = re.compile(rb"^[ \t]*#[^\n]*", re.MULTILINE)
# In specs: what stands only where the command line gives an option (`%{march=native: ...}`), and else.
# The agent's own questions give -E.
_WHERE_GIVEN = re.compile(rb"%\{(?!E[:|])[^!{};][^{};]*\}")
_ELSE = re.compile(rb"%\{[^{}:]*:([^{}]*)\}")
_NATIVE = re.compile(rb"-m(?:arch|cpu|tune)=native\b")
_STAYS = re.compile(
    rb"(?<![\w-])--?(?:M[A-Z]*\b|Wp,-M|ftime-trace|save-stats|serialize-diagnostics)"
    rb"|(?<![\w-])--(?:write-|user-|write-user-)?dependencies\b"
    rb"|-(?:dependency-(?:file|dot)|header-include-file|diagnostic-(?:log|serialized)-file|stats-file)\b"
    rb"|(?<![\w-])-(?:aux-info|d[ax]\b|f(?:dump-|opt-info|stack-usage|callgraph-info|test-coverage)"
    rb"|-?save-temps|-?coverage\b|f?save-optimization-record)"
    rb"|(?<![\w-])(?:-o|--output)[ \t=]+(?=[^%{}\s])|%:getenv\("
)


class Configurations:
    """One for each agent. `named_file` asks the compiler for a file among its own."""

    def __init__(self, named_file: NamedFile) -> None:
        self._named_file = named_file
        self._of_toolchains: OrderedDict[Digest, tuple[bytes, ...]] = OrderedDict()

    async def texts(
        self, request: Request, parsed: Compilation, toolchain: Toolchain
    ) -> tuple[bytes, ...]:
        """What the compiler's own files say, and those of `-specs`; without what an option has to ask for."""
        given = []
        for name in parsed.specs:
            path = name if b"/" in name else await self._named_file(request, (), name)
            given.append(_read(os.path.join(request.cwd, path)))
        return (*self._own(toolchain), *given)

    def _own(self, toolchain: Toolchain) -> tuple[bytes, ...]:
        known = self._of_toolchains.get(toolchain.digest)
        if known is None:
            known = tuple(filter(None, map(_read, toolchain.configurations)))
            self._of_toolchains[toolchain.digest] = known
            if len(self._of_toolchains) > MAX_TOOLCHAINS:
                self._of_toolchains.popitem(last=False)
        return known


def is_native(texts: Sequence[bytes]) -> bool:
    """Whether they make a compile depend on the processor."""
    return any(map(_NATIVE.search, texts))


def what_stays(texts: Sequence[bytes]) -> str:
    """What in them keeps a compile on this machine; empty where nothing does."""
    found = next(filter(None, map(_STAYS.search, texts)), None)
    return "" if found is None else os.fsdecode(found[0])


def _read(path: bytes) -> bytes:
    """Nothing where it cannot be read."""
    try:
        with open(path, "rb", opener=opener) as file:
            text = _COMMENT.sub(b"", file.read(MAX_BYTES)).translate(None, b"\"'\\")
    except OSError:
        return b""
    before = None
    while text != before:
        before, text = text, _ELSE.sub(rb" \1 ", _WHERE_GIVEN.sub(b"", text))
    return text
