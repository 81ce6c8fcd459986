"""What is answered late: a judgement counts at the moment of what follows from it, and no longer.

Owns three rules. Nothing is placed by a judgement older than its placing, whether another source of the command
was away meanwhile or the call waited to be answered. Where somebody above has named the result by what the
disk held when he called (ccache hashes the preprocessed source, and calls zcc then), a compile of what it holds
later is no answer, whoever does it: the launcher leaves nothing, and ccache does the command again, uncached.
And two compiles are compared only if they have read the same.

What is answered within RECENT_S costs nothing here.
"""

from __future__ import annotations

import logging
import os
import time

from zcc.agent.analysis.outcome import Here
from zcc.agent.calls import Call
from zcc.agent.core.discrepancy import RECENT_S
from zcc.agent.launchers import compiler_name, wire
from zcc.agent.results.part import Part
from zcc.agent.results.racing import Aside
from zcc.agent.results.verdict import first_newer, other_inputs, outdated
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.signatures import may_be_newer
from zcc.reasons import Reason

logger = logging.getLogger(__name__)


def _is_late(call: Call, now: float) -> bool:
    return now - call.arrived_s + call.age_s > RECENT_S


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
    newer = _first_newer(call, _named_ns(call)) if call.request.is_named else ""
    return Here(Reason.INPUTS_CHANGED, newer) if newer else None


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


def reply_here(call: Call, disk: Disk, now: float) -> bytes:
    """What lets its launcher become the compiler, or has it leave nothing where that is no answer any more."""
    if why := _why_withdrawn(call, disk, now):
        logger.info("left to ccache, which does it again: %s", why)
        return wire.encode_withdraw()
    call.ran_here_ns = time.time_ns()
    return compiler_name.run_reply(call.request)


def _why_withdrawn(call: Call, disk: Disk, now: float) -> str:
    """Why the compiler, run here now, would be no answer to one who has named the result; empty where it is.

    Where the compiler itself was asked for its inputs, nothing here can tell what it would miss. Of a command
    that is no job only the source is known, which ccache puts last.
    """
    if not call.request.is_named or not _is_late(call, now):
        return ""
    if not call.parts:
        return _touched(os.path.join(call.request.cwd, call.request.argv[-1]), _named_ns(call))
    if any(part.prepared.unbounded is not None for part in call.parts):
        return "nothing tells whether its inputs are the same"
    return _first_other_input(call, disk, now, _named_ns(call))


def _named_ns(call: Call) -> int:
    """The wall clock when the launcher began: whoever called it had read the disk before."""
    return call.arrived_ns - int(call.age_s * 1e9)


def _first_other_input(call: Call, disk: Disk, now: float, since_ns: int) -> str:
    disk.begin(now, now - RECENT_S)
    for part in call.parts:
        if other := other_inputs(part.prepared, part.result, call.request, disk):
            return other.detail
    return _first_newer(call, since_ns)


def _first_newer(call: Call, since_ns: int) -> str:
    newer = (first_newer(part.prepared.closure.manifest, since_ns) for part in call.parts)
    return os.fsdecode(next(filter(None, newer), b""))


def _touched(path: bytes, since_ns: int) -> str:
    return os.fsdecode(path) if may_be_newer(path, since_ns) else ""
