"""clang's module maps: what they name. Runs nothing, writes nothing.

Maps without `-fmodules` are how build systems have clang check that a source includes nothing but what its
library declares (`-fmodules-decluse`). clang then reads each map, the maps that it names as `extern`, and asks
whether every header and umbrella directory in them exists, without reading those.

From clang/lib/Lex/ModuleMap.cpp: a relative name belongs to the map's directory, under
`-fmodule-map-file-home-is-cwd` to the working directory. Both are taken here: a name too many costs a look-up.
A map that is called as one that clang finds by itself brings its private map along.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from zcc.compiler.disk.signatures import Memo, Sightings
from zcc.compiler.scan.provision import Provision
from zcc.errors import CompilerError
from zcc.regular import opener

# A whole transitive closure of libraries; system headers in one map are some 5,000.
MAX_NAMES = 50_000
MAX_REMEMBERED = 4096
_MAX_MAP_BYTES = 8 << 20

_TOKEN = re.compile(
    rb'//[^\n]*|/\*.*?(?:\*/|\Z)|"(?P<text>[^"\\\n]*)"|(?P<word>[A-Za-z_][\w.]*)|(?P<other>\S)',
    re.DOTALL,
)
_PRIVATE_OF = {
    b"module.modulemap": b"module.private.modulemap",
    b"module.map": b"module_private.map",
}


@dataclass(frozen=True, slots=True)
class ModuleMap:
    """The names in one map, as spelled: further maps, headers, umbrella directories."""

    maps: tuple[bytes, ...] = ()
    headers: tuple[bytes, ...] = ()
    directories: tuple[bytes, ...] = ()


def parse_map(text: bytes) -> ModuleMap:
    """The names in a map.

    Raises:
        CompilerError: a name that cannot be told.
    """
    found: dict[bytes, list[bytes]] = {b"extern": [], b"header": [], b"umbrella": []}
    keyword = b""
    tokens = [token for token in _TOKEN.finditer(text) if token.lastgroup is not None]
    for at, token in enumerate(tokens):
        name = token["text"]
        if token["other"] in (b'"', b"\\"):
            raise CompilerError("a name with escapes")
        if name is None:
            # `extern module NAME "path"`, `umbrella header "path"`: the last word counts.
            keyword = (
                token["word"]
                if token["word"] in found
                else keyword
                if keyword == b"extern"
                else b""
            )
        elif keyword:
            before = tokens[at - 1]
            # A module's own name may be a text as well.
            if keyword != b"extern" or before["word"] != b"module":
                found[keyword].append(name)
                keyword = b""
    return ModuleMap(*(tuple(names) for names in found.values()))


class ModuleMaps:
    """Reads maps, and remembers each as long as it is the file that it was."""

    def __init__(self) -> None:
        self._known: Memo[bytes, ModuleMap] = Memo(MAX_REMEMBERED)

    def named(self, maps: Iterable[bytes], cwd: bytes) -> Provision:
        """All that clang asks for on account of these maps, which are relative to `cwd`.

        Files, maps among them, and directories, as clang spells them. Any of it may be missing.

        Raises:
            CompilerError: too much, or a map that cannot be read as clang would.
        """
        files: dict[bytes, None] = {}
        directories: dict[bytes, None] = {}
        waiting = list(maps)
        seen = set(waiting)
        while waiting:
            path = waiting.pop()
            above, base = os.path.split(path)
            files[path] = None
            if base in _PRIVATE_OF:
                _visit([os.path.join(above, _PRIVATE_OF[base])], seen, waiting)
            at = os.path.join(cwd, path)
            one = self._known.answer(at, partial(_read, at))
            _visit(_places(one.maps, above), seen, waiting)
            files |= dict.fromkeys(_places(one.headers, above))
            directories |= dict.fromkeys(_places(one.directories, above))
            if len(files) + len(waiting) > MAX_NAMES:
                raise CompilerError(f"more than {MAX_NAMES} names in module maps")
        return Provision(mentioned=tuple(files), directories=tuple(directories))


def _read(path: bytes, seen: Sightings) -> ModuleMap:
    seen.see(path)
    try:
        with open(path, "rb", opener=opener) as file:
            text = file.read(_MAX_MAP_BYTES + 1)
        one = parse_map(text)
    except OSError:
        return ModuleMap()  # clang says what it thinks of that
    except CompilerError as error:
        raise CompilerError(f"{os.fsdecode(path)}: {error}") from error
    if len(text) > _MAX_MAP_BYTES:
        raise CompilerError(
            f"{os.fsdecode(path)}: a module map of more than {_MAX_MAP_BYTES} bytes"
        )
    return one


def _visit(paths: Iterable[bytes], seen: set[bytes], waiting: list[bytes]) -> None:
    fresh = [path for path in paths if path not in seen]
    seen.update(fresh)
    waiting.extend(fresh)


def _places(names: Iterable[bytes], above: bytes) -> list[bytes]:
    """Each name from the map's directory, and from the working directory."""
    return [place for name in names for place in dict.fromkeys((os.path.join(above, name), name))]
