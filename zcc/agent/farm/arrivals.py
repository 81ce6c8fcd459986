"""Outputs that have come from the farm, as compressed frames. Pure.

A frame comes before the Finished that names it. When that has taken it, it may be named once more, as equal
outputs of jobs under way come once. So what was taken stays for a while, in much less room.
"""

from __future__ import annotations

from cache.digest import Digest
from zcc.bounded import Bounded

# Frames that wait for their Finished. Beyond it the oldest go, and their jobs run locally.
MAX_WAITING_BYTES = 256 << 20
# A few middling objects; a build's are taken as they come.
MAX_TAKEN_BYTES = 8 << 20

Frames = Bounded[Digest, bytes]


def frame_bytes(digest: Digest, frame: bytes) -> int:
    """What a frame takes."""
    return len(frame)


class OutputFrames:
    """Frames by digest, until their jobs have taken them."""

    def __init__(self) -> None:
        self._waiting = Frames(MAX_WAITING_BYTES, frame_bytes)
        self._taken = Frames(MAX_TAKEN_BYTES, frame_bytes)

    @property
    def held(self) -> tuple[int, int]:
        """How many frames, and their bytes."""
        waiting, taken = self._waiting.held, self._taken.held
        return waiting[0] + taken[0], waiting[1] + taken[1]

    def put(self, digest: Digest, frame: bytes) -> None:
        """It has come, whole."""
        self._waiting.put(digest, frame)

    def take(self, digest: Digest) -> bytes | None:
        """The frame, which has served from now on; None: it has not come, or is gone."""
        frame = self._waiting.pop(digest)
        if frame is None:
            return self._taken.get(digest)
        self._taken.put(digest, frame)
        return frame
