"""Sentences for the words of events, for all who show a farm. Pure.

They are those of `zcc why`, `zcc why-node` and docs/reference/reasons.md, so one thing is said in one way.
"""

from __future__ import annotations

from zcc.cli.placements import ENDINGS, REASONS
from zcc.reasons import Reason

# Why a build's next job waits (`queue`).
WAITS = {
    "all-busy": "all slots that may run it are busy",
    "waits-for-faster": "a faster slot will be free soon enough to end it sooner",
    "inputs": "its agent is still sending its inputs",
    "toolchain": "its compiler is on its way to a node",
    "no-node-fits": "no node may run it: its machine class, its memory or its compiler",
    "others-first": "it is somebody else's turn",
}
# Why a machine's own cache had no answer (zcc/agent/history/causes.py).
MISSES = {
    Reason.FIRST: "never compiled before, as far as this machine knows",
    Reason.CHANGED: "something it reads, or the command, is not what it was",
    Reason.REFUSED: "a file that was looked for in vain is there now",
    Reason.EVICTED: "the result was kept, and has been evicted",
    Reason.NOT_KEPT: "the same compile had no result that could be kept",
    Reason.DAMAGED: "the result was kept, and is damaged on disk",
    Reason.CACHE_OFF: "the cache is turned off",
    Reason.REFRESH: "a fresh compile was asked for",
    Reason.NOT_A_JOB: "it can only run on its own machine",
}


def sentences() -> dict[str, dict[str, dict[str, str]]]:
    """By kind of word and word: `what` is the case, and for reasons `why` and `advice`."""
    return {
        "local": {
            str(each): {"what": each.what, "why": each.why, "advice": each.advice}
            for each in Reason
        },
        "placed": {word: {"what": text} for word, text in REASONS.items()},
        "ended": {word: {"what": text} for word, text in ENDINGS.items()},
        "waits": {word: {"what": text} for word, text in WAITS.items()},
        "missed": {str(each): {"what": text} for each, text in MISSES.items()},
    }
