"""A decision of the broker's on where a job goes, as it travels inside `Placed`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cache.digest import Digest
from zcc.bounds import Count, Length, Name, Seconds, SlotCount

# Nodes of which an answer says what spoke against each, for each decision; and decisions in an answer.
MAX_CANDIDATES = 64
MAX_PLACEMENTS = 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node at the moment of a decision. `verdict`: `chosen`, or what stood against
    it; `why`: its own word on that. `expected_s` is from the decision to the job's end there. It `held` so many
    leases, and lent so many `slots`."""

    name: Name
    verdict: Name
    why: Name
    expected_s: Seconds
    held: Count
    slots: SlotCount


@dataclass(frozen=True, slots=True)
class Placement:
    """One decision. `reason`: why this job took that slot (docs/design/scheduling.md).

    `cost_s` is in seconds on the farm's average slot. `expected_s`, `begun_s` and `took_s` are from the
    decision: to the end as it was predicted, to when the compiler ran, and to the end. `ending` is empty while
    it runs. `others` counts the verdicts on nodes beyond the candidates. Not `is_whole`: how the nodes stood is
    forgotten.
    """

    job: Digest
    user: Name
    node: Name
    reason: Name
    ago_s: Seconds
    queued_s: Seconds
    cost_s: Seconds
    expected_s: Seconds
    begun_s: Seconds | None
    took_s: Seconds | None
    cpu_s: Seconds
    ending: Name
    detail: Name
    candidates: Annotated[tuple[Candidate, ...], Length(MAX_CANDIDATES)]
    others: Annotated[tuple[tuple[Name, Count], ...], Length(MAX_CANDIDATES)]
    is_whole: bool
