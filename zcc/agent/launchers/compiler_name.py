"""Which compiler a request means, what its launcher is told to exec, and whom a wrapper will call."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace

from zcc.agent.launchers import wire
from zcc.compiler.toolchain.driver import WRAPPERS

# As the kernel does, path_resolution(7).
_MAX_LINKS = 40
# clang's names for itself under which it reads another command line (llvm/clang, lib/Driver/ToolChain.cpp,
# FindDriverSuffix), a version or one more word behind them.
_OTHER_MODES = re.compile(rb"(?:cl|cpp|dxc|flang)(?:-?[\d.]+|-[^-]*)?(?:\.exe)?\Z")
# Of a process without one (search_path in program.c).
_PATH = b"/usr/local/bin:/usr/bin:/bin"
_LAUNCHERS = (b"zcc", b"zcc++", b"zcc-masquerade")


def with_default(request: wire.Request, name: bytes) -> wire.Request:
    """The request with the configured default compiler in place of none."""
    path = os.fsdecode(request.environment.get(b"PATH", os.defpath.encode()))
    found = shutil.which(name, path=path)
    own = request.executable if found is None or _is_launcher(found) else found
    return replace(request, argv=(name, *request.argv[1:]), executable=own, use_default=False)


def run_reply(request: wire.Request) -> bytes:
    """Exec the compiler; a launcher that found none is told the name, and says so itself."""
    name = request.argv[0] or request.executable
    return wire.encode_run(request.executable or name, name)


def name_here(request: wire.Request) -> bytes:
    """What the compiler is told it is called when it runs here, as by the launcher (exec_compiler in call.c).

    It is the name, unless that leads to something else: a gcc that looks itself up on PATH and meets a link to
    the launcher takes that one's directory for its own, and misses its cc1.
    """
    name = request.argv[0] or request.executable
    places = [b""] if b"/" in name else request.environment.get(b"PATH", _PATH).split(b":")
    for place in places:
        found = os.path.join(request.cwd, place, name)
        if os.path.isfile(found) and os.access(found, os.X_OK):
            return name if os.path.samefile(found, request.executable) else request.executable
    return name


def is_wrapper(executable: bytes) -> bool:
    """Whether this is ccache or its like, which calls the compiler, or zcc, itself."""
    return os.path.basename(_target(executable)) in WRAPPERS


def has_other_mode(request: wire.Request) -> bool:
    """Whether a clang of this name is clang-cl or its like: other options, the variables CL and _CL_, and
    objects that hold the time."""
    names = (os.path.basename(name) for name in (request.argv[0], request.executable))
    return any(_OTHER_MODES.search(name) is not None for name in names)


def _target(path: bytes) -> bytes:
    """Where symlinks lead: the name of the file itself. Its directory's own links do not matter here, and
    looking at each of them is what os.path.realpath takes its time for."""
    for _ in range(_MAX_LINKS):
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return path  # a file, or nothing
    return path


def will_return(request: wire.Request) -> bool:
    """Whether the wrapper that this request runs calls zcc in its turn: as ccache's prefix, or as the
    first compiler of that name on PATH. What ccache's own configuration file says is not known here."""
    prefix = request.environment.get(b"CCACHE_PREFIX", b"").split()
    if any(os.path.basename(word) in _LAUNCHERS for word in prefix):
        return True
    path = os.fsdecode(request.environment.get(b"PATH", os.defpath.encode()))
    compiler = os.path.basename(request.argv[0])
    if compiler in WRAPPERS and len(request.argv) > 1:
        compiler = request.argv[1]  # zcc ccache gcc ...
    for directory in path.split(":"):
        found = os.path.join(os.fsencode(directory), compiler)
        if os.access(found, os.X_OK) and not is_ccache(found):
            return _is_launcher(found)
    return False


def is_ccache(path: bytes) -> bool:
    """As ccache tells itself from a compiler."""
    return os.path.basename(_target(path)).startswith(b"ccache")


def _is_launcher(path: bytes) -> bool:
    """Whether this is a masquerade link to a launcher: never call oneself."""
    return os.path.basename(_target(path)) in _LAUNCHERS
