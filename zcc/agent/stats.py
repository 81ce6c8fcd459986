"""What happened to all the calls, counted; kept across agents in `stats.json`."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter, deque
from typing import Any

# Proof failures and discrepancies are bugs: the last ones are kept by name.
_KEPT = 20
# Names are the user's words: a build that makes them up must not grow this without end.
MAX_UNKNOWN = 100

_PLAIN = (
    "calls",
    "proof_failures",
    "discrepancies",
    "bytes_sent",
    "bytes_received",
    "remote_cpu_s",
    "remote_wall_s",
    "queued_s",
    "recalls_refused",
)
_OUTCOMES = ("local_hit", "shared_hit", "remote", "local", "failed")
_WAYS = ("scanned", "listed")


class Stats:
    """Counters with a place on disk."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.clear()
        self._load()

    def clear(self) -> None:
        self.numbers: dict[str, float] = dict.fromkeys(_PLAIN, 0)
        self.outcomes: Counter[str] = Counter(dict.fromkeys(_OUTCOMES, 0))
        self.local_reasons: Counter[str] = Counter()
        self.ways: Counter[str] = Counter(dict.fromkeys(_WAYS, 0))
        self.nodes: Counter[str] = Counter()
        self.unknown_options: Counter[str] = Counter()
        self.notes: deque[str] = deque(maxlen=_KEPT)
        self._saved: dict[str, Any] = {}

    def add(self, name: str, amount: float = 1) -> None:
        self.numbers[name] += amount

    def count_unknown(self, word: bytes) -> None:
        """Count an option that the table does not know, without its operand."""
        name = word.partition(b"=")[0].decode(errors="replace")
        if name in self.unknown_options or len(self.unknown_options) < MAX_UNKNOWN:
            self.unknown_options[name] += 1

    def note(self, text: str) -> None:
        """Keep a sentence on something that should not have happened."""
        self.notes.append(text)

    def as_dict(self) -> dict[str, Any]:
        """The document that `zcc stats --json` prints."""
        return {
            **self.numbers,
            "outcomes": dict(self.outcomes),
            "local_reasons": dict(self.local_reasons.most_common()),
            "ways": dict(self.ways),
            "nodes": dict(self.nodes.most_common()),
            "unknown_options": dict(self.unknown_options.most_common()),
            "notes": list(self.notes),
        }

    def save(self) -> None:
        """Write what has changed; a disk that refuses costs the numbers, nothing else."""
        document = self.as_dict()
        if document == self._saved:
            return
        temporary = f"{self._path}.{os.getpid()}"
        with contextlib.suppress(OSError):
            with open(temporary, "w") as file:
                json.dump(document, file)
            os.rename(temporary, self._path)
            self._saved = document

    def _load(self) -> None:
        document = read(self._path)
        for name in _PLAIN:
            value = document.get(name)
            if isinstance(value, (int, float)):
                self.numbers[name] = value
        for name, counter in (
            ("outcomes", self.outcomes),
            ("local_reasons", self.local_reasons),
            ("ways", self.ways),
            ("nodes", self.nodes),
            ("unknown_options", self.unknown_options),
        ):
            found = document.get(name)
            if isinstance(found, dict):
                counter.update({k: v for k, v in found.items() if isinstance(v, int)})
        notes = document.get("notes")
        if isinstance(notes, list):
            self.notes.extend(text for text in notes if isinstance(text, str))


def read(path: str) -> dict[str, Any]:
    """The saved document; empty when there is none or it is damaged."""
    try:
        with open(path) as file:
            document = json.load(file)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
