"""Who reaches the port of `zcc monitor` and has no token: he keeps no reader out."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.conftest import BIN
from tests.support import watched_farm
from tests.support.recordings import write_recording

TOKEN = "a-token-of-some-length"
PATIENCE_S = 30.0
# More than a page has connections (zcc/monitor/connections.py).
MANY = 500


@contextlib.contextmanager
def page(directory: Path) -> Iterator[tuple[int, Path]]:
    """The port of a page that takes a token, and what it says on standard error."""
    recording, token, log = directory / "recording", directory / "token", directory / "log"
    write_recording(os.fspath(recording), watched_farm.five_minutes(6))
    token.write_text(TOKEN)
    token.chmod(0o600)
    listen = ("--listen", "127.0.0.1:0", "--token-file", token)
    with log.open("wb") as said:
        process = subprocess.Popen(
            [BIN / "zcc", "monitor", *listen, "--replay", recording],
            stdout=subprocess.PIPE,
            stderr=said,
        )
    assert process.stdout is not None
    try:
        found = re.search(rb":([0-9]+)/", process.stdout.readline())
        assert found is not None
        yield int(found[1]), log
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)
        process.stdout.close()


def ask(port: int, path: str, token: str = "") -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request("GET", path, headers=headers)
    return connection


def test_connections_of_strangers_keep_no_reader_out(tmp_path: Path) -> None:
    with page(tmp_path) as (port, log), contextlib.ExitStack() as held:
        stream = held.enter_context(contextlib.closing(ask(port, "/events", TOKEN)))
        pieces = stream.getresponse()
        assert pieces.status == 200
        for number in range(MANY):
            stranger = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            held.enter_context(stranger)
            if number % 10 == 0:
                stranger.sendall(b"nonsense\r\n\r\n")
                refused = held.enter_context(contextlib.closing(ask(port, "/events")))
                assert refused.getresponse().status == 401
        with contextlib.closing(ask(port, "/api/state", TOKEN)) as reader:
            assert reader.getresponse().status == 200
        # The stream, older than all of them, goes on to the recording's end.
        while b'"why": "ended"' not in pieces.readline():
            pass
        assert log.read_bytes() == b""
