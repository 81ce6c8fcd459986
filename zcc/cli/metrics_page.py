"""`docs/reference/metrics.md`, made of what `zcc stats --format=prometheus` is: `make docs` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zcc.agent.history.tally import Tally
from zcc.cli.exposition import CCACHE_NAMES, prometheus
from zcc.reasons import Reason

_HEAD = """\
# Metrics

<!-- Made by `make docs` from zcc/cli/exposition.py: do not edit it. -->

`zcc stats --format=prometheus` prints them: the text exposition format 0.0.4. They are one user's on one
machine, and no server listens. [How to collect them](../guide/numbers.md#for-prometheus) is in the guide.
Broker and nodes have none: `zcc nodes --json` and [the audit log](formats.md#the-audit-log) tell of them.

Counters begin at the last `zcc stats --zero`. Seconds are seconds, sizes are bytes.
A name is never given another meaning; a new one may come with each release.

"""
_CCACHE = """
## ccache's names

`zcc stats --format=ccache` prints a line `NAME TAB NUMBER` for each name that `ccache --print-stats` has
(ccache 4.14), so that what reads ccache's numbers reads zcc's. What has no like in zcc is 0. Each call is
counted once: as a hit, as a miss, as `recache`, or under
[the name that its reason has](reasons.md).

"""


def page() -> str:
    return _HEAD + "".join(f"{line}\n" for line in _rows()) + _CCACHE + _names()


def metrics() -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Of each metric's name: its type, its text, the names of its labels."""
    text = prometheus(_full())
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


def _rows() -> Iterator[str]:
    yield "| name | type | labels | what it is |"
    yield "| --- | --- | --- | --- |"
    for name, (kind, text, labels) in metrics().items():
        yield f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |"


def _names() -> str:
    return "".join(f"`{name}`\n" for name in CCACHE_NAMES)


if __name__ == "__main__":
    print(page(), end="")
