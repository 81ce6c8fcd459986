"""Whether farm and machine disagree about one compile: it failed there and succeeded here. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# What was looked at within this time is not looked at again for a result: results come in crowds, and when a
# compiler here has written its object, it is longer ago that it read the headers.
RECENT_S = 0.1
# File times come from the kernel's tick: they can lie this far behind the clock.
CLOCK_GRAIN_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What a compile here has left, by the wall clock: when its output was written (None: there is none), when
    it was let go, and when its end was heard of. `is_of_others`: it may have read other inputs than there."""

    written_ns: int | None
    begun_ns: int
    ended_ns: int
    is_of_others: bool = False


def has_succeeded(run: LocalRun) -> bool:
    """Whether the compile here, of what failed on the farm, has succeeded on the same inputs.

    The launcher has become the compiler, whose exit status only its parent sees; but a compiler that fails
    leaves no output, and one that succeeds has just written it. What was written longer before its end was
    heard of may be another's: of an agent that was held, or of a busy machine.
    """
    if run.written_ns is None or run.is_of_others:
        return False
    begun_ns = max(run.begun_ns, run.ended_ns - int(RECENT_S * 1e9))
    return run.written_ns >= begun_ns - CLOCK_GRAIN_NS
