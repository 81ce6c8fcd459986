"""What is answered late: a judgement counts at the moment of what follows from it, and no longer.

Owns the rule that nothing is placed by a judgement older than its placing, whether another source of the
command was away meanwhile or the call waited to be answered.

What is answered within RECENT_S costs nothing here.
"""

from __future__ import annotations

from zcc.agent.calls import Call
from zcc.agent.judging import RECENT_S, outdated
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
