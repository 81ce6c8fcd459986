"""What follows from a result that proves nothing: a second chance, or the compiler here. Pure.

What was remembered and does not hold here, or did not come whole, is compiled anew. What was compiled under
neutral names is compiled in its own place. Neither is a fault of the job, nor of the scanner.
"""

from __future__ import annotations

from enum import Enum

from zcc.reasons import Reason

# Reasons that lie in what has been done to this disk since the job was made: they say nothing of the command.
SINCE = frozenset((Reason.INPUTS_CHANGED, Reason.OUTPUT_MOVED, Reason.WORKING_DIRECTORY))
# Reasons that say nothing of what the next result for this command will be worth.
PASSING = SINCE | {Reason.DAMAGED_RESULT, Reason.DISPUTED, Reason.MIXED_STREAMS}
# There is nothing to compile anew: the job is one of files that are no more, or its plugin would do it again.
_FINAL = SINCE | {Reason.PLUGIN}


class Chance(Enum):
    NONE = "none"
    ANEW = "anew"
    IN_PLACE = "in place"


def is_final(reason: Reason) -> bool:
    """Whether no other result for this job can be better."""
    return reason in _FINAL


def chance_of(reason: Reason, *, is_recalled: bool, is_moved: bool, is_alone: bool) -> Chance:
    """What may still come of a job whose result was refused for this reason.

    `is_recalled`: the farm had remembered it; `is_moved`: it was compiled under neutral names; `is_alone`: its
    command has no other.
    """
    if is_final(reason):
        return Chance.NONE
    # What is only damaged is asked for anew, so that the broker looks for what is rotten.
    if is_moved and reason is not Reason.DAMAGED_RESULT:
        return Chance.IN_PLACE
    if is_alone and (is_recalled or reason is Reason.DAMAGED_RESULT):
        return Chance.ANEW
    return Chance.NONE
