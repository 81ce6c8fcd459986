"""The tiers' part of the page. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from broker.tiers.numbers import BAD, TierNumbers
from zcc.exposition import Metric


def tier_metrics(tiers: Sequence[TierNumbers]) -> Iterator[Metric]:
    """None where there are no tiers."""
    if not tiers:
        return
    yield _by_label(
        "zcc_broker_tier_lookups_total",
        "results that were looked for in a tier, by what came of it; late: found when nobody waited any more",
        "outcome",
        tiers,
        lambda each: {"hit": each.hits, "late": each.late, "miss": each.misses},
    )
    yield _of_each(
        "zcc_broker_tier_errors_total",
        "counter",
        "requests that a tier has failed",
        tiers,
        lambda each: each.errors,
    )
    yield _of_each(
        "zcc_broker_tier_seconds_total",
        "counter",
        "what requests to a tier for results took",
        tiers,
        lambda each: round(each.seconds, 6),
    )
    yield _by_label(
        "zcc_broker_tier_bad_values_total",
        "values of a tier that were not taken: not sealed by this farm, damaged, or void since",
        "reason",
        tiers,
        lambda each: {what: each.bad.get(what, 0) for what in BAD},
    )
    yield _by_label(
        "zcc_broker_tier_resting",
        "1 while a tier is left alone after failures, by what it is not asked",
        "kind",
        tiers,
        lambda each: {
            "read": each.state != "closed",
            "write": each.writes in ("open", "half-open"),
        },
    )
    yield _by_label(
        "zcc_broker_tier_results_total",
        "results for a tier: written, dropped for want of room, lost to failures, larger than it takes",
        "outcome",
        tiers,
        lambda each: {
            "written": each.written,
            "dropped": each.dropped,
            "lost": each.lost,
            "oversized": each.bad.get("too_large", 0),
        },
    )
    yield _of_each(
        "zcc_broker_tier_written_bytes_total",
        "counter",
        "what was written to a tier",
        tiers,
        lambda each: each.written_bytes,
    )
    yield _of_each(
        "zcc_broker_tier_waiting_results",
        "gauge",
        "results that wait to be written to a tier",
        tiers,
        lambda each: each.waiting,
    )


def _of_each(
    name: str,
    kind: str,
    text: str,
    tiers: Sequence[TierNumbers],
    value: Callable[[TierNumbers], float],
) -> Metric:
    return Metric(name, kind, text, [("", (("tier", each.name),), value(each)) for each in tiers])


def _by_label(
    name: str,
    text: str,
    label: str,
    tiers: Sequence[TierNumbers],
    values: Callable[[TierNumbers], dict[str, int]],
) -> Metric:
    kind = "counter" if name.endswith("_total") else "gauge"
    samples = [
        ("", (("tier", each.name), (label, which)), float(value) if kind == "gauge" else value)
        for each in tiers
        for which, value in values(each).items()
    ]
    return Metric(name, kind, text, samples)
