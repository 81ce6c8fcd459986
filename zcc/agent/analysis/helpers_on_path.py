"""What a command gets for its environment, and whether its PATH finds the helpers that it should (`as`).

A job gets only those directories of PATH that its programs lie in: the others are the user's own, and no two
machines share a cache whose keys name them. So what lies in those is settled here. Relative directories are
never the toolchain's, and in the others a helper may have appeared since the toolchain was last looked at.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace

from zcc.agent.analysis.output_places import physical
from zcc.agent.launchers.wire import Request
from zcc.compiler.commandline.environment import JobEnvironment
from zcc.compiler.commandline.option import Family
from zcc.compiler.proof.misses import Misses
from zcc.compiler.toolchain.index import Toolchain
from zcc.job import Job

# What gcc and clang look for on PATH when they compile.
_HELPERS = (b"as", b"objcopy")
# What clang looks for without need: it asks each time where CUDA is.
_NO_MATTER = {b"ptxas"}
_ODD = re.compile(rb"/\.{0,2}/")


def job_environment(
    request: Request, classified: JobEnvironment, toolchain: Toolchain, pwd: bytes | None
) -> tuple[tuple[bytes, bytes], ...]:
    """What the command gets: the variables that count, and a PATH of the directories that do."""
    programs = (request.executable, *toolchain.programs.values())
    used = {os.path.dirname(program) for program in programs}
    entries = request.environment.get(b"PATH", b"").split(b":")
    path = [at for at in entries if at in used or _is_spelled_otherwise(at, request.cwd, used)]
    variables = dict(classified.carried) | dict(classified.search)
    variables[b"PATH"] = b":".join(dict.fromkeys(path)) or os.path.dirname(request.executable)
    if pwd is not None:
        variables[b"PWD"] = pwd
    return tuple(sorted(variables.items()))


def with_plain_executable(request: Request) -> Request:
    """The request with no `.`, `..` or `//` on the way to the compiler, whose own name is as it was.

    The directory is the physical one: `..` behind a symlink is not its parent.
    """
    if not _ODD.search(request.executable):
        return request
    directory, _, name = request.executable.rpartition(b"/")
    found = physical(directory)
    return request if found is None else replace(request, executable=found + b"/" + name)


def ways_to_compiler(request: Request, variables: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
    """The directories by whose names a command looks for its compiler, where those hold `..` or the like."""
    called = os.path.dirname(request.argv[0])
    names = [called] if called else dict(variables)[b"PATH"].split(b":")
    places = (os.path.join(request.cwd, name) for name in names)
    return [place for place in places if _ODD.search(place + b"/")]


def _is_spelled_otherwise(entry: bytes, cwd: bytes, used: set[bytes]) -> bool:
    """Whether it is one of the directories that are used; gcc finds itself by PATH as well."""
    if entry.startswith(b"/") and not _ODD.search(entry + b"/"):
        return False
    place = os.path.join(cwd, entry)
    return place in used or physical(place) in used


def odd_path(path: bytes | None, cwd: bytes, toolchain: Toolchain) -> str:
    """Why the helpers that this PATH (None: not set) finds are not the toolchain's; empty where they are."""
    if path == b"":
        return "it is empty"
    if toolchain.family is not Family.CLANG and "as" not in toolchain.programs:
        return "no assembler is found"
    shadow = first_shadow(path, cwd, toolchain)
    return "" if shadow is None else os.fsdecode(shadow)


def first_shadow(path: bytes | None, cwd: bytes, toolchain: Toolchain) -> bytes | None:
    """What the compiler might run in place of a program of the toolchain; None where there is nothing.

    `path` is the user's PATH, None where it is not set.
    """
    if path is None:
        return None
    entries = path.split(b":")
    directories = {entry.rstrip(b"/") for entry in entries}
    for helper in _HELPERS:
        own = toolchain.programs.get(helper.decode())
        if own is not None and (
            os.path.dirname(own) not in directories or os.path.basename(own) != helper
        ):
            continue  # the compiler finds it before it comes to PATH, or was built for this one
        for directory in entries:
            found = os.path.join(cwd, directory, helper)
            if found == own:
                break
            if os.path.lexists(found) and not _is_same(found, own):
                return found
    return None


def first_hidden(misses: Misses, job: Job, request: Request) -> bytes | None:
    """A program that a compiler missed on the job's PATH and would find on the user's; None where none is.

    Under -fno-integrated-as clang asks for TARGET-as before `as`, and for some targets for another program.
    """
    shown = dict(job.environment).get(b"PATH", b"").split(b":")
    hidden = [at for at in request.environment.get(b"PATH", b"").split(b":") if at not in shown]
    for name in {name for at, names in misses if at in shown for name in names} - _NO_MATTER:
        found = _on_path(hidden, name, request.cwd)
        if found is not None and _on_path(shown, name, request.cwd) is None:
            return found
    return None


def _on_path(directories: list[bytes], name: bytes, cwd: bytes) -> bytes | None:
    paths = (os.path.join(cwd, directory, name) for directory in directories)
    return next(filter(os.path.lexists, paths), None)


def _is_same(found: bytes, own: bytes | None) -> bool:
    try:
        return own is not None and os.path.samefile(found, own)
    except OSError:
        return False
