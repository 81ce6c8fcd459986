"""The assembler's listings that come from a node, brought back to the names of this machine.

A listing names the assembler's source on each page and before each symbol. Without -pipe that is the driver's
temporary file, whose name is random in every compile and differs from a local one in its directory alone. So a
listing is remembered and sent as the node wrote it, and told anew, in the caller's own temporary directory,
each time it is placed. Must not touch what has not the form of a listing: in an object such a name stays, and
the result is refused (`parts.names_sandbox`).

The form, from gas/listing.c (binutils 2.40; the first words are the target's, "GAS LISTING", "AARCH64 GAS "):

    GAS LISTING NAME <tabs> page N                      a page
    <NAME, to the right of 20 columns>:LINE <blanks> SECTION:VALUE SYMBOL
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace

from zcc.agent.results.restore import Files
from zcc.compiler.commandline.tables import Family
from zcc.job import SANDBOX_DIRECTORY, Result

_NAME = re.escape(SANDBOX_DIRECTORY + b"/tmp/") + rb"([\w.-]+)"
_PAGE = re.compile(rb"^(\f?[A-Z0-9 ]*GAS (?:LISTING)? ?)%b( \t\t\tpage \d+)$" % _NAME, re.MULTILINE)
_SYMBOL = re.compile(rb"^ *%b(:\d+ *\S+:[0-9a-f]{8,16} .*)$" % _NAME, re.MULTILINE)
_NAME_COLUMNS = 20
_VARIABLES = {
    Family.GCC: (b"TMPDIR", b"TMP", b"TEMP"),
    Family.CLANG: (b"TMPDIR", b"TMP", b"TEMP", b"TEMPDIR"),
}
_IN = SANDBOX_DIRECTORY + b"/"


def has_listing(files: Files, result: Result) -> bool:
    """Whether there is anything to be told: hits ask this too."""
    return _IN in result.stdout or any(_IN in content for _, _, content in files[:-1])


def told_here(files: Files, result: Result, directory: bytes | None) -> tuple[Files, Result]:
    """The outputs and messages with the listings among them as this machine's assembler writes them.

    `directory` as from `temporary_directory`; None: nothing is changed. The main output is never a listing.
    """
    if directory is None:
        return files, result
    told = [
        (path, mode, _told(content, directory) if at + 1 < len(files) else content)
        for at, (path, mode, content) in enumerate(files)
    ]
    stdout = _told(result.stdout, directory)
    return told, result if stdout is result.stdout else replace(result, stdout=stdout)


def temporary_directory(
    environment: Mapping[bytes, bytes], family: Family, cwd: bytes
) -> bytes | None:
    """What the driver puts before a temporary file's name, its slash included; None where it would fail.

    gcc (libiberty/make-temp-file.c) passes over what it cannot write to, and adds a slash to anything; clang
    (llvm/lib/Support/Path.cpp) takes the first variable that is set, were it empty.
    """
    if family is Family.CLANG:
        variable = temporary_variable(environment, family)
        value = environment[variable] if variable else b"/tmp"
        slash = b"/" if value and not value.endswith(b"/") else b""
        return value + slash if _is_writable(cwd, value) else None
    named = map(environment.get, _VARIABLES[family])
    return next((v for v in named if v and _is_writable(cwd, v)), b"/tmp") + b"/"


def temporary_variable(environment: Mapping[bytes, bytes], family: Family) -> bytes | None:
    """The first variable that says where temporary files go; None where none does."""
    return next((name for name in _VARIABLES[family] if name in environment), None)


def _is_writable(cwd: bytes, path: bytes) -> bool:
    at = os.path.join(cwd, path)
    return os.path.isdir(at) and os.access(at, os.R_OK | os.W_OK | os.X_OK)


def _told(content: bytes, directory: bytes) -> bytes:
    if _IN not in content or b"\0" in content:
        return content
    content = _PAGE.sub(lambda match: match[1] + directory + match[2] + match[3], content)
    return _SYMBOL.sub(
        lambda match: (directory + match[1]).rjust(_NAME_COLUMNS) + match[2], content
    )
