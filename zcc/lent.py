"""What a node says of its memory. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from zcc.bounds import Load, Size


@dataclass(frozen=True, slots=True)
class LentMemory:
    """Travels inside Hello and Beat; bytes.

    `limit_bytes` is the most that all jobs together may ever have, and so the most that one may. `usable_bytes`
    is what they may have now, beside what others on the machine use; what jobs have is part of it. `pressure`
    is the share of the last ten seconds, in percent, in which some process waited for memory.
    """

    limit_bytes: Size
    usable_bytes: Size
    pressure: Load = 0.0
