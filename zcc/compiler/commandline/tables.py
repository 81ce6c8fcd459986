"""What every option of gcc and clang means to zcc: one table, as data. Pure.

Puts together the tables of `plain_options`, `file_options`, `local_options` and `nested_options`, each
with its look-up. Must not know what a command line as a whole means. What no row matches is unknown:
`looks_like_files` decides.
"""

from __future__ import annotations

import re

from zcc.compiler.commandline.file_options import FILES
from zcc.compiler.commandline.local_options import LOCALS
from zcc.compiler.commandline.nested_options import ASSEMBLER, FRONTEND, PREPROCESSOR
from zcc.compiler.commandline.option import Family, Lookup, Match, Option, Role, Spelling, Use
from zcc.compiler.commandline.plain_options import PLAIN

__all__ = [
    "ASSEMBLER", "DRIVER", "FRONTEND", "IN_ASSEMBLER", "IN_FRONTEND", "IN_PREPROCESSOR",
    "PREPROCESSOR", "TABLE", "Family", "Lookup", "Match", "Option", "Role", "Spelling", "Use",
    "looks_like_files", "names_file",
]  # fmt: skip

TABLE: tuple[Option, ...] = (*PLAIN, *FILES, *LOCALS)

DRIVER = {family: Lookup(TABLE, family) for family in Family}
IN_PREPROCESSOR = Lookup(PREPROCESSOR, Family.GCC)
IN_ASSEMBLER = Lookup(ASSEMBLER, Family.GCC)
IN_FRONTEND = Lookup(FRONTEND, Family.CLANG)

_FILE_NAME = re.compile(rb"/|\.[A-Za-z_][\w+-]{0,9}$")
_FILE_WORD = re.compile(
    rb"(?:(?<![a-z])|(?<=-f))(?:files?|filename|paths?|output|dir|directory|log)(?![a-z])"
)


def names_file(word: bytes) -> bool:
    """Whether `-fname=value` looks as if the value were the name of a file."""
    name, equals, value = word.partition(b"=")
    return bool(equals) and bool(_FILE_NAME.search(value) or _FILE_WORD.search(name))


def looks_like_files(word: bytes) -> bool:
    """Whether an option that the table does not know may read or write a file, named or not."""
    return names_file(word) or b"/" in word or bool(_FILE_WORD.search(word))
