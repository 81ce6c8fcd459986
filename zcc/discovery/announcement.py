"""What a broker announces of itself, as it is written and as it is read (docs/design/security.md). Pure.

A service of DNS-SD, `_zcc._tcp`, with these texts: `farm`, its name; `proto`, the protocol that it speaks;
`fp`, the short fingerprint of the broker's public key, and `key`, the full one; `port`, where it listens, as
in the service's own record. Anybody in the network can announce anything, so whatever is read is bounded and
printable, and means nothing but "somebody says so".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cache.digest import digest_of
from zcc.messages import PROTOCOL
from zcc.printable import brief

SERVICE = "_zcc._tcp.local."
SHORT_DIGITS = 16
MAX_NAME_BYTES = 64
MAX_PROTOCOL_BYTES = 16
# Of one announcement: a machine with more networks than that has told enough.
MAX_ADDRESSES = 16
_NAME_DIGITS = 8
_FULL = re.compile(r"[0-9a-f]{64}")
_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Announcement:
    """One broker that somebody says is there: each text is printable, each endpoint may be dialled."""

    farm: str
    protocol: str
    fingerprint: str
    endpoints: tuple[str, ...]

    @property
    def short(self) -> str:
        return self.fingerprint[:SHORT_DIGITS]


def fingerprint_of(public_key: str) -> str:
    """The digest of a broker's public key (Z85), in hexadecimal: it tells farms apart, and does not give the
    key, without which nobody can so much as greet a broker."""
    return digest_of(public_key.encode()).hex()


def texts_of(farm: str, public_key: str, port: int) -> dict[str, str]:
    """What a broker says of itself."""
    fingerprint = fingerprint_of(public_key)
    return {
        "farm": brief(farm, MAX_NAME_BYTES),
        "proto": PROTOCOL.decode(),
        "fp": fingerprint[:SHORT_DIGITS],
        "key": fingerprint,
        "port": str(port),
    }


def instance_of(public_key: str, addresses: Iterable[str], port: int) -> str:
    """The service's own name: brokers of one key at two places have two, and it tells no machine's name."""
    place = digest_of("\n".join((*sorted(addresses), str(port))).encode()).hex()
    return f"{fingerprint_of(public_key)[:SHORT_DIGITS]}-{place[:_NAME_DIGITS]}"


def read_announcement(
    texts: Mapping[bytes, bytes | None], addresses: Iterable[str], port: int | None
) -> Announcement | None:
    """What was announced, made fit to be shown and dialled; None: nothing that could be."""
    fingerprint = _text(texts, b"key", 2 * MAX_NAME_BYTES)
    farm = _text(texts, b"farm", MAX_NAME_BYTES)
    if not farm or _FULL.fullmatch(fingerprint) is None:
        return None
    if port is None or not 0 < port <= _MOST_PORT:
        return None
    endpoints = [
        each for each in (endpoint_at(address, port) for address in addresses) if each is not None
    ]
    if not endpoints:
        return None
    protocol = _text(texts, b"proto", MAX_PROTOCOL_BYTES) or "?"
    return Announcement(
        farm, protocol, fingerprint, tuple(dict.fromkeys(endpoints))[:MAX_ADDRESSES]
    )


def endpoint_at(address: str, port: int) -> str | None:
    """The endpoint of this port; None for what is no address of one machine that others reach."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    if found.is_multicast or found.is_unspecified or found.is_loopback:
        return None
    if isinstance(found, ipaddress.IPv4Address):
        return f"tcp://{found}:{port}"
    if found.is_link_local and not found.scope_id:
        return None  # of which network, nobody can say
    return f"tcp://[{found}]:{port}"


def _text(texts: Mapping[bytes, bytes | None], name: bytes, most_bytes: int) -> str:
    return brief((texts.get(name) or b"").decode(errors="replace"), most_bytes)
