"""The broker's worker process: reads what is too large for the loop.

    python -m broker.transport.worker DIRECTORY

Requests come on standard input, answers go to standard output, one for one and in order: a length of four bytes
and a msgpack array. It ends when its input does. DIRECTORY is the blob store's; nothing is written there.

    ["job", key, body, holding key, digests joined] -> [JobHead's fields..., rows as zcc/holding.py packs them,
                                                        digests too large for that joined, bytes read]
    ["result", body]                                -> [ResultHead's fields...]
    anything that is none                           -> "why"

A process, not a thread: decoding is Python code that holds the interpreter, so beside a thread of it each of
the loop's own system calls waits 5 ms for its turn.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from dataclasses import astuple
from typing import Any, BinaryIO

import msgpack

from broker.transport.heads import read_job, read_result, shown_values, split_digests
from zcc.errors import ProtocolError
from zcc.holding import pack_shown

LENGTH = struct.Struct("<I")
# The loop comes first where processors are short.
_NICENESS = 5


def answer(directory: str, request: list[Any]) -> object:
    try:
        match request:
            case ["job", key, body, holding_key, digests]:
                head = astuple(read_job(body, key))
                shown = shown_values(directory, split_digests(digests), holding_key)
                return [
                    *head,
                    pack_shown(shown.values),
                    b"".join(shown.too_large),
                    shown.read_bytes,
                ]
            case ["result", body]:
                return list(astuple(read_result(body)))
            case _:
                return "a request that no worker knows"
    except ProtocolError as error:
        return str(error)


def serve(directory: str, source: BinaryIO, sink: BinaryIO) -> None:
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        request = msgpack.unpackb(source.read(*LENGTH.unpack(head)))
        packed = msgpack.packb(answer(directory, request))
        sink.write(LENGTH.pack(len(packed)) + packed)
        sink.flush()


def main() -> None:
    os.nice(_NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the broker, whose end is ours
    serve(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
