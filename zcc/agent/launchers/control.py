"""Control requests: what the command line asks the agent.

A request is `ZCC\\2`, a 32-bit little-endian length and a JSON object `{"op": ...}`. The answer is a JSON
object and the end of the connection. The other side is connection.py: a question needs nothing of the agent.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

MAGIC = b"ZCC\2"
HEAD = struct.Struct("<4sI")
MAX_BYTES = 1 << 16


def ask(path: str, request: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any] | None:
    """Ask the agent at `path`; None when there is none."""
    payload = json.dumps(request).encode()
    handle = -1
    try:
        handle = os.open(os.path.dirname(os.path.abspath(path)), os.O_PATH | os.O_DIRECTORY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(f"/proc/self/fd/{handle}/{os.path.basename(path)}")
            connection.sendall(HEAD.pack(MAGIC, len(payload)) + payload)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        document = json.loads(answer)
    except (OSError, ValueError):
        return None
    finally:
        if handle >= 0:
            os.close(handle)
    return document if isinstance(document, dict) else None
