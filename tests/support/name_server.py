"""A name server of one service. It reads the SRV records to answer with, and hosts' addresses, from a file at
each question. Arguments: the address to listen on, the file, with lines as `PRIORITY WEIGHT PORT HOST ADDRESS`.

Whoever asks has this server in the resolv.conf of his mount namespace, which `asking` makes.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset


def asking(resolv_conf: Path) -> tuple[str, ...]:
    """A command that holds a mount namespace with this file as /etc/resolv.conf, once it has said `mounted`."""
    bind = f"mount --bind {resolv_conf} /etc/resolv.conf"
    return ("unshare", "--mount", "sh", "-c", f"{bind} && echo mounted && exec sleep infinity")


def answer(question: bytes, records: str) -> bytes:
    query = dns.message.from_wire(question)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA | dns.flags.RA
    (asked,) = query.question
    rows = [line.split() for line in records.splitlines()]
    name = asked.name.to_text()
    if asked.rdtype == dns.rdatatype.SRV and name.startswith("_zcc."):
        texts = [f"{priority} {weight} {port} {host}." for priority, weight, port, host, _ in rows]
        kind = "SRV"
    else:
        kind = "A"
        texts = [each for *_, host, each in rows if f"{host}." == name]
        texts = texts if asked.rdtype == dns.rdatatype.A else []
    if texts:
        response.answer.append(dns.rrset.from_text(name, 1, "IN", kind, *texts))
    return response.to_wire()


def serve(address: str, path: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((address, 53))
        print("listens", flush=True)
        while True:
            question, peer = listening.recvfrom(4096)
            listening.sendto(answer(question, Path(path).read_text()), peer)


if __name__ == "__main__":
    serve(*sys.argv[1:3])
