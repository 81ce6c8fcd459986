"""ccache's keys in its URL paths. Pure.

A key is a digest of 20 bytes. The layouts `flat` (`KEY`) and `subdirs` (`KE/Y`, two digits before the slash)
write it as 40 hexadecimal digits (seen with ccache 4.14), or as 4 of them and 29 digits of base32hex (4.7);
`bazel` writes `ac/` and 64 hexadecimal digits: the key's, and its first 24 again. Whatever the layout, it is
one key.
"""

from __future__ import annotations

import base64
import binascii
import re

KEY_BYTES = 20
_HEX = re.compile(r"[0-9a-f]{40}")
_MIXED = re.compile(r"[0-9a-f]{4}[0-9a-v]{29}")
_BAZEL = re.compile(r"([0-9a-f]{24})([0-9a-f]{16})\1")


def key_of(target: bytes) -> bytes | None:
    """The key that the end of this path names, None when it names none.

    What goes before it, and a query, have no meaning: it is all one namespace.
    """
    path = target.partition(b"?")[0].decode("latin-1")
    before, _, last = path.rpartition("/")
    above = before.rpartition("/")[2]
    if above == "ac" and (match := _BAZEL.fullmatch(last)):
        return bytes.fromhex(match[1] + match[2])
    return _key_in(above + last if len(above) == 2 and len(last) in (31, 38) else last)


def _key_in(digits: str) -> bytes | None:
    if _HEX.fullmatch(digits):
        return bytes.fromhex(digits)
    if not _MIXED.fullmatch(digits):
        return None
    try:
        rest = base64.b32hexdecode(digits[4:].upper() + "===")
    except binascii.Error:
        return None
    # 29 digits hold one bit more than 18 bytes have: only its canonical value is a key's name.
    if base64.b32hexencode(rest).decode().rstrip("=").lower() != digits[4:]:
        return None
    return bytes.fromhex(digits[:4]) + rest
