"""Numbers as Prometheus reads them: the text exposition format 0.0.4, and OpenMetrics 1.0. Pure.

Knows how a metric is written and not what it says. Formats:
https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Labels = tuple[tuple[str, str], ...]
# What its name has behind the metric's, its labels, its value.
Sample = tuple[str, Labels, float]


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind` is counter, gauge or histogram. The name of a counter ends in `_total`."""

    name: str
    kind: str
    text: str
    samples: Sequence[Sample]


def counter(name: str, text: str, value: float) -> Metric:
    return Metric(name, "counter", text, [("", (), value)])


def gauge(name: str, text: str, value: float) -> Metric:
    return Metric(name, "gauge", text, [("", (), value)])


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """One sample for each value of this label."""
    return Metric(name, "counter", text, _labelled(label, values))


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return Metric(name, "gauge", text, _labelled(label, values))


def histogram_samples(
    bounds: Sequence[float], counts: Sequence[int], total: float, labels: Labels = ()
) -> Iterator[Sample]:
    """`counts` are of what lies between two bounds, the last one of what lies beyond all; `total` is the sum of
    what was observed.
    """
    seen = 0
    for bound, count in zip(bounds, counts, strict=False):
        seen += count
        yield "_bucket", (*labels, ("le", repr(bound))), seen
    seen += counts[len(bounds)]
    yield "_bucket", (*labels, ("le", "+Inf")), seen
    yield "_sum", labels, total
    yield "_count", labels, seen


def exposition(metrics: Iterable[Metric], *, is_open: bool = False) -> str:
    """The text of a page; `is_open`: in OpenMetrics."""
    lines = [line for metric in metrics for line in _lines(metric, is_open=is_open)]
    if is_open:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines)


def _lines(metric: Metric, *, is_open: bool) -> Iterator[str]:
    # To OpenMetrics the suffix belongs to the sample.
    called = metric.name.removesuffix("_total") if is_open else metric.name
    yield f"# HELP {called} {_escaped_text(metric.text, is_open=is_open)}"
    yield f"# TYPE {called} {metric.kind}"
    for suffix, labels, value in metric.samples:
        yield f"{metric.name}{suffix}{_braced(labels)} {value!r}"


def _labelled(label: str, values: Mapping[str, float]) -> list[Sample]:
    return [("", ((label, each),), value) for each, value in values.items()]


def _braced(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escaped_text(text: str, *, is_open: bool) -> str:
    return _escaped(text) if is_open else text.replace("\\", "\\\\").replace("\n", "\\n")
