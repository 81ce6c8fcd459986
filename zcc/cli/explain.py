"""`zcc explain CC ARGS...` and `zcc toolchain CC`: what zcc makes of a command and of a compiler."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

import typer

from zcc import config as configuration
from zcc.agent.analysis.ask_compiler import run_query
from zcc.agent.analysis.outcome import Here, Prepared
from zcc.agent.analysis.pipeline import Analyser
from zcc.agent.analysis.projects import base_dir_of
from zcc.agent.analysis.questions import Surroundings
from zcc.agent.analysis.split import jobs_of
from zcc.agent.launchers import wire
from zcc.agent.launchers.compiler_name import with_default
from zcc.cli.compilers import compilers_of, packed_toolchain
from zcc.cli.figures import size_text
from zcc.cli.reasons import about, lines_about
from zcc.cli.terminal import say
from zcc.compiler.commandline import arguments
from zcc.compiler.commandline.tables import Family
from zcc.compiler.toolchain.index import describe
from zcc.errors import ConfigError
from zcc.reasons import Reason

_LAUNCHERS = ("zcc", "zcc++")
# Endings of what a compiler reads: `file_endings` of zcc/launcher/words.c.
FILE_ENDINGS = frozenset(
    "c cc cp cpp cxx c++ C CC CPP h hh hpp hxx H m mm M i ii mi mii s S sx o a so".split()  # noqa: SIM905
)
_NO_COMPILER = "name a compiler: zcc explain gcc -c x.c"


def explain(
    command: list[str] = typer.Argument(None, metavar="CC ARGS...", help=_NO_COMPILER),
    as_json: bool = typer.Option(False, "--json", help="One JSON object; put it before CC."),
) -> None:
    """Show what zcc would do with a compile: roles of its arguments, way, reason, closure, key.

    Nothing is compiled and nothing is sent.
    """
    if not command:
        raise ConfigError(_NO_COMPILER)
    request = request_of(command)
    compilers = compilers_of(os.environ)

    base_dir = os.fsencode(configuration.load(os.environ).base_dir)
    given = base_dir_of(request.environment, base_dir)
    analyser = Analyser(Surroundings(run_query, compilers.toolchain), home(), base_dir)

    async def analyse() -> list[Prepared] | Here:
        return await jobs_of(analyser, request, time.monotonic(), time.monotonic)

    answer = asyncio.run(analyse())
    base = {
        "directory": os.fsdecode(analyser.projects.base_in_force(given, request.cwd)),
        "is_used": isinstance(answer, list) and any(job.base for job in answer),
    }
    document = _describe(request, answer) | {"base_dir": base}
    if as_json:
        typer.echo(json.dumps(document))
        return
    for line in told(document):
        say(line)


def told(document: dict[str, Any]) -> Iterator[str]:
    """The document of `--json` in words."""
    for argument, role, note in document["arguments"]:
        yield f"  {role:18} {argument}" + (f"   ({note})" if note else "")
    yield f"{'compiler':12} {document['compiler'] or 'none that could be found'}"
    base = document["base_dir"]
    if document["way"] == "local":
        detail = f" ({document['detail']})" if document["detail"] else ""
        yield f"{'way':12} local: {document['reason']}{detail}"
        yield from _told_reason(document)
    elif document["way"] == "several":
        yield f"{'way':12} {len(document['jobs'])} sources, each a compile of its own"
        for job in document["jobs"]:
            yield from _told_job(job)
    else:
        yield from _told_job(document)
    yield f"{'base_dir':12} {_told_base(base, document['way'])}"


def _told_job(document: dict[str, Any]) -> Iterator[str]:
    yield f"{'way':12} {_told_way(document)}: a farm can run it"
    yield from _told_reason(document)
    yield f"{'inputs':12} {document['files']} files, {size_text(document['bytes'])}"
    for at, path in enumerate(document["outputs"]):
        yield f"{'' if at else 'outputs':12} {path}"
    yield f"{'toolchain':12} {document['toolchain']}"
    yield f"{'job':12} {size_text(document['job_bytes'])}, key {document['key']}"


def _told_reason(document: dict[str, Any]) -> Iterator[str]:
    """Why it is local, or was listed."""
    for label, text in lines_about(document.get("reason", "")):
        yield f"{label:12} {text}"


def _told_way(document: dict[str, Any]) -> str:
    if document["way"] == "scanned":
        return "scanned"
    detail = f" ({document['detail']})" if document["detail"] else ""
    return f"listed, for {document['reason']}{detail}"


def _told_base(base: dict[str, Any], way: str) -> str:
    if not base["directory"]:
        return "none is in force"
    if way == "local":
        return f"{base['directory']}, of no effect on what runs here"
    if base["is_used"]:
        return (
            f"{base['directory']}, names are relative to it and other checkouts have the same key"
        )
    return f"{base['directory']}, but this command is compiled in place (docs/design/cache.md says which are)"


def toolchain(
    compiler: str = typer.Argument(metavar="CC", help="A gcc or clang driver, by name or path."),
    as_json: bool = typer.Option(False, "--json", help="With every member."),
    pack: str = typer.Option("", metavar="FILE", help="Write the .tar.zst that nodes get."),
) -> None:
    """Show what belongs to a compiler's toolchain, and its digest. Packs it the first time."""
    found = packed_toolchain(compiler, os.environ)
    if pack:
        shutil.copyfile(found.pack_path, pack)
    document = describe(found)
    if as_json:
        typer.echo(json.dumps(document))
        return
    for name in ("family", "version", "target", "digest"):
        say(f"{name:12} {document[name]}")
    sizes = f"{found.size_bytes / 1e6:.1f} MB, {found.compressed_bytes / 1e6:.1f} MB packed"
    say(f"{'members':12} {len(found.members)}, {sizes}")


