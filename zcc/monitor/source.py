"""Where the page's events come from: the broker, or a recording at the pace at which it was made."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from zcc.events import FarmEvent, FarmShown
from zcc.farm import Access
from zcc.monitor.server import Feed
from zcc.watching import following
from zcc.watching.following import FeedStanding

ENDED = "ended"


def take(feed: Feed, batch: list[FarmEvent]) -> None:
    """A batch, or a snapshot, which begins with `farm`."""
    if batch and isinstance(batch[0], FarmShown):
        feed.broadcast.restart(batch)
    else:
        feed.broadcast.add(batch)
    feed.ring_bell()


def _say(feed: Feed, standing: FeedStanding) -> None:
    """Readers of the page are not told where the broker is."""
    why = ENDED if standing.is_over else standing.why
    feed.say_source(is_up=standing.is_up, why=why, is_replay=standing.is_replay)


async def watch(feed: Feed, access: Access) -> None:
    """Tell what the broker tells, until this is cancelled.

    Raises:
        ConfigError: this key may not watch.
    """
    await following.follow(access, partial(take, feed), partial(_say, feed))


async def replay(feed: Feed, recording: Iterable[list[FarmEvent]], speed: float) -> None:
    """Tell a recording: so many times as fast as it happened; 0: all at once."""
    await following.replay(recording, speed, partial(take, feed), partial(_say, feed))
