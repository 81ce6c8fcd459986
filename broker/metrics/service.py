"""The metrics as the broker's shell has them: their door, and the page behind it."""

from __future__ import annotations

import asyncio
import logging

from broker.core.farm import Farm
from broker.http.door import HttpDoor
from broker.metrics.http import ScrapePremises
from broker.metrics.page import Page
from broker.metrics.shell import Lag, ShellNumbers
from broker.metrics.tally import FarmTally

logger = logging.getLogger(__name__)

DEFAULT_ADDRESS = "127.0.0.1:8319"
# Few read them; each is a descriptor and at most a page in memory.
MAX_SCRAPES = 64


class Metrics:
    """Bound from construction until `close`, and open from `start` on.

    Raises:
        StartError: the address cannot be listened on.
    """

    def __init__(self, address: str) -> None:
        self._page: Page | None = None
        self._lag: Lag | None = None
        self._tally = FarmTally()
        now = asyncio.get_running_loop().time
        self._premises = ScrapePremises(now=now, text_of=self._text)
        self._door = HttpDoor(address, self._premises, "--metrics", MAX_SCRAPES)

    @property
    def address(self) -> tuple[str, int]:
        return self._door.address

    def show(self, farm: Farm, numbers: ShellNumbers) -> None:
        """This farm's, which is counted from now on."""
        farm.tally, self._lag = self._tally, numbers.lag
        self._page = Page(farm, self._tally, numbers.metrics, self._premises.now)

    async def start(self) -> None:
        await self._door.start()
        logger.info("metrics at http://%s:%d/metrics", *self._door.address)

    def tick(self, now: float) -> None:
        """A period of the shell's has passed, which is how late its loop is."""
        if self._lag is not None:
            self._lag.note(now)
        self._door.tick(now)
        if self._tally.failure is not None:
            failure, self._tally.failure = self._tally.failure, None
            raise failure

    def close(self) -> None:
        self._door.close()

    def _text(self, is_open: bool) -> str | None:
        assert self._page is not None, "the door was opened before there was anything to show"
        return self._page.text(is_open=is_open)
