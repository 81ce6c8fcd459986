"""What this machine gives the farm now: the orders to this node, what its owner does, and what follows.

Brings `node/orders.py`, `node/owner.py` and the rules of `node/core/lending.py` together, once for each beat.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from node.core.lending import Lending, LendingMode
from node.errors import NodeError
from node.orders import Orders
from node.owner import Owner
from zcc.messages import Offer

logger = logging.getLogger(__name__)


class Host:
    """One machine's side of a node. `make_owner` makes what looks at it, once a mode asks for that."""

    def __init__(
        self,
        lending: Lending,
        mode: LendingMode,
        orders: Orders | None = None,
        make_owner: Callable[[], Owner] = Owner,
    ) -> None:
        """Raises:
        NodeError: this mode needs what this machine does not show.
        """
        self._lending = lending
        self._orders = orders
        self._make_owner = make_owner
        self._owner: Owner | None = None
        self._lent = -1
        self._choose(mode)

    def offer(self, now: float) -> Offer:
        """What was lent after the last look."""
        return self._lending.offer(now)

    def look(self, sandboxes: Iterable[int], now: float) -> tuple[Offer, bool]:
        """What the node lends from now on, and whether it was told to leave. `sandboxes`: the first process of
        each."""
        wants_leave = False
        if self._orders is not None:
            self._follow(self._orders)
            wants_leave = self._orders.take_drain()
        if self._owner is not None and self._lending.mode.needs_looking:
            seen = self._owner.look(sandboxes, now)
            if seen is not None:
                self._lending.see(seen, now)
        offer = self._lending.offer(now)
        if offer.slots != self._lent:
            self._lent = offer.slots
            logger.info("slots that are lent: %d%s", offer.slots, offer.why and f" ({offer.why})")
        return offer, wants_leave

    def _follow(self, orders: Orders) -> None:
        mode = orders.changed_mode()
        if mode is None or mode is self._lending.mode:
            return
        try:
            self._choose(mode)
        except NodeError as error:
            logger.error("the mode stays %s: %s", self._lending.mode.value, error)
        else:
            logger.info("the mode is %s from now on", mode.value)

    def _choose(self, mode: LendingMode) -> None:
        if mode.needs_looking and self._owner is None:
            self._owner = self._make_owner()
        if self._owner is not None:
            self._owner.forget()
        self._lending.choose(mode)
