"""A night of random messages and random jobs: `make attack MINUTES=60 SEED=7`.

Prints counts as JSON, and fails when a session of somebody else's was lost, a lease did not end, a node was
blamed, an innocent's compile did not come back, or anything was raised that nobody foresaw.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.attacks import enclosure
from tests.attacks.farm import played
from tests.attacks.mixed_messages import mix

# Of the time, for messages; jobs take the rest.
_MESSAGES_SHARE = 0.3
_MOST_MESSAGES, _MOST_JOBS = 10**6, 10**5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=_MOST_MESSAGES, help="at most")
    parser.add_argument("--jobs", type=int, default=_MOST_JOBS, help="at most")
    asked = parser.parse_args()
    begun = time.monotonic()
    logging.disable(logging.CRITICAL)
    wrong = []
    if asked.messages:
        wrong += _messages(asked.seed, 60 * asked.minutes * _MESSAGES_SHARE, asked.messages)
    if asked.jobs:
        left_s = 60 * asked.minutes - (time.monotonic() - begun)
        wrong += _jobs(asked.seed, max(left_s, 10.0), asked.jobs)
    for each in wrong:
        print(f"WRONG: {each}")
    print(f"seed {asked.seed}, {time.monotonic() - begun:.0f} s, {len(wrong)} wrong")
    return 1 if wrong else 0


def _messages(seed: int, seconds: float, most: int) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        counts = asyncio.run(mix(Path(directory), Random(seed), seconds, most))
    print(json.dumps({"messages": counts.told()}, indent=1), flush=True)
    wrong = [f"raised by a message: {what} ({count})" for what, count in counts.raised.items()]
    if counts.lost or counts.faults:
        wrong.append(f"{counts.lost} bystanders' sessions lost, {counts.faults} faults of a node")
    return wrong


def _jobs(seed: int, seconds: float, most: int) -> list[str]:
    if reason := enclosure.why_not():
        return [f"no jobs were tried: {reason}"]
    scenario = ("tests.attacks.crowd", "random_jobs", str(seed), f"{seconds:.0f}", str(most))
    outcome = played(*scenario, timeout_s=seconds + 300)
    print(json.dumps({"jobs": outcome}, indent=1), flush=True)
    return wrong_in(outcome)


def wrong_in(outcome: dict[str, Any]) -> list[str]:
    """What must not be in what came of random jobs."""
    counts, audit = outcome["counts"], outcome["audit"]
    wrong = [
        f"{counts[name]} {name}"
        for name in ("unanswered", "lost", "innocent_failed")
        if counts[name]
    ]
    wrong += [f"{audit[name]} {name}" for name in ("quarantine", "violation") if name in audit]
    wrong += [f"fault internal {audit['fault internal']}"] if "fault internal" in audit else []
    faults = [node["faults"] for node in outcome["after"]["nodes"]]
    if faults != [0, 0] or outcome["after"]["innocent"] != "Finished":
        wrong.append(f"afterwards: {outcome['after']}")
    return wrong + ([outcome["tracebacks"]] if outcome["tracebacks"] else [])


if __name__ == "__main__":
    sys.exit(main())
