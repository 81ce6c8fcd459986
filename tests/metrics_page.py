"""`docs/reference/metrics.md`, made of what writes the metrics: `make docs` writes it.

It stands here and not in `zcc/cli`, as `zcc` does not import the broker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.support.metric_page import full_page
from zcc.agent.history.tally import Tally
from zcc.cli.exposition import CCACHE_NAMES, prometheus
from zcc.reasons import Reason

Metrics = dict[str, tuple[str, str, tuple[str, ...]]]

_HEAD = """\
# Metrics

<!-- Made by `make docs` from what writes the metrics: do not edit it. -->

* `zcc-broker serve --metrics` serves [a farm's](#the-farms) and [its broker's](#the-brokers):
  [how to collect them](../guide/metrics.md).
* `zcc stats --format=prometheus` prints [one user's](#a-users) on one machine:
  [how to collect those](../guide/numbers.md#for-prometheus).

Seconds are seconds, sizes are bytes. A name is never given another meaning; a new one may come with each
release.

## The farm's

Counters begin at the broker's start.

"""
_BROKER = """
## The broker's

Counters begin at its start.

"""
_USER = """
## A user's

Counters begin at the last `zcc stats --zero`. The text exposition format 0.0.4; no server listens.

"""
_CCACHE = """
## ccache's names

`zcc stats --format=ccache` prints a line `NAME TAB NUMBER` for each name that `ccache --print-stats` has
(ccache 4.14), so that what reads ccache's numbers reads zcc's. What has no like in zcc is 0. Each call is
counted once: as a hit, as a miss, as `recache`, or under
[the name that its reason has](reasons.md).

"""


def page() -> str:
    broker = broker_metrics()
    farms = {name: each for name, each in broker.items() if name.startswith("zcc_farm_")}
    own = {name: each for name, each in broker.items() if name not in farms}
    tables = (_table(farms), _BROKER, _table(own), _USER, _table(metrics()), _CCACHE)
    return _HEAD + "".join(tables) + "".join(f"`{name}`\n" for name in CCACHE_NAMES)


def broker_metrics() -> Metrics:
    """What a broker serves; as `metrics`."""
    return _metrics_in(full_page())


def metrics() -> Metrics:
    """Of each metric's name: its type, its text, the names of its labels."""
    return _metrics_in(prometheus(_full()))


def _metrics_in(text: str) -> Metrics:
    found = {}
    for name, told in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        kind = re.findall(rf"^# TYPE {name} (\S+)$", text, re.MULTILINE)[0]
        rows = re.findall(rf"^{name}(?:_bucket)?\{{(.*)\}} \S+$", text, re.MULTILINE)
        labels = {label: None for row in rows for label in re.findall(r'(\w+)="', row)}
        found[name] = (kind, told, tuple(labels))
    return found


def _full() -> dict[str, Any]:
    """A document of `zcc stats --json` in which each metric shows."""
    tally = Tally()
    tally.local_reasons[Reason.TIME_MACRO] = tally.listed_reasons[Reason.DISK] = 1
    tally.nodes["node"] = 1
    return tally.as_dict() | {
        "cache": {"size_bytes": 0, "limit_bytes": 0, "results": 0},
        "agent": {"connected": True},
    }


def _table(found: Metrics) -> str:
    return "".join(f"{line}\n" for line in _rows(found))


def _rows(found: Metrics) -> Iterator[str]:
    yield "| name | type | labels | what it is |"
    yield "| --- | --- | --- | --- |"
    for name, (kind, text, labels) in found.items():
        yield f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |"


if __name__ == "__main__":
    print(page(), end="")
