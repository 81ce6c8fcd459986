"""The numbers of `zcc stats` as other programs read them: ccache's names, Prometheus' text. Pure.

Both take the document of `zcc stats --json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zcc.agent.history.histogram import BOUNDS_S, histogram_from
from zcc.agent.history.tally import NUMBERS, OUTCOMES, WAYS
from zcc.exposition import (
    Metric,
    Sample,
    counter,
    counters,
    exposition,
    gauge,
    histogram_samples,
)
from zcc.reasons import RETIRED, Kind, reason_of

# What `ccache --print-stats` prints (4.14; 4.7 has less), in its order. What has no like here is 0.
CCACHE_NAMES = """
    autoconf_test bad_compiler_arguments bad_input_file bad_output_file cache_miss
    cache_size_kibibyte called_for_link called_for_preprocessing cleanups_performed compile_failed
    compiler_check_failed compiler_produced_empty_output compiler_produced_no_output
    compiler_produced_stdout could_not_find_compiler could_not_use_modules
    could_not_use_precompiled_header direct_cache_hit direct_cache_miss disabled
    error_hashing_extra_file files_in_cache internal_error local_storage_hit local_storage_miss
    local_storage_read_hit local_storage_read_miss local_storage_write max_cache_size_kibibyte
    max_files_in_cache missing_cache_file modified_input_file multiple_source_files no_input_file
    output_to_stdout preprocessed_cache_hit preprocessed_cache_miss preprocessor_error recache
    remote_storage_error remote_storage_hit remote_storage_miss remote_storage_read_hit
    remote_storage_read_miss remote_storage_timeout remote_storage_write stats_updated_timestamp
    stats_zeroed_timestamp unsupported_code_directive unsupported_compiler_option
    unsupported_environment_variable unsupported_source_encoding unsupported_source_language
""".split()  # noqa: SIM905 (a table, not fifty lines)

# Of reasons why a call ran here.
KINDS = (*(kind.value for kind in Kind if kind is not Kind.MISS), "other")
_KIB = 1024


def ccache(document: dict[str, Any]) -> str:
    """`name TAB number` lines. Each call is counted once: a hit, a miss, a recache or a reason."""
    outcomes = document["outcomes"]
    cache = document.get("cache") or {}
    counts = dict.fromkeys(CCACHE_NAMES, 0)
    for code, count in document["local_reasons"].items():
        reason = reason_of(code)
        # Commands that ran here for another reason (no farm, a farm that failed) are misses.
        if name := RETIRED.get(code, "") if reason is None else reason.ccache:
            counts[name] += count
    counts["recache"] = document["refreshes"]
    shared = outcomes["shared_hit"]
    hits = outcomes["local_hit"] + shared
    misses = max(0, document["calls"] - hits - sum(counts.values()))
    counts |= {
        "cache_miss": misses,
        "direct_cache_hit": hits,
        "direct_cache_miss": misses,
        "local_storage_hit": outcomes["local_hit"],
        "local_storage_miss": shared + misses,
        "local_storage_read_hit": outcomes["local_hit"],
        "local_storage_read_miss": shared + misses,
        "local_storage_write": document["cache_written"],
        "remote_storage_hit": shared,
        "remote_storage_miss": outcomes["remote"],
        "remote_storage_read_hit": shared,
        "remote_storage_read_miss": outcomes["remote"],
        "cache_size_kibibyte": cache.get("size_bytes", 0) // _KIB,
        "max_cache_size_kibibyte": cache.get("limit_bytes", 0) // _KIB,
        "files_in_cache": cache.get("results", 0),
        "stats_updated_timestamp": int(document.get("updated_at", 0)),
        "stats_zeroed_timestamp": int(document.get("zeroed_at", 0)),
    }
    return "".join(f"{name}\t{int(counts[name])}\n" for name in CCACHE_NAMES)


def prometheus(document: dict[str, Any]) -> str:
    """The text exposition format, version 0.0.4; seconds and bytes, as its conventions want them."""
    return exposition(_metrics(document))


def _metrics(document: dict[str, Any]) -> Iterator[Metric]:
    for name, text in NUMBERS.items():
        base, _, unit = name.rpartition("_")
        metric = f"zcc_{base}_seconds_total" if unit == "s" else f"zcc_{name}_total"
        yield counter(metric, text, document[name])
    kinds = {"kinds": _by_kind(document["local_reasons"])}
    rows = (
        ("outcomes", "zcc_outcomes_total", "outcome", "calls by what became of them", OUTCOMES),
        ("local_reasons", "zcc_local_total", "reason", "calls that ran here, by reason", ()),
        ("kinds", "zcc_local_kind_total", "kind", "calls that ran here, by kind of reason", KINDS),
        ("ways", "zcc_ways_total", "way", "jobs by how their inputs were found", WAYS),
        (
            "listed_reasons",
            "zcc_listed_total",
            "reason",
            "jobs whose inputs the compiler listed, by why",
            (),
        ),
        ("nodes", "zcc_node_jobs_total", "node", "jobs that each node compiled", ()),
    )
    for name, metric, label, text, always in rows:
        counts = dict.fromkeys(always, 0) | (document | kinds).get(name, {})
        yield counters(metric, text, label, counts)
    yield _times(document["answer_times"])
    yield from _gauges(document)


def _by_kind(local_reasons: dict[str, int]) -> dict[str, int]:
    """`other`: reasons that another zcc has given."""
    counts = dict.fromkeys(KINDS, 0)
    for code, count in local_reasons.items():
        reason = reason_of(code)
        kind = "other" if reason is None else reason.kind.value
        counts[kind if kind in counts else "other"] += count
    return counts


def _times(answer_times: dict[str, Any]) -> Metric:
    samples: list[Sample] = []
    for outcome, times in answer_times.items():
        found = histogram_from(times)
        labels = (("outcome", outcome),)
        samples += histogram_samples(BOUNDS_S, found.counts, found.sum_s, labels)
    text = "time from a request to the agent's answer"
    return Metric("zcc_answer_seconds", "histogram", text, samples)


def _gauges(document: dict[str, Any]) -> Iterator[Metric]:
    cache, agent = document.get("cache"), document.get("agent")
    if cache:
        for name, metric, text in (
            ("size_bytes", "zcc_cache_size_bytes", "what the local cache takes on disk"),
            ("limit_bytes", "zcc_cache_limit_bytes", "what it may take"),
            ("results", "zcc_cache_results", "results that it holds"),
        ):
            yield gauge(metric, text, cache[name])
    if agent:
        text = "1 while the agent is connected to a broker"
        yield gauge("zcc_connected", text, int(agent["connected"]))
