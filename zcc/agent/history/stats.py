"""What happened to all the calls: totals in `stats.json`, builds and minutes in the notebook.

The shell says each event once; this decides which stretches it counts for. Traffic and what the cache did are
known for the agent as a whole: they are counted for the build that had the last call.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zcc.agent.core.effects import CountOutcome
from zcc.agent.history.builds import Build, Builds
from zcc.agent.history.database import Notebook
from zcc.agent.history.minutes import History, resumable
from zcc.agent.history.tally import ANSWERS, Tally, tally_from
from zcc.agent.history.timing import Split
from zcc.documents import read_json
from zcc.errors import ConfigError

logger = logging.getLogger(__name__)

# Proof failures and discrepancies are bugs: the last ones are kept by name.
_KEPT = 20
FILE_NAME = "stats.json"
# Names are the user's words: a build that makes them up must not grow this without end.
MAX_UNKNOWN = 100


class Stats:
    """Counters with a place on disk. `root_of` as for `Builds`; `wall_s` gives Unix seconds."""

    def __init__(
        self,
        state_dir: str,
        notebook: Notebook,
        root_of: Callable[[bytes], bytes | None],
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = os.path.join(state_dir, FILE_NAME)
        self._wall_s = wall_s
        self._history = History(notebook, int(wall_s() * 1000))
        self._builds = Builds(root_of, resumable(notebook.path, wall_s()))
        self._gauges: dict[str, float] = {}
        self._saved: dict[str, Any] = {}
        document = read(self._path)
        self._total = tally_from(document)
        notes = document.get("notes")
        texts = [text for text in notes if isinstance(text, str)] if isinstance(notes, list) else []
        self._notes: deque[str] = deque(texts, maxlen=_KEPT)
        unknown = document.get("unknown_options")
        self._unknown: Counter[str] = Counter(
            {name: n for name, n in unknown.items() if isinstance(n, int)}
            if isinstance(unknown, dict)
            else {}
        )
        zeroed_at = document.get("zeroed_at")
        self._zeroed_at = float(zeroed_at) if isinstance(zeroed_at, (int, float)) else 0.0

    def clear(self) -> None:
        """Set everything to nought, the builds' history with it."""
        self._total = Tally()
        self._notes.clear()
        self._unknown.clear()
        self._zeroed_at = self._wall_s()
        self._history.clear()
        self._builds.latest = None

    # ---- events --------------------------------------------------------------------------------

    def enter(self, cwd: bytes) -> Build:
        """A call has arrived; `leave` and `count` take what this gives."""
        return self._builds.enter(cwd, self._wall_s())

    def leave(self, build: Build) -> None:
        """A call's launcher, or the compiler that it became, is gone."""
        now = self._wall_s()
        self._builds.leave(build, now)
        self._history.tally_of(build, now)

    def count(self, build: Build, outcome: CountOutcome, took_s: float, saved_s: float) -> None:
        """A call's outcome is settled, `took_s` after it arrived; a hit saved so many CPU seconds."""
        for tally in self._tallies(build):
            tally.add("calls")
            tally.outcomes[outcome.outcome] += 1
            if outcome.reason:
                tally.local_reasons[outcome.reason] += 1
            if outcome.way:
                way, _, cause = outcome.way.partition(": ")
                tally.ways[way] += 1
                if cause:
                    tally.listed_reasons[cause] += 1
            if outcome.outcome in ANSWERS:
                tally.answer_times[outcome.outcome].add(took_s)
            if saved_s:
                tally.add("saved_cpu_s", saved_s)

    def count_remote(self, build: Build, node: str, cpu_s: float, input_bytes: int) -> None:
        """A job was compiled by this node."""
        for tally in self._tallies(build):
            tally.nodes[node] += 1
            tally.add("remote_cpu_s", cpu_s)
            tally.add("input_bytes", input_bytes)

    def count_split(self, build: Build, split: Split) -> None:
        """Where the time of a job went that was compiled."""
        for tally in self._tallies(build):
            tally.add("queued_s", split.queued_s)
            tally.add("sending_s", split.sending_s)
            tally.add("remote_wall_s", split.compile_s)
            tally.add("returning_s", split.returning_s)
            tally.add("overhead_s", split.other_s)

    def add(self, name: str, build: Build, amount: float = 1) -> None:
        for tally in self._tallies(build):
            tally.add(name, amount)

    def count_unknown(self, word: bytes) -> None:
        """Count an option that the table does not know, without its operand."""
        name = word.partition(b"=")[0].decode(errors="replace")
        if name in self._unknown or len(self._unknown) < MAX_UNKNOWN:
            self._unknown[name] += 1

    def note(self, text: str) -> None:
        """Keep a sentence on something that should not have happened."""
        self._notes.append(text)

    def note_once(self, text: str) -> None:
        """The same of what a user has set, which each of his calls says again."""
        if text not in self._notes:
            logger.warning("%s", text)
            self._notes.append(text)

    def follow(self, gauges: Mapping[str, float]) -> None:
        """Count what these have grown by since they were given before."""
        for name, value in gauges.items():
            grown = value - self._gauges.get(name, 0)
            self._gauges[name] = value
            if grown:
                latest = self._builds.latest
                for tally in self._tallies(latest) if latest else (self._total,):
                    tally.add(name, grown)

    def _tallies(self, build: Build) -> Iterable[Tally]:
        return self._total, self._history.tally_of(build, self._wall_s())

    # ---- documents -----------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """The document that `zcc stats --json` prints."""
        return self._total.as_dict() | {
            "unknown_options": dict(self._unknown.most_common()),
            "notes": list(self._notes),
            "zeroed_at": self._zeroed_at,
        }

    def save(self) -> None:
        """Write what has changed; a disk that refuses costs the numbers, nothing else."""
        self._history.flush(self._wall_s())
        document = self.as_dict()
        if document == self._saved:
            return
        temporary = f"{self._path}.{os.getpid()}"
        with contextlib.suppress(OSError):
            with open(temporary, "w") as file:
                json.dump(document, file)
            os.rename(temporary, self._path)
            self._saved = document


def read(path: str) -> dict[str, Any]:
    """The saved document; empty when there is none or it is damaged."""
    try:
        document = read_json(path)
    except (OSError, ConfigError):
        return {}
    return document if isinstance(document, dict) else {}
