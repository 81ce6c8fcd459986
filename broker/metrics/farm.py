"""The farm's part of the page: what is now, and what was counted since the start. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice

from broker.core.farm import Farm
from broker.metrics.tally import BOUNDS_S, OTHER, FarmTally, Times
from zcc.exposition import Metric, counter, counters, gauge, gauges, histogram_samples
from zcc.messages import Fault, PeerRole
from zcc.reasons import Kind

# Labels that are there from the start, so that a first event is a rise and not a new series.
TIERS = ("local", "shared", "twin")
REQUESTS = ("compiled", "hit", "refused")
RUNS = ("ok", "failed", "unproven")
LEASES = ("first", "copy", "trial")
QUARANTINES = ("faults", "audit", "trial")
ROLES = tuple(role.value for role in PeerRole if role is not PeerRole.JOINER)
FAULTS = tuple(fault.value for fault in Fault)
LOST = (
    "node-lost", "node-left", "unanswered", "taken-back", "lends-less", "runs-elsewhere", "beaten", "unproven",
    "cancelled", "given-back", "broker",
)  # fmt: skip
KINDS = (*(kind.value for kind in Kind if kind is not Kind.MISS), OTHER)
# Lines whose first job is looked at for how long it has waited: more have jobs on no real farm.
MAX_LINES = 1_000


def queue_metrics(farm: Farm) -> Iterator[Metric]:
    """What waits and who is here, as it is this moment."""
    leased = len(farm.leases) - len(farm.hedged)
    queued, ready = len(farm.queue), len(farm.ready)
    jobs = {
        "queued": queued,
        "sending": max(0, len(farm.executions) - leased - queued - ready),
        "ready": ready,
        "leased": leased,
    }
    yield gauges(
        "zcc_farm_jobs",
        "jobs by what they wait for: their turn, inputs or a toolchain, a slot, their node",
        "state",
        jobs,
    )
    yield gauge(
        "zcc_farm_waiting_jobs", "jobs that no node has", jobs["queued"] + jobs["sending"] + ready
    )
    yield gauge(
        "zcc_farm_waiting_work_seconds",
        "what the jobs that no node has are expected to take one slot of average speed",
        max(0.0, farm.backlog_cost_s),
    )
    yield gauge("zcc_farm_oldest_wait_seconds", "how long the oldest has waited", _oldest_s(farm))
    roles = Counter(session.role.value for session in farm.sessions)
    yield gauges(
        "zcc_farm_sessions", "processes that are here, by role", "role", _with(ROLES, roles)
    )


def counted_metrics(tally: FarmTally) -> Iterator[Metric]:
    """What has happened."""
    yield counters(
        "zcc_farm_requests_total",
        "requests of agents that were answered, by how: compiled for them, from another's run, refused",
        "outcome",
        _with(REQUESTS, tally.requests),
    )
    yield counters(
        "zcc_farm_hits_total",
        "compiles that needed no run, by where the result was: the agents' own caches (as they say), the"
        " shared cache, the run of an equal job",
        "tier",
        _with(TIERS, tally.hits),
    )
    yield counters(
        "zcc_farm_local_runs_total",
        "compiles that agents did themselves (as they say), by kind of reason",
        "kind",
        _with(KINDS, tally.local_runs),
    )
    yield counters(
        "zcc_farm_refusals_total", "requests that were refused, by reason", "reason", tally.refusals
    )
    yield counter(
        "zcc_farm_abandoned_total", "jobs for which nobody waited any more", tally.abandoned
    )
    yield counters(
        "zcc_farm_leases_total",
        "jobs given to nodes, by what for: a first run (or the next), a second copy, a node's trial",
        "kind",
        _with(LEASES, tally.leases),
    )
    yield counters(
        "zcc_farm_leases_lost_total",
        "leases that ended without a result and without a fault, by why",
        "reason",
        _with(LOST, tally.lost),
    )
    yield counters(
        "zcc_farm_faults_total",
        "leases that nodes gave up with a fault, by which",
        "reason",
        _with(FAULTS, tally.faults),
    )
    yield counters(
        "zcc_farm_quarantines_total",
        "how often a node was put aside, by why",
        "reason",
        _with(QUARANTINES, tally.quarantines),
    )
    yield counters(
        "zcc_farm_runs_total",
        "results of nodes, by the compiler's verdict; unproven: its look-ups could not be logged",
        "outcome",
        _with(RUNS, tally.runs),
    )
    yield counter("zcc_farm_run_cpu_seconds_total", "CPU time of these runs", tally.cpu_s)
    yield _histogram("zcc_farm_run_seconds", "how long these runs took", tally.ran_s)
    yield _histogram(
        "zcc_farm_queue_seconds",
        "how long requests waited that were answered from a run, until it was given to its node",
        tally.queued,
    )
    yield counter("zcc_farm_results_kept_total", "results put into the shared cache", tally.kept)
    yield counter("zcc_farm_results_kept_bytes_total", "their outputs' size", tally.kept_bytes)


def _oldest_s(farm: Farm) -> float:
    """What has been given to a node, or waits for inputs alone, does not count."""
    since = farm.now
    for queue in (farm.ready, farm.queue):
        for line in islice(queue.by_turns(), MAX_LINES):
            waiters = farm.executions[line.oldest()].waiters.values()
            since = min(since, *(waiter.since for waiter in waiters), farm.now)
    return max(0.0, farm.now - since)


def _with(always: tuple[str, ...], counts: Mapping[str, int]) -> dict[str, float]:
    return {**dict.fromkeys(always, 0), **counts}


def _histogram(name: str, text: str, times: Times) -> Metric:
    samples = list(histogram_samples(BOUNDS_S, times.counts, times.sum_s))
    return Metric(name, "histogram", text, samples)
