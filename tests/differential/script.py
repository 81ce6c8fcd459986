"""Prints a case as a shell script that stands alone: it shows the difference wherever zcc has a farm."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from tests.differential.case import (
    EPOCH_S,
    HERE,
    PATH,
    UNSET,
    Case,
    Edit,
    Entry,
    Kind,
    Project,
    Stdin,
    Streams,
)
from tests.differential.observe import CLOSED_BY, SOURCE

_HEAD = """\
#!/bin/sh
# Run it by: zcc up -- sh THIS-FILE
# It runs one command plain and through zcc, in the same place, and shows what differs.
export LC_ALL=C
base=$(mktemp -d) && here=$base/p && mkdir "$here" || exit 2

# make PATH AGE MODE CONTENT: a file, CONTENT as printf has it, AGE in seconds before a fixed time.
make() {{
    mkdir -p "$(dirname "$here/$1")" && rm -f "$here/$1"
    printf "$4" | sed "s|@HERE@|$here|g" >"$here/$1"
    chmod "$3" "$here/$1" && touch -d "@$(({epoch} - $2))" "$here/$1"
}}
# build WHERE LAUNCHER...: run the command, keep what it shows and all that lies here afterwards.
build() {{
    kept=$base/$1; shift
    ( cd "$here/{cwd}" && umask {umask:03o} && unset LC_ALL &&
      {command}
    ) </dev/null >"$base/stdout" 2>"$base/stderr"
    echo $? >"$base/status"
    mkdir "$kept" && mv "$base/stdout" "$base/stderr" "$base/status" "$kept"
    cp -a "$here" "$kept/files" && ls -lR "$here" | sed 's/ [A-Z][a-z][a-z] .*:.. / /' >"$kept/modes"
}}
"""


_REDIRECTED = {
    **{each: f" {closing}" for each, closing in CLOSED_BY.items()},
    Streams.ONE_FILE: " 2>&1",
}
_REMARKS = {
    Streams.TERMINAL: "Standard error was a terminal: see script(1).",
    Streams.ONE_PIPE: "Both streams were one pipe: 2>&1 | cat",
}


def as_script(case: Case, reason: str) -> str:
    """The script; `reason` is said in its head."""
    words = [_expanded(word) for word in case.words]
    variables = [_variable(name, value) for name, value in sorted(case.environment.items())]
    variables.sort(key=lambda each: not each.startswith("-u"))  # env takes its options first
    command = " ".join(["env", *variables, '"$@"', _expanded(case.compiler), *words])
    command += "".join(_REDIRECTED.get(each, "") for each in (case.streams, case.stdin))
    if case.stdin is Stdin.SOURCE:
        command = f"printf {_as_format(SOURCE.decode())} | {command}"
    cwd = case.cwd.replace('"', '\\"')
    parts = [
        _HEAD.format(epoch=EPOCH_S, cwd=cwd, umask=case.umask, command=command),
        f"# What differed: {reason}\n",
        _function("project", case.project),
        _edit_function(case.edits),
        'anew() { find "$here" -mindepth 1 -delete; project; }\n',
        "anew; build plain1; anew; build zcc1 zcc\n",
    ]
    if case.edits:
        parts.append("anew; edit; build plain2; anew; edit; build zcc2 zcc\n")
    if case.streams in _REMARKS:
        parts.append(f"# {_REMARKS[case.streams]}\n")
    parts.append(
        'for n in 1 2; do test ! -e "$base/plain$n" || diff -r "$base/plain$n" "$base/zcc$n"; done\n'
    )
    return "".join(parts)


def _variable(name: str, value: str) -> str:
    """As env(1) takes it."""
    if value == UNSET:
        return f"-u {name}"
    return f"{name}=" + '"$PATH"'.join(
        _expanded(part) if part else "" for part in value.split(PATH)
    )


def _function(name: str, project: Project) -> str:
    body = "".join(
        f"    {line}\n" for path in _ordered(project) for line in _lines(path, project[path])
    )
    return f"{name}() {{\n{body}    :\n}}\n"


def _edit_function(edits: tuple[Edit, ...]) -> str:
    body = ""
    for path, entry in edits:
        removal = f'rm -rf "$here"/{shlex.quote(path)}'
        for line in [removal] if entry is None else _lines(path, entry):
            body += f"    {line}\n"
    return f"edit() {{\n{body}    :\n}}\n"


def _ordered(project: Project) -> list[str]:
    return sorted(project, key=lambda path: (project[path].kind.value, path))


def _lines(path: str, entry: Entry) -> Iterator[str]:
    quoted = shlex.quote(path)
    match entry.kind:
        case Kind.DIRECTORY:
            yield f'mkdir -p "$here"/{quoted}'
        case Kind.SYMLINK:
            yield f'mkdir -p "$(dirname "$here"/{quoted})"'
            yield f'ln -sfn {_expanded(entry.data)} "$here"/{quoted}'
        case Kind.HARD_LINK:
            yield f'ln -f "$here"/{shlex.quote(entry.data)} "$here"/{quoted}'
        case Kind.FILE:
            yield f"make {quoted} {entry.age_s} {entry.mode:o} {_as_format(entry.data)}"


def _as_format(data: str) -> str:
    """Content as a format of printf, one source line a line of the script."""
    pieces = []
    for byte in os.fsencode(data):
        character = chr(byte)
        if character == "\n":
            pieces.append("\\n")
        elif character in "\\%'" or not 32 <= byte < 127:
            pieces.append(f"\\{byte:03o}")
        else:
            pieces.append(character)
    return "'" + "".join(pieces) + "'"


def _expanded(word: str) -> str:
    """A word of the script, with the project's directory in place of its mark."""
    if not word.isascii() or "\n" in word:
        return f'"$(printf {_as_format(word)} | sed "s|@HERE@|$here|g")"'
    return '"$here"'.join(shlex.quote(part) if part else "" for part in word.split(HERE)) or "''"
