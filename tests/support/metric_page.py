"""A broker's numbers in numbers, without a broker: for the page and the lists of metrics."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

from broker.core.farm import Farm
from broker.metrics.page import Page
from broker.metrics.shell import ShellNumbers
from broker.metrics.tally import FarmTally
from broker.tiers.numbers import TierNumbers
from zcc.reasons import Reason


def numbers() -> ShellNumbers:
    link: Any = SimpleNamespace(connections=(3, 5), received_bytes=7, sent_bytes=9, refused=1)
    tiers = [TierNumbers("redis", "closed", "open", hits=3, bad={"forged": 1})]
    results: Any = SimpleNamespace(figures=lambda: (10, 100, 2), tiers=lambda: tiers)
    spool: Any = SimpleNamespace(size_bytes=4, directory="/")
    storage: Any = SimpleNamespace(figures=lambda: (20, 200), counts=Counter(hits=6))
    failures: Any = SimpleNamespace(count=0)
    counts = Counter(joins=2, violations=1)
    return ShellNumbers("/", link, results, spool, storage, failures, counts, 0.1)


def full_page(*, is_open: bool = False) -> str:
    """A page on which each metric has a sample."""
    farm, tally = Farm("farm", random.Random(1), 0.0), FarmTally()
    tally.refused(Reason.BROKER_DISK)
    page = Page(farm, tally, numbers().metrics, lambda: 1.0)
    while (text := page.text(is_open=is_open)) is None:
        pass
    return text
