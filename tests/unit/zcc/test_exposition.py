"""Prometheus' text, as its own parsers read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric as Family

from tests.support.prometheus import read_open, read_text
from zcc.exposition import Metric, counter, counters, exposition, gauge, histogram_samples


def families(metrics: list[Metric], *, is_open: bool) -> dict[str, Family]:
    text = exposition(metrics, is_open=is_open)
    return read_open(text) if is_open else read_text(text)


def test_both_formats_to_the_letter() -> None:
    metrics = [
        counters("zcc_x_total", 'a "x"', "kind", {"a": 1, 'q"\\\n': 2.5}),
        gauge("zcc_y_bytes", "y", 7),
        Metric(
            "zcc_z_seconds", "histogram", "z", list(histogram_samples((0.1, 1.0), (2, 0, 1), 9.5))
        ),
    ]
    assert exposition(metrics) == (
        '# HELP zcc_x_total a "x"\n'
        "# TYPE zcc_x_total counter\n"
        'zcc_x_total{kind="a"} 1\n'
        'zcc_x_total{kind="q\\"\\\\\\n"} 2.5\n'
        "# HELP zcc_y_bytes y\n"
        "# TYPE zcc_y_bytes gauge\n"
        "zcc_y_bytes 7\n"
        "# HELP zcc_z_seconds z\n"
        "# TYPE zcc_z_seconds histogram\n"
        'zcc_z_seconds_bucket{le="0.1"} 2\n'
        'zcc_z_seconds_bucket{le="1.0"} 2\n'
        'zcc_z_seconds_bucket{le="+Inf"} 3\n'
        "zcc_z_seconds_sum 9.5\n"
        "zcc_z_seconds_count 3\n"
    )
    lines = exposition(metrics, is_open=True).splitlines()
    assert lines[:3] == [
        '# HELP zcc_x a \\"x\\"', "# TYPE zcc_x counter", 'zcc_x_total{kind="a"} 1',
    ]  # fmt: skip
    assert lines[-1] == "# EOF"


@pytest.mark.parametrize("is_open", [False, True])
@given(
    label=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20),
    value=st.floats(0, allow_nan=False, allow_infinity=False),
)
def test_whatever_a_label_says_is_read_back(label: str, value: float, is_open: bool) -> None:
    # A page is split at "\n" alone; the parsers' own input splits at what Python calls a line's end, too.
    read = families([counters("zcc_x_total", "x", "kind", {label: value})], is_open=is_open)
    (sample,) = read["zcc_x"].samples
    assert (sample.labels, sample.value) == ({"kind": label}, value)


@pytest.mark.parametrize("is_open", [False, True])
def test_a_histogram_is_read_back_with_its_kind(is_open: bool) -> None:
    samples = list(histogram_samples((0.5, 2.0), (1, 2, 3), 20.0, (("outcome", "ok"),)))
    metrics = [Metric("zcc_z_seconds", "histogram", "z", samples), counter("zcc_n_total", "n", 4)]
    read = families(metrics, is_open=is_open)
    assert {name: each.type for name, each in read.items()} == {
        "zcc_z_seconds": "histogram", "zcc_n": "counter",
    }  # fmt: skip
    found = {
        (each.name, each.labels.get("le")): each.value for each in read["zcc_z_seconds"].samples
    }
    assert found == {
        ("zcc_z_seconds_bucket", "0.5"): 1,
        ("zcc_z_seconds_bucket", "2.0"): 3,
        ("zcc_z_seconds_bucket", "+Inf"): 6,
        ("zcc_z_seconds_sum", None): 20.0,
        ("zcc_z_seconds_count", None): 6,
    }
