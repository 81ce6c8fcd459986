"""The ways to run a case that must not differ from the plain compiler, and what became of each call."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent
_SETTLE_S = 20.0


@dataclass(frozen=True)
class Way:
    """`runs`: how often in a row the command runs through zcc, each time held against the plain compiler."""

    name: str
    runs: int
    cache: str  # ZCC_CACHE
    why: str


WAYS = {
    way.name: way
    for way in (
        Way("farm", 1, "off", "each command once: scanned or listed, then compiled on a node"),
        Way("again", 2, "on", "each command twice: the second may be answered by a cache"),
    )
}


@dataclass(frozen=True)
class Outcome:
    """What zcc did with one call. `share` is how it is counted, `faults` what must never happen."""

    share: str
    faults: tuple[str, ...] = ()


class Farm:
    """A local farm, and a count of what it does."""

    def __init__(self, directory: str, way: Way) -> None:
        self._way = way
        self._local = LocalFarm(directory)
        self._last: dict[str, Any] = {}
        self.launcher = (str(BIN / "zcc"),)

    def start(self, nodes: int = 1, slots: int = 2) -> None:
        self._local.start(nodes=nodes, slots=slots)
        self._last = self._ask_when_idle()

    def stop(self) -> None:
        self._local.stop()

    @property
    def environment(self) -> dict[str, str]:
        """For the plain compiler as well: nothing but zcc's own variables, PATH and HOME."""
        own = {n: v for n, v in self._local.environment.items() if n.startswith("ZCC_")}
        return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **own} | {
            "ZCC_CACHE": self._way.cache
        }

    def outcome(self) -> Outcome:
        """What became of the one call since the last question."""
        before, now = self._last, self._ask_when_idle()
        self._last = now
        faults = [
            f"{name}: {now['notes'][-1] if now['notes'] else ''}"
            for name in ("discrepancies",)
            if now[name] > before[name]
        ]
        done = _grown(before["outcomes"], now["outcomes"])
        reasons = _grown(before["local_reasons"], now["local_reasons"])
        ways = _grown(before["ways"], now["ways"])
        if now["proof_failures"] > before["proof_failures"]:
            reasons = [f"proof: {now['notes'][-1]}"]
        if "internal-error" in reasons:
            faults.append("internal-error: see agent.log")
        share = "+".join([*done, *ways, *reasons]) or "no call"
        return Outcome(share, tuple(faults))

    def _ask_when_idle(self) -> dict[str, Any]:
        """The counters, when the agent has noticed that the last compiler has ended."""
        deadline = time.monotonic() + _SETTLE_S
        while self._ask("status").get("calls", 0):
            if time.monotonic() > deadline:
                raise TimeoutError("the agent holds on to a call that has ended")
            time.sleep(0.002)
        return self._ask("stats")

    def _ask(self, question: str) -> dict[str, Any]:
        answer = control.ask(self._local.environment["ZCC_SOCKET"], {"op": question})
        return answer or {**_NOTHING}


_NOTHING: Mapping[str, Any] = {
    "calls": 0, "notes": [], "discrepancies": 0, "proof_failures": 0,
    "outcomes": {}, "local_reasons": {}, "ways": {},
}  # fmt: skip


def _grown(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    return [name for name, count in now.items() if count > before.get(name, 0)]


def table(shares: Counter[str], total: int) -> str:
    """The shares as lines, most frequent first."""
    return "\n".join(
        f"  {count:6}  {100 * count / max(total, 1):5.1f}%  {name}"
        for name, count in shares.most_common()
    )


Predicate = Callable[[], bool]
