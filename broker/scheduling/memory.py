"""Which nodes have the memory for a job, and what a job is taken to need of it. Pure.

`broker/scheduling/needs.py` has the rule, this has the farm that it is applied to.
"""

from __future__ import annotations

from collections.abc import Collection

from broker.core.farm import Farm
from broker.core.jobs import EVERY, Execution
from broker.scheduling.model import Identity
from broker.scheduling.needs import MemoryClaim
from zcc.reasons import Reason

NO_MEMORY = Reason.NEEDS_MEMORY


def was_stopped(farm: Farm, execution: Execution, key: str, used_bytes: int, now: float) -> None:
    """A node of this key has stopped it for want of memory: it is to have twice as much, and that is
    remembered. Where that is not to be believed yet, another key's node is to say something."""
    words = {each.by: each for each in execution.words}
    before = words.get(key, MemoryClaim(key, 0))
    reserved = max(2 * used_bytes, before.peak_bytes, execution.memory_bytes)
    words[key] = MemoryClaim(key, reserved, max(used_bytes, before.least_bytes))
    execution.told[key] = words[key]
    execution.words = tuple(words.values())
    execution.avoid -= execution.unheard
    execution.unheard.clear()
    farm.weigh(execution, now)
    if execution.least_bytes < words[key].least_bytes and farm.can_ask_another(execution, key, now):
        execution.unheard.add((key, EVERY))
        execution.avoid |= execution.unheard
    known = execution.known
    if known is not None:
        farm.model.costs.needs_more(known.user, known.toolchain, known.traits, used_bytes, key)


def why_too_large(farm: Farm, execution: Execution, avoid: Collection[Identity], now: float) -> str:
    """Why no node that may run it can ever hold it; empty when one can."""
    if not execution.words:
        return ""
    farm.weigh(execution, now)
    lane = execution.lane
    most_bytes = farm.most_bytes(lane.user, lane.machine_class, execution.toolchain, avoid, now)
    if most_bytes is None or execution.least_bytes <= most_bytes:
        return ""
    known = execution.known
    if known is not None:
        farm.model.costs.doubt(known.user, known.toolchain, known.traits)
    least, most = execution.least_bytes >> 20, int(most_bytes) >> 20
    return f"{NO_MEMORY}: more than {least} MiB, and no node gives a job more than {most} MiB"
