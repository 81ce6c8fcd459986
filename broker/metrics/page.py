"""The page of metrics: made in steps, once a second at most, for whoever asks meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.core.farm import Farm
from broker.metrics.farm import counted_metrics, queue_metrics
from broker.metrics.nodes import NodeSums
from broker.metrics.tally import FarmTally
from zcc.exposition import Metric, exposition

# Who asks again within this time is given the same page: two scrapers cost what one does.
PAGE_S = 1.0


class Page:
    """`others` gives the metrics of everything but the farm; `now` is monotonic seconds."""

    def __init__(
        self,
        farm: Farm,
        tally: FarmTally,
        others: Callable[[], Iterable[Metric]],
        now: Callable[[], float],
    ) -> None:
        self._farm = farm
        self._tally = tally
        self._others = others
        self._now = now
        self._sums: NodeSums | None = None
        self._metrics: list[Metric] = []
        self._texts: dict[bool, str] = {}
        self._made_at = -PAGE_S

    def text(self, *, is_open: bool) -> str | None:
        """The page, in OpenMetrics or not; None: one step more is done, ask again."""
        if self._now() - self._made_at >= PAGE_S and not self._make():
            return None
        if is_open not in self._texts:
            self._texts[is_open] = exposition(self._metrics, is_open=is_open)
        return self._texts[is_open]

    def _make(self) -> bool:
        """A step of it; whether that was the last."""
        if self._sums is None:
            self._sums = NodeSums(self._farm)
        if self._sums.add_some():
            return False
        self._metrics = [
            *self._sums.metrics(),
            *queue_metrics(self._farm),
            *counted_metrics(self._tally),
            *self._others(),
        ]
        self._sums, self._made_at = None, self._now()
        self._texts.clear()
        return True
