"""Known jobs: those whose remembered results can be held against what a node makes of them.

The broker alone chooses among them, at random: first the keys, each once a round, then what of a key's was used
last. So a node cannot know what comes, a key that has many results remembered is heard no more than others, and
nobody can have another's left out.
"""

from __future__ import annotations

from collections import deque
from itertools import zip_longest
from random import Random

from broker.core.limits import KNOWN_OF_KEYS, KNOWN_OF_ONE, MAX_KNOWN_BYTES, MAX_KNOWN_CPU_S
from broker.results.kept import KeptJobs
from broker.results.shared_cache import SharedResults
from cache.errors import CacheError
from cache.frame import decompress
from cache.record import Record
from zcc.errors import JobError
from zcc.job import MAX_RESULT_BYTES, decode_result


class Answers:
    def __init__(self, jobs: KeptJobs, results: SharedResults, rng: Random) -> None:
        self._jobs = jobs
        self._results = results
        self._rng = rng

    def known(self, node_key: str, owner: str) -> deque[Record]:
        """Short jobs that can be put to a node of this key, by turns of the keys that submitted them; with
        `owner` this one's alone. Nodes of other keys did them. Slow: for a thread."""
        users = [owner] if owner else self._results.users()
        chosen = self._rng.sample(users, min(len(users), KNOWN_OF_KEYS))
        lines = [self._of_one(user, node_key) for user in chosen]
        return deque(each for turn in zip_longest(*lines) for each in turn if each is not None)

    def _of_one(self, user: str, node_key: str) -> list[Record]:
        records = self._results.latest_of(user, KNOWN_OF_ONE)
        fitting = [each for each in records if self._fits(each, node_key)]
        self._rng.shuffle(fitting)
        return fitting

    def _fits(self, record: Record, node_key: str) -> bool:
        source = record.source
        # What a publisher's own node has made of his own job is one key's word.
        if source.node_key in (node_key, source.user) or record.size_bytes > MAX_KNOWN_BYTES:
            return False
        if not self._jobs.has(record.key):
            return False
        try:
            result = decode_result(decompress(record.body, MAX_RESULT_BYTES))
        except (CacheError, JobError):
            return False
        return result.usage.cpu_s <= MAX_KNOWN_CPU_S