def request_of(command: list[str]) -> wire.Request:
    """The launcher's request for this command, made here and now, without a terminal.

    Raises:
        ConfigError: no such compiler.
    """
    command, is_cxx = _behind_launchers(command)
    words = [os.fsencode(word) for word in command]
    is_named = not is_for_default(command[0])
    found = shutil.which(command[0]) if is_named else None
    if is_named and found is None:
        raise ConfigError(f"{command[0]}: command not found; {_NO_COMPILER}")
    request = wire.Request(
        argv=tuple(words) if is_named else (b"", *words),
        executable=os.fsencode(os.path.abspath(found)) if found else b"",
        cwd=os.getcwdb(),
        environment=wire.Environment(os.environb),
        umask=_umask(),
        terminal=None,
        stdin_is_terminal=False,
        is_cxx=is_cxx,
        use_default=not is_named,
    )
    if is_named:
        return request
    config = configuration.load(os.environ)
    return with_default(request, os.fsencode(config.cxx if is_cxx else config.cc))


def is_for_default(word: str) -> bool:
    """Whether this first word is the default compiler's: an option, `@file`, or what a compiler reads (as in
    zcc/launcher/words.c)."""
    _, dot, ending = os.path.basename(word).rpartition(".")
    return word[:1] in ("-", "@") or (bool(dot) and ending in FILE_ENDINGS)


def _behind_launchers(command: list[str]) -> tuple[list[str], bool]:
    """What stands behind `zcc` and `zcc++`, which mean themselves; and whether the last one is for C++.

    Raises:
        ConfigError: nothing does.
    """
    is_cxx = False
    while command and os.path.basename(command[0]) in _LAUNCHERS:
        is_cxx = os.path.basename(command[0]) == "zcc++"
        command = command[1:]
    if not command:
        raise ConfigError(_NO_COMPILER)
    return command, is_cxx


def _describe(request: wire.Request, answer: list[Prepared] | Here) -> dict[str, Any]:
    family = Family.CLANG if b"clang" in request.executable else Family.GCC
    is_cxx = b"++" in os.path.basename(request.argv[0])
    parsed = arguments.parse(request.argv[1:], family, is_cxx, request.cwd, lambda _: None)
    roles: list[list[str]] = []
    if isinstance(parsed, arguments.Compilation):
        roles = [[os.fsdecode(word), role.value, note] for word, role, note in parsed.role_of]
    document: dict[str, Any] = {"arguments": roles, "compiler": os.fsdecode(request.executable)}
    if isinstance(answer, Here):
        return document | {"way": "local", **_reason_document(answer.reason, answer.detail)}
    jobs = list(map(_describe_job, answer))
    return document | (jobs[0] if len(jobs) == 1 else {"way": "several", "jobs": jobs})


def _describe_job(job: Prepared) -> dict[str, Any]:
    document: dict[str, Any] = {}
    why = job.unbounded
    if why is not None:
        document |= _reason_document(why.reason, os.fsdecode(why.detail))
    return document | {
        "way": "scanned" if why is None else "listed",
        "files": job.closure.file_count,
        "bytes": job.closure.size_bytes,
        "outputs": [os.fsdecode(path) for path in job.job_in_place.outputs],
        "toolchain": job.toolchain.digest.hex(),
        "job_bytes": len(job.frame()),
        "key": job.key.hex(),
    }


def _reason_document(reason: Reason, detail: str) -> dict[str, Any]:
    return {"reason": reason.value, "detail": detail, "about": about(reason)}


def home() -> bytes:
    return os.fsencode(os.environ.get("HOME") or "/")


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
