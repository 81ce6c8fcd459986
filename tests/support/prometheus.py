"""What Prometheus' own client library reads of a page: metrics by name, a counter's without `_total`."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families


def read_text(text: str) -> dict[str, Metric]:
    return {each.name: each for each in text_string_to_metric_families(text)}


def read_open(text: str) -> dict[str, Metric]:
    """Stricter than the other: a name that clashes, a bucket out of order, a missing end are errors."""
    found = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {each.name: each for each in found}


def samples_of(text: str) -> dict[str, float]:
    """Each sample as it is written, with its value."""
    lines = [line.rpartition(" ")[::2] for line in text.splitlines() if not line.startswith("#")]
    found = {name: float(value) for name, value in lines}
    assert len(found) == len(lines), "a sample twice"
    return found
