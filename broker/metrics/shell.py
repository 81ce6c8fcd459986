"""The broker's own part of the page: its process, its connections and its disks."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

from broker.core.limits import MAX_SPOOLED_BYTES
from broker.failures import Failures
from broker.metrics.tiers import tier_metrics
from broker.results.shared_cache import SharedResults
from broker.storage.service import Storage
from broker.transport.router import RouterLink
from broker.transport.spool import Spool
from zcc import __version__
from zcc.exposition import Metric, counter, counters, gauge, gauges

# What `loop_lag` looks back: at least as long, at most twice. Longer than the usual pause between two scrapes,
# and several scrapers see the same.
LAG_S = 60.0
# Of what ccaches ask, as `broker/storage` counts it.
CCACHE = ("hits", "misses", "stored")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Lag:
    """How late the loop's timer was at most, of late."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._seen_at: float | None = None
        self._turned_at = 0.0
        self._now_s = self._before_s = 0.0

    @property
    def most_s(self) -> float:
        return max(self._now_s, self._before_s)

    def note(self, now: float) -> None:
        """The timer has come, a period after the last time or later."""
        late_s = 0.0 if self._seen_at is None else now - self._seen_at - self._period_s
        if now - self._turned_at >= LAG_S:
            self._before_s, self._now_s, self._turned_at = self._now_s, 0.0, now
        self._seen_at = now
        self._now_s = max(self._now_s, late_s)


class ShellNumbers:
    """What stands around the core. `counts` are the shell's, `period_s` is its tick's."""

    def __init__(
        self,
        state_dir: str,
        link: RouterLink,
        results: SharedResults,
        spool: Spool,
        storage: Storage,
        failures: Failures,
        counts: Counter[str],
        period_s: float,
    ) -> None:
        self._state_dir = state_dir
        self._link = link
        self._results = results
        self._spool = spool
        self._storage = storage
        self._failures = failures
        self._counts = counts
        self._started_s = time.time()
        self.lag = Lag(period_s)

    def metrics(self) -> Iterator[Metric]:
        yield from self._process()
        yield from self._members()
        yield from self._disks()
        yield from tier_metrics(self._results.tiers())

    def _process(self) -> Iterator[Metric]:
        yield gauges("zcc_broker_info", "1, and the release", "version", {__version__: 1})
        yield gauge("zcc_broker_start_time_seconds", "Unix time of its start", self._started_s)
        yield counter(
            "zcc_broker_cpu_seconds_total", "CPU time of its process", round(time.process_time(), 6)
        )
        yield gauge("zcc_broker_resident_memory_bytes", "its process's memory", _resident_bytes())
        yield gauge(
            "zcc_broker_loop_lag_seconds",
            "the latest that its loop came back in the last minute or two",
            self.lag.most_s,
        )
        yield counter(
            "zcc_broker_mistakes_total",
            "mistakes of its own that it has survived",
            self._failures.count,
        )

    def _members(self) -> Iterator[Metric]:
        link, counts = self._link, self._counts
        now, ever = link.connections
        yield gauge("zcc_broker_connections", "members' connections", now)
        yield counter(
            "zcc_broker_accepted_connections_total", "connections that were accepted", ever
        )
        yield counters(
            "zcc_broker_refused_connections_total",
            "connections that were let in no further, by why: an unknown key, or one with too many or banned",
            "reason",
            {"unknown-key": counts["unknown_keys"], "limit": link.refused},
        )
        yield counters(
            "zcc_broker_joins_total",
            "requests to join, to change a key or to leave, by the answer",
            "outcome",
            {"done": counts["joins"], "refused": counts["refused_joins"]},
        )
        yield counter(
            "zcc_broker_violations_total",
            "breaches of the protocol, each the end of a session or connection",
            counts["violations"],
        )
        yield counter("zcc_broker_received_bytes_total", "bytes from members", link.received_bytes)
        yield counter(
            "zcc_broker_sent_bytes_total", "bytes handed over for members", link.sent_bytes
        )

    def _disks(self) -> Iterator[Metric]:
        size_bytes, limit_bytes, evicted = self._results.figures()
        yield gauge("zcc_broker_store_bytes", "inputs, toolchains and results on disk", size_bytes)
        yield gauge(
            "zcc_broker_store_limit_bytes", "what they may take (--cache-size)", limit_bytes
        )
        yield counter(
            "zcc_broker_store_evicted_total", "blobs and results that went for it", evicted
        )
        yield gauge(
            "zcc_broker_spool_bytes", "results that wait for slow agents", self._spool.size_bytes
        )
        yield gauge("zcc_broker_spool_limit_bytes", "what they may take", MAX_SPOOLED_BYTES)
        size_bytes, limit_bytes = self._storage.figures()
        yield gauge("zcc_broker_ccache_bytes", "values that ccache stores here", size_bytes)
        yield gauge(
            "zcc_broker_ccache_limit_bytes", "what they may take (--ccache-size)", limit_bytes
        )
        yield counters(
            "zcc_broker_ccache_requests_total",
            "what ccaches have asked for, by what came of it",
            "outcome",
            {each: self._storage.counts[each] for each in CCACHE},
        )
        places = {"store": self._state_dir, "spool": self._spool.directory}
        yield gauges(
            "zcc_broker_disk_free_bytes",
            "what the disks of store and spool have left (it may be one)",
            "disk",
            {name: _free_bytes(directory) for name, directory in places.items()},
        )


def _free_bytes(directory: str) -> int:
    """What the disk has left where this is; 0 where it does not say."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
