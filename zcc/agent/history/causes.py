"""Why a compile was not answered from this machine's cache. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zcc.agent.history.fingerprint import Difference


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a compile was no hit.

    `kind`: `first` (nothing is known of an earlier one), `changed` (by `differences`, of which there are
    `count`), `refused` (`detail` is a name that was looked for in vain then and is there now), `evicted` (the
    same job was done before, its result is not kept any more), `not-kept` (the same job was done before, and
    never had a result to keep: `detail`), `damaged` (the result was kept and is rotten), `cache-off` and
    `refresh` (ZCC_CACHE or the configuration said so), `not-a-job` (it can only run here: `detail`).
    """

    kind: str
    detail: str = ""
    differences: Sequence[Difference] = ()
    count: int = 0
