"""Response files: `@file` in a command line stands for the words in that file. Pure.

Owns the two ways to split such a file into words. gcc's is libiberty's `buildargv`; releases since 2024 read
a backslash inside quotes, and one before a newline, as a POSIX shell does, older ones as an escape of any
character: a text on which they differ is refused. clang's is LLVM's `TokenizeGNUCommandLine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from zcc.compiler.commandline.tables import Family
from zcc.errors import CompilerError
from zcc.reasons import Reason

# As gcc; a file that names itself ends here.
MAX_FILES = 2000
# A link line of a huge project is about 1 MB; a compile's is a few KB.
MAX_BYTES = 4 << 20

_SPACE = {Family.GCC: frozenset(b" \t\n\v\f\r"), Family.CLANG: frozenset(b" \t\n\r")}
_BACKSLASH, _SINGLE, _DOUBLE, _NEWLINE = b"\\'\"\n"
# What a backslash escapes inside double quotes under either reading.
_ESCAPED_IN_QUOTES = frozenset(b'\\"$`')
_ENCODING_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


class ResponseDoubtError(CompilerError):
    """A response file that cannot be read, or that compilers read differently.

    `path` is as spelled.
    """

    def __init__(self, reason: Reason, path: bytes) -> None:
        super().__init__(f"{reason}: {path!r}")
        self.reason = reason
        self.path = path


def expand(
    words: Sequence[bytes], family: Family, read: Callable[[bytes], bytes | None]
) -> tuple[list[bytes], list[bytes]]:
    """The words with each `@file` replaced by what it holds, nested ones too, and the files' names.

    `read` takes a name as spelled, relative to the cwd (for nested ones too: both compilers do so), and
    gives None where there is nothing to read.

    Raises:
        ResponseDoubtError: a file that is missing, ambiguous or too large, or one that includes itself.
    """
    expanded: list[bytes] = []
    files: list[bytes] = []
    size_bytes = 0
    ahead = list(reversed(words))
    while ahead:
        word = ahead.pop()
        if not word.startswith(b"@") or len(word) == 1:
            expanded.append(word)
            continue
        name = word[1:]
        content = read(name)
        if content is None:
            raise ResponseDoubtError(Reason.RESPONSE_MISSING, name)
        files.append(name)
        size_bytes += len(content)
        if len(files) > MAX_FILES or size_bytes > MAX_BYTES:
            raise ResponseDoubtError(Reason.RESPONSE_SIZE, name)
        if b"\0" in content or content.startswith(_ENCODING_MARKS):
            raise ResponseDoubtError(Reason.RESPONSE_ENCODING, name)
        inside = split(content, family)
        if inside is None:
            raise ResponseDoubtError(Reason.RESPONSE_QUOTING, name)
        ahead.extend(reversed(inside))
    return expanded, list(dict.fromkeys(files))


def split(content: bytes, family: Family) -> list[bytes] | None:
    """The words in a response file; None where releases of the compiler do not agree on them."""
    words: list[bytes] = []
    word = bytearray()
    is_open = False
    for character, is_literal in _characters(content, family):
        if character is None:
            return None
        if not is_literal and character in _SPACE[family]:
            if is_open and (word or family is Family.GCC):
                words.append(bytes(word))
            word.clear()
            is_open = False
        else:
            is_open = True
            if character >= 0:
                word.append(character)
    # An empty word in quotes counts for gcc alone.
    if is_open and (word or family is Family.GCC):
        words.append(bytes(word))
    return words


_OPENED = -1


def _characters(content: bytes, family: Family) -> Iterator[tuple[int | None, bool]]:
    """Each character with whether it is literal; _OPENED for a quote; None where readings differ."""
    quote = 0
    at = 0
    while at < len(content):
        character = content[at]
        at += 1
        if character == _BACKSLASH:
            if at == len(content):
                # LLVM keeps a last backslash, libiberty drops it.
                if family is Family.CLANG and not quote:
                    yield character, True
                elif family is Family.GCC:
                    yield None, True
                return
            escaped = content[at]
            at += 1
            if family is Family.GCC and not _is_plain_escape(quote, escaped):
                yield None, True
            yield escaped, True
        elif character == quote:
            quote = 0
        elif not quote and character in (_SINGLE, _DOUBLE):
            quote = character
            yield _OPENED, True
        else:
            yield character, bool(quote)


def _is_plain_escape(quote: int, escaped: int) -> bool:
    if quote == _SINGLE:
        return False
    if quote == _DOUBLE:
        return escaped in _ESCAPED_IN_QUOTES
    return escaped != _NEWLINE
