"""What happened to some calls, counted: to all, to one build's, to one minute's. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from zcc.agent.history.histogram import Histogram, histogram_from

# Name -> what it counts, as `zcc stats --format=prometheus` says it. Seconds and bytes by their names.
NUMBERS = {
    "calls": "commands that went through zcc",
    "refreshes": "compiles that looked nothing up (ZCC_CACHE=refresh)",
    "proof_failures": "remote results that were refused, because the compiler saw something else there",
    "discrepancies": "compiles that failed on the farm and succeeded here",
    "verified": "compiles that were done here too, and gave what had come from elsewhere (ZCC_VERIFY)",
    "verify_differs": "compiles that were done here too, and gave something else",
    "verify_unsure": "compiles that were done here too, and left nothing to compare",
    "recalls_refused": "results of the farm's cache that do not hold on this machine",
    "bytes_sent": "bytes to the farm",
    "bytes_received": "bytes from the farm",
    "input_bytes": "bytes of the inputs of the remote compiles, uncompressed",
    "asked_bytes": "bytes of inputs that the farm asked for, uncompressed",
    "twin_runs": "remote compiles that another's equal compile under way answered",
    "remote_cpu_s": "CPU seconds that remote compiles took",
    "remote_wall_s": "seconds that the compiler ran remotely",
    "queued_s": "seconds that jobs waited at the broker for a node",
    "sending_s": "seconds in which inputs were sent while a job waited for them",
    "returning_s": "seconds from a job's first output to its result",
    "overhead_s": "seconds of remote compiles that are none of these (sandbox, network, broker)",
    "saved_cpu_s": "CPU seconds that the hits took when they were compiled",
    "cache_written": "results that the local cache took",
    "cache_dropped": "results that the local cache did not take: too much waited to be written",
    "cache_evicted": "blobs and results that left the local cache by its limit",
    "cache_refused": "local results that do not hold any more: a name missed then is there now",
    "cache_faults": "failures of the local cache, and what it held that was rotten",
    "notebook_faults": "pieces of the builds' history that could not be written, by a mistake of zcc's",
}
OUTCOMES = ("local_hit", "shared_hit", "remote", "local", "failed")
WAYS = ("scanned", "listed")
# Outcomes that bring an answer of the agent's, whose time is counted.
ANSWERS = ("local_hit", "shared_hit", "remote")
_COUNTERS = ("outcomes", "local_reasons", "ways", "listed_reasons", "nodes")


class Tally:
    """The numbers of one stretch of calls. `answer_times` are from the request to the answer."""

    def __init__(self) -> None:
        self.numbers: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.local_reasons: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self.listed_reasons: Counter[str] = Counter()
        self.nodes: Counter[str] = Counter()
        self.answer_times = {name: Histogram() for name in ANSWERS}

    def add(self, name: str, amount: float = 1) -> None:
        assert name in NUMBERS, name
        # A Counter of floats: adding is all that is done with it.
        self.numbers[name] += amount  # type: ignore[assignment]

    def merge(self, other: Tally) -> None:
        self.numbers.update(other.numbers)
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for name, times in self.answer_times.items():
            times.merge(other.answer_times[name])

    def as_dict(self) -> dict[str, Any]:
        """The document that `zcc stats --json` prints, but for what belongs to no stretch."""
        return {
            **dict.fromkeys(NUMBERS, 0),
            **self.numbers,
            "outcomes": dict.fromkeys(OUTCOMES, 0) | self.outcomes,
            "local_reasons": dict(self.local_reasons.most_common()),
            "ways": dict.fromkeys(WAYS, 0) | self.ways,
            "listed_reasons": dict(self.listed_reasons.most_common()),
            "nodes": dict(self.nodes.most_common()),
            "answer_times": {name: times.as_dict() for name, times in self.answer_times.items()},
        }

    def as_sparse(self) -> dict[str, Any]:
        """The same without what is nought: for a file with one of these a minute."""
        document: dict[str, Any] = {name: n for name, n in self.numbers.items() if n}
        for name in _COUNTERS:
            if counts := getattr(self, name):
                document[name] = dict(counts)
        times = {name: each.as_dict() for name, each in self.answer_times.items() if each.count}
        if times:
            document["answer_times"] = times
        return document


def tally_from(document: dict[str, Any]) -> Tally:
    """What `as_dict` or `as_sparse` gave, also when an older zcc gave it; what is odd is left out."""
    tally = Tally()
    for name in NUMBERS:
        value = document.get(name)
        if isinstance(value, (int, float)):
            tally.numbers[name] = value  # type: ignore[assignment]
    for name in _COUNTERS:
        found = document.get(name)
        if isinstance(found, dict):
            counts = {key: count for key, count in found.items() if isinstance(count, int)}
            getattr(tally, name).update(counts)
    times = document.get("answer_times")
    if isinstance(times, dict):
        tally.answer_times = {name: histogram_from(times.get(name)) for name in ANSWERS}
    return tally
