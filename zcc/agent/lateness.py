"""What is answered late: a judgement counts at the moment of what follows from it, and no longer.

Owns two rules. Nothing is placed by a judgement older than its placing, whether another source of the command
was away meanwhile or the call waited to be answered. And two compiles are compared only if they have read the
same.

What is answered within RECENT_S costs nothing here.
"""

from __future__ import annotations

import os

from zcc.agent.calls import Call
from zcc.agent.judging import RECENT_S, first_newer, other_inputs, outdated
from zcc.agent.parts import Part
from zcc.agent.prepared import Here
from zcc.agent.racing import Aside
from zcc.compiler.disk import Disk


def _is_late(call: Call, now: float) -> bool:
    return now - call.arrived_s > RECENT_S


def first_outdated(
    call: Call, disk: Disk, now: float, just_judged: Part | None = None
) -> Here | None:
    """What speaks, at this moment, against placing what the call has: results, or its compile here beside.

    All of it was judged just now where that is one part.
    """
    if not _is_late(call, now):
        return None
    disk.begin(now, now - RECENT_S)
    for part in call.parts:
        if part is just_judged:
            continue
        if gone := outdated(part.prepared, part.result, call.request, disk):
            return Here(gone.reason, gone.detail)
    return None


def first_other_input(call: Call, disk: Disk, now: float) -> str:
    """What a compile that ends now may have read and the call's jobs did not, or not so; empty where they have
    read the same."""
    return _first_other_input(call, disk, now, call.arrived_ns)


def is_of_use(call: Call, aside: Aside | None, disk: Disk, now: float) -> bool:
    """Whether what was compiled beside the farm may be placed: not where the farm has shown meanwhile that the
    names of this command's outputs count, nor where an input has changed or an output goes elsewhere by now,
    nor where the order of its messages would be lost."""
    if aside is None or any(part.prepared.renaming is None for part in call.parts):
        return False
    if not call.visitor.caller.stands_in(call.request.cwd):
        return False
    if first_outdated(call, disk, now) is not None:
        return False
    is_mixed = bool(aside.stdout and aside.stderr)
    return not (is_mixed and call.visitor.caller.merges_streams())


def _first_other_input(call: Call, disk: Disk, now: float, since_ns: int) -> str:
    disk.begin(now, now - RECENT_S)
    for part in call.parts:
        if other := other_inputs(part.prepared, part.result, call.request, disk):
            return other.detail
    return _first_newer(call, since_ns)


def _first_newer(call: Call, since_ns: int) -> str:
    newer = (first_newer(part.prepared.closure.manifest, since_ns) for part in call.parts)
    return os.fsdecode(next(filter(None, newer), b""))
