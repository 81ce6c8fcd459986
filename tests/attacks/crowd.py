"""A crowd of clients with random jobs: every job is answered, and nobody else is harmed.

Owns the counting. Keys change often, since a key whose jobs fail is refused after a few of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cache.digest import digest_of, short
from tests.attacks.drawn import Drawn
from tests.attacks.farm import SOURCE, AttackedFarm, Client
from zcc.job import encode_job, job_key
from zcc.messages import Refused

# Refusals after which a client comes again under a new key.
_REFUSALS_A_KEY = 3
_INNOCENT_EVERY_S = 1.0
# What a farm answers at the latest, with all its slots taken by others' random jobs.
_ANSWER_S = 60.0


@dataclass
class Counts:
    """What came of it. `unanswered` are jobs that had no answer in time, `stuck` which, and `lost` sessions."""

    jobs: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    stuck: list[str] = field(default_factory=list)
    lost: int = 0
    innocent: int = 0
    innocent_failed: int = 0
    slowest_innocent_s: float = 0.0

    @property
    def unanswered(self) -> int:
        return len(self.stuck)

    def told(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in self.__slots_told__},
            "answers": dict(self.answers.most_common()),
        }

    __slots_told__ = (
        "jobs", "unanswered", "lost", "innocent", "innocent_failed", "slowest_innocent_s",
    )  # fmt: skip


async def jostle(
    farm: AttackedFarm, innocent: Client, seed: int, seconds: float, most: int, width: int = 8
) -> Counts:
    """Hand in random jobs, `width` at a time, until so many were or the time is over."""
    counts, until = Counts(), time.monotonic() + seconds

    def is_over() -> bool:
        return counts.jobs >= most or time.monotonic() > until

    crowd = [_attack(farm, random.Random(seed * 1000 + at), counts, is_over) for at in range(width)]
    await asyncio.gather(*crowd, _compile(farm, innocent, counts, is_over))
    return counts


async def _attack(farm: AttackedFarm, rng: random.Random, counts: Counts, is_over: Any) -> None:
    digests = [digest_of(SOURCE), digest_of(b"")]
    drawn = Drawn(rng, digests)
    while not is_over():
        client = await farm.client("attacker")
        refusals = 0
        while refusals < _REFUSALS_A_KEY and not is_over() and not client.losses:
            job = drawn.runnable_job(farm.job(name=b"a"))
            counts.jobs += 1
            answer = await client.outcome(await client.submit(job), _ANSWER_S)
            if answer is None:
                if not client.losses:
                    counts.stuck.append(short(job_key(encode_job(job))))
                refusals = _REFUSALS_A_KEY
            elif isinstance(answer, Refused):
                counts.answers[answer.reason.partition(":")[0]] += 1
                refusals += 1
            else:
                counts.answers["finished"] += 1
        counts.lost += len(client.losses)
        client.close()
        farm.clients.remove(client)


async def _compile(farm: AttackedFarm, innocent: Client, counts: Counts, is_over: Any) -> None:
    while not is_over():
        after = await farm.compiles(innocent, _ANSWER_S)
        counts.innocent += 1
        counts.innocent_failed += after["innocent"] != "Finished"
        counts.slowest_innocent_s = max(counts.slowest_innocent_s, after["took_s"])
        await asyncio.sleep(_INNOCENT_EVERY_S)
    counts.lost += len(innocent.losses)


def audited(farm: AttackedFarm, stuck: list[str]) -> dict[str, Any]:
    """What the broker wrote down: faults by kind, quarantines, violations, leases that ended; and each line on
    the jobs that are stuck."""
    place = os.path.join(farm.local.directory, "broker")
    counts: Counter[str] = Counter()
    details: Counter[str] = Counter()
    of_stuck: list[dict[str, Any]] = []
    for name in os.listdir(place):
        path = os.path.join(place, name)
        if not name.startswith("audit") or not os.path.isfile(path):
            continue
        with open(path, errors="replace") as log:
            for line in log:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                event = row.get("event", "")
                if row.get("job") in stuck:
                    of_stuck.append(row)
                if event == "fault":
                    counts[f"fault {row.get('fault')}"] += 1
                    if row.get("fault") not in ("refused", None):
                        details[f"{row.get('fault')}: {row.get('detail')}"[:120]] += 1
                elif event in ("quarantine", "violation", "result", "submit"):
                    counts[event] += 1
    counts["leases ended"] = counts["result"] + sum(
        count for name, count in counts.items() if name.startswith("fault ")
    )
    return {
        **dict(sorted(counts.items())),
        "details": dict(details.most_common(20)),
        "stuck": of_stuck,
    }


async def random_jobs(
    farm: AttackedFarm, innocent: Client, seed: str, seconds: str, most: str
) -> dict[str, Any]:
    """As a scenario for `tests.attacks.farm`."""
    counts = await jostle(farm, innocent, int(seed), float(seconds), int(most))
    return {"counts": counts.told(), "audit": audited(farm, counts.stuck)}
