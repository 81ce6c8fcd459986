"""What people call a key of the farm. Pure."""

from __future__ import annotations

import hashlib

_ID_BYTES = 4


def member_id(public_key: str) -> str:
    """How people call a key: a public key holds `-`, `$` and the like, and may begin with one of them.

    Two of 1,000 members share one by a chance of 1 in 9,000; who names it is told then.
    """
    return f"k-{hashlib.blake2b(public_key.encode(), digest_size=_ID_BYTES).hexdigest()}"
