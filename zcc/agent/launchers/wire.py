"""What launcher and agent say to each other over the agent's Unix socket. Pure: bytes in, objects out.

The other side is `zcc/launcher/protocol.h`; the two change together. Version 1, numbers little endian.

Request, one for each connection, at most 16 MiB:

    "ZCC\\1", u32 length of what follows,
    u32 flags, u32 umask, u16 rows, u16 columns, u32 argc, u32 envc,
    strings that each end in a NUL: physical cwd, compiler as named (empty: the default), absolute
    path of the executable found (empty: none), argc arguments after the compiler, envc
    environment strings.

    Flags: 1 stderr is a terminal (of rows and columns), 2 stdin is a terminal, 4 called as zcc++,
    8 the compiler was not named, 16 ccache has named the result by what the disk held when it called, and
    does the command again, uncached, if it is left without an object; bits 8 to 31 say which build of
    the launcher it is. Without a name the executable is what ZCC_CC or ZCC_CXX, else cc or c++, means.

Replies, each u32 kind, u32 length of the payload, payload:

    RUN (1)     executable NUL argv[0] NUL: exec this compiler here. The connection stays open in it
                and is its slot: end-of-file means that the compiler has ended.
    RESULT (2)  i32 exit status, u32 files, u32 bytes of stdout, u32 bytes of stderr; for each file
                u32 length of path, u32 mode, u64 size, path; then stdout, stderr, the contents.
                Paths are as the command spells them: the launcher looks a relative one up from its own
                directory, as the compiler would at that moment. Files are renamed into place in this order,
                so the object belongs last. Bit 31 of a mode: the file exists, and the content is to be
                written into it.
    WAIT (3)    nothing: the launcher gives up after 30 s without a byte (ZCC_DEADLINE_MS).
    FAIL (4)    a message for the user: only under ZCC_FALLBACK=never or forbid.
    RESTART (5) nothing: this agent makes way for another one, whose launcher this may be.
    WITHDRAW (6) nothing: remove the main output and exit 0. Only where flag 16 was set.

After any of these but WAIT the launcher reads no more. Before that, end-of-file means that it died:
the job is cancelled.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from zcc.errors import ProtocolError

MAX_REQUEST_BYTES = 16 << 20
MAX_RESULT_BYTES = (1 << 32) - 1  # the length is a u32; what is larger is compiled locally
MAX_RESULT_FILES = 4096
MAX_ENVIRONMENTS = 64  # that are remembered: one build's are the same but for a variable or two
MAX_MESSAGE_BYTES = 64 << 10  # of FAIL, and of RUN's paths

_MAGIC = b"ZCC\1"
_HEADER = struct.Struct("<4sI")
_FIXED = struct.Struct("<IIHHII")
_REPLY = struct.Struct("<II")
_RESULT = struct.Struct("<iIII")
_FILE = struct.Struct("<IIQ")
_STRINGS_BEFORE_ARGUMENTS = 3


class WireError(ProtocolError):
    """What connected is no launcher of this version: close the connection."""


class OtherVersion(WireError):
    """It is a launcher of another version of this protocol."""


class _Kind(IntEnum):
    RUN = 1
    RESULT = 2
    WAIT = 3
    FAIL = 4
    RESTART = 5
    WITHDRAW = 6


# Plain numbers: testing a flag of an enumeration makes a new member, eight times a request.
_STDERR_IS_TERMINAL = 1
_STDIN_IS_TERMINAL = 2
_IS_CXX = 4
_IS_DEFAULT = 8
_IS_NAMED = 16
_BUILD_SHIFT = 8
INTO = 1 << 31  # of a file's mode


class Environment(dict[bytes, bytes]):
    """The variables of one or many requests. Nobody changes it, so what follows from it can be remembered: it
    hashes by identity, and the calls of one build share one object."""

    __hash__ = object.__hash__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """The size of the terminal on stderr; 0 where it has none."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the launcher.

    `argv[0]` is the compiler as the user named it, or empty when `use_default` is set; `executable`
    is where the launcher found it, or empty. `is_named`: by ccache, which has the result's name already.
    `environment` is the launcher's own, unfiltered; of a
    name that occurs twice, the first counts, as for getenv.
    """

    argv: tuple[bytes, ...]
    executable: bytes
    cwd: bytes
    environment: Environment
    umask: int
    terminal: TerminalSize | None
    stdin_is_terminal: bool
    is_cxx: bool
    use_default: bool
    build: int = 0
    is_named: bool = False

    @property
    def depth(self) -> int:
        """How many launchers this one runs inside of.

        Not 0 for a compiler that a wrapper script, ccache or gcc's LTO called: the outer call may
        hold a slot until this one ends, so a wait for a slot could be a wait for oneself.
        """
        guard = self.environment.get(b"ZCC_GUARD", b"")
        return int(guard) if guard.isdigit() else 0


class RequestReader:
    """Collects one request from the pieces that a socket yields."""

    __slots__ = ("_buffer", "_needed")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> Request | None:
        """The request, once its last byte is here.

        Raises:
            WireError: not a launcher's request, too large a one, or bytes beyond its end.
        """
        if not self._buffer and len(data) >= _HEADER.size:
            magic, length = _HEADER.unpack_from(data)
            if magic == _MAGIC and len(data) == _HEADER.size + length <= MAX_REQUEST_BYTES:
                return _parse(data)  # nearly always
        self._buffer += data
        if not self._needed and len(self._buffer) >= _HEADER.size:
            magic, length = _HEADER.unpack_from(self._buffer)
            if magic[:-1] == _MAGIC[:-1] and magic != _MAGIC:
                raise OtherVersion(f"a launcher that speaks {magic!r}, not {_MAGIC!r}")
            if magic != _MAGIC:
                raise WireError(f"expected a launcher's {_MAGIC!r}, found {magic!r}")
            if length > MAX_REQUEST_BYTES:
                raise WireError(
                    f"a request of {length} bytes, expected at most {MAX_REQUEST_BYTES}"
                )
            self._needed = _HEADER.size + length
        if not self._needed or len(self._buffer) < self._needed:
            return None
        if len(self._buffer) > self._needed:
            raise WireError(f"{len(self._buffer) - self._needed} bytes after the request")
        return _parse(bytes(self._buffer))


def _parse(data: bytes) -> Request:
    at = _HEADER.size + _FIXED.size
    if len(data) < at:
        raise WireError(f"a request of {len(data)} bytes, expected at least {at}")
    flags, umask, rows, columns, argc, envc = _FIXED.unpack_from(data, _HEADER.size)
    count = _STRINGS_BEFORE_ARGUMENTS + argc
    *strings, variables = data[at:].split(b"\0", count)
    # Every string ends in a NUL, the last one too.
    if (
        len(strings) != count
        or variables.count(b"\0") != envc
        or variables[-1:] not in (b"", b"\0")
    ):
        raise WireError(f"expected 3 + {argc} + {envc} strings of {len(data)} bytes")
    cwd, named, executable = strings[:_STRINGS_BEFORE_ARGUMENTS]
    if not cwd.startswith(b"/") or (executable and not executable.startswith(b"/")):
        raise WireError(f"expected absolute paths, found {cwd!r} and {executable!r}")
    return Request(
        argv=(named, *strings[_STRINGS_BEFORE_ARGUMENTS:]),
        executable=executable,
        cwd=cwd,
        environment=_environment(variables),
        umask=umask & 0o777,
        terminal=TerminalSize(rows, columns) if flags & _STDERR_IS_TERMINAL else None,
        stdin_is_terminal=bool(flags & _STDIN_IS_TERMINAL),
        is_cxx=bool(flags & _IS_CXX),
        use_default=bool(flags & _IS_DEFAULT),
        build=flags >> _BUILD_SHIFT,
        is_named=bool(flags & _IS_NAMED),
    )


@lru_cache(MAX_ENVIRONMENTS)
def _environment(variables: bytes) -> Environment:
    """The variables in strings that each end in a NUL."""
    environment = Environment()
    for string in variables.split(b"\0"):
        name, equals, value = string.partition(b"=")
        if equals:
            environment.setdefault(name, value)
    return environment


def encode_run(executable: bytes, argv0: bytes) -> bytes:
    """Exec this compiler; the connection is its slot."""
    payload = b"%b\0%b\0" % (executable, argv0)
    if not executable or not argv0 or payload.count(b"\0") != 2 or len(payload) > MAX_MESSAGE_BYTES:
        raise ValueError(f"cannot ask a launcher to run {executable!r} as {argv0!r}")
    return _REPLY.pack(_Kind.RUN, len(payload)) + payload


def encode_result(
    status: int,
    files: Sequence[tuple[bytes, int, bytes]],
    stdout: bytes,
    stderr: bytes,
) -> list[bytes]:
    """A finished compile, as pieces to be sent one after the other without joining them.

    `files` are (path, mode, content); they appear in this order, so the object belongs last.

    Raises:
        ValueError: more than a reply can hold, or a status that no process has: compile locally.
    """
    head = b"".join(
        _FILE.pack(len(path), mode, len(content)) + path for path, mode, content in files
    )
    contents = [content for _, _, content in files if content]
    length = _RESULT.size + len(head) + len(stdout) + len(stderr) + sum(map(len, contents))
    if length > MAX_RESULT_BYTES or len(files) > MAX_RESULT_FILES or not 0 <= status <= 255:
        raise ValueError(f"a result of {length} bytes, {len(files)} files, status {status}")
    fixed = _RESULT.pack(status, len(files), len(stdout), len(stderr))
    return [
        _REPLY.pack(_Kind.RESULT, length) + fixed + head,
        *(message for message in (stdout, stderr) if message),
        *contents,
    ]


def encode_wait() -> bytes:
    """Still at work: be patient for another while."""
    return _REPLY.pack(_Kind.WAIT, 0)


def encode_restart() -> bytes:
    """This agent makes way: start another."""
    return _REPLY.pack(_Kind.RESTART, 0)


def encode_withdraw() -> bytes:
    """What could be made here now is no answer to ccache's question: let it do the command again, uncached."""
    return _REPLY.pack(_Kind.WITHDRAW, 0)


def encode_fail(message: str) -> bytes:
    """Tell the user and exit 1: for ZCC_FALLBACK=never and forbid only."""
    payload = message.encode(errors="surrogateescape")[:MAX_MESSAGE_BYTES]
    return _REPLY.pack(_Kind.FAIL, len(payload)) + payload
