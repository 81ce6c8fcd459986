"""The launcher's protocol, the agent's half: bytes in, objects out."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcc.agent.launchers.wire import (
    MAX_REQUEST_BYTES,
    Environment,
    Request,
    RequestReader,
    TerminalSize,
    WireError,
    encode_fail,
    encode_result,
    encode_run,
    encode_wait,
)

ENVIRONMENT = Environment({b"PATH": b"/bin", b"X": b"a=b"})


def request_bytes(
    strings: list[bytes],
    *,
    flags: int = 0,
    counts: tuple[int, int] = (0, 0),
    size: tuple[int, int] = (0, 0),
) -> bytes:
    body = struct.pack("<IIHHII", flags, 0o022, *size, *counts)
    body += b"".join(string + b"\0" for string in strings)
    return b"ZCC\1" + struct.pack("<I", len(body)) + body


WHOLE = request_bytes(
    [b"/src", b"gcc", b"/usr/bin/gcc", b"-c", b"\xff.c", b"PATH=/bin", b"X=a=b"],
    flags=1 | 4,
    counts=(2, 2),
    size=(24, 80),
)


def test_a_request_is_what_the_launcher_saw() -> None:
    assert RequestReader().feed(WHOLE) == Request(
        argv=(b"gcc", b"-c", b"\xff.c"),
        executable=b"/usr/bin/gcc",
        cwd=b"/src",
        environment=ENVIRONMENT,
        umask=0o022,
        terminal=TerminalSize(rows=24, columns=80),
        stdin_is_terminal=False,
        is_cxx=True,
        use_default=False,
    )


@given(st.lists(st.integers(1, len(WHOLE) - 1), max_size=8))
def test_a_request_may_come_in_any_pieces(cuts: list[int]) -> None:
    reader = RequestReader()
    edges = [0, *sorted(set(cuts)), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in pairwise(edges)]
    answers = [reader.feed(piece) for piece in pieces]
    assert answers[:-1] == [None] * (len(pieces) - 1)
    assert answers[-1] == RequestReader().feed(WHOLE)


def test_a_request_without_a_terminal_has_no_size() -> None:
    request = RequestReader().feed(request_bytes([b"/", b"", b""], flags=2 | 8, size=(24, 80)))
    assert request is not None
    assert request.terminal is None
    assert request.stdin_is_terminal
    assert request.use_default
    assert request.argv == (b"",)


def test_of_a_variable_set_twice_the_first_counts_as_for_getenv() -> None:
    strings = [b"/", b"cc", b"", b"A=1", b"A=2", b"no equals sign"]
    request = RequestReader().feed(request_bytes(strings, counts=(0, 3)))
    assert request is not None
    assert request.environment == {b"A": b"1"}


@pytest.mark.parametrize(("guard", "depth"), [(b"2", 2), (b"", 0), (b"-1", 0), (b"x", 0)])
def test_the_guard_says_how_deep_a_launcher_is_nested(guard: bytes, depth: int) -> None:
    strings = [b"/", b"cc", b"", b"ZCC_GUARD=" + guard]
    request = RequestReader().feed(request_bytes(strings, counts=(0, 1)))
    assert request is not None
    assert request.depth == depth


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n", id="another protocol"),
        pytest.param(b"ZCC\2" + WHOLE[4:], id="another version"),
        pytest.param(b"ZCC\1" + struct.pack("<I", MAX_REQUEST_BYTES + 1), id="too large"),
        pytest.param(b"ZCC\1" + struct.pack("<I", 4) + b"\0\0\0\0", id="too small"),
        pytest.param(request_bytes([b"/", b"cc", b""], counts=(1, 0)), id="too few strings"),
        pytest.param(request_bytes([b"/", b"cc", b"", b"x"]), id="too many strings"),
        pytest.param(
            request_bytes([b"/", b"cc", b""], counts=(2**32 - 1, 2**32 - 1)), id="huge counts"
        ),
        pytest.param(request_bytes([b"src", b"cc", b""]), id="relative cwd"),
        pytest.param(request_bytes([b"/", b"cc", b"bin/cc"]), id="relative executable"),
        pytest.param(WHOLE + b"x", id="bytes after the end"),
        pytest.param(WHOLE[:4] + struct.pack("<I", len(WHOLE) - 9) + WHOLE[8:-1], id="no last NUL"),
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        RequestReader().feed(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_request_or_patience_or_a_wire_error(data: bytes) -> None:
    for prefix in (b"", b"ZCC\1", b"ZCC\1" + struct.pack("<I", len(data))):
        try:
            answer = RequestReader().feed(prefix + data)
        except WireError:
            continue
        assert answer is None or isinstance(answer, Request)


def test_a_run_names_the_executable_and_its_argv0() -> None:
    assert encode_run(b"/usr/bin/gcc", b"gcc") == struct.pack("<II", 1, 17) + b"/usr/bin/gcc\0gcc\0"


@pytest.mark.parametrize(("executable", "argv0"), [(b"", b"x"), (b"/x", b""), (b"/x\0y", b"x")])
def test_a_run_that_no_launcher_could_read_is_refused(executable: bytes, argv0: bytes) -> None:
    with pytest.raises(ValueError, match="cannot ask"):
        encode_run(executable, argv0)


def test_a_result_is_heads_then_messages_then_contents() -> None:
    pieces = encode_result(0, [(b"a.d", 0o644, b"dep"), (b"a.o", 0o755, b"object")], b"out", b"err")
    whole = b"".join(pieces)
    assert struct.unpack_from("<II", whole) == (2, len(whole) - 8)
    assert struct.unpack_from("<iIII", whole, 8) == (0, 2, 3, 3)
    heads = struct.pack("<IIQ", 3, 0o644, 3) + b"a.d" + struct.pack("<IIQ", 3, 0o755, 6) + b"a.o"
    assert whole[24:] == heads + b"out" + b"err" + b"dep" + b"object"


def test_large_contents_are_not_copied() -> None:
    content = b"x" * 1_000_000
    assert encode_result(0, [(b"a.o", 0o644, content)], b"", b"")[-1] is content


def test_a_result_without_contents_is_one_piece() -> None:
    assert len(encode_result(0, [(b"a.o", 0o644, b"")], b"", b"")) == 1


@pytest.mark.parametrize("status", [-1, 256])
def test_a_status_that_no_process_has_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        encode_result(status, [], b"", b"")


def test_wait_is_empty_and_fail_carries_its_words() -> None:
    assert encode_wait() == struct.pack("<II", 3, 0)
    assert encode_fail("no slot") == struct.pack("<II", 4, 7) + b"no slot"
