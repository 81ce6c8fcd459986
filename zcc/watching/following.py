"""Where a watcher's events come from: the broker, for as long as one looks, or a recording at its own pace.

Each batch that is heard is the present told anew if it begins with `farm`, and otherwise what happened next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import zmq

from cache.frame import decompress
from zcc.errors import ConfigError
from zcc.events import MAX_EVENTS_BYTES, FarmEvent, FarmShown, unpack_events
from zcc.farm import Access
from zcc.messages import Happened, Snapshot
from zcc.reaching import why_unreachable
from zcc.watching.session import WatchSession

_LOOK_S = 0.1
# Who was refused asks again: a key may be given its role, a broker may be upgraded.
_AGAIN_S = 15.0
# A broker that is there answers within a beat: who hears nothing for so long looks why, and looks again.
_WONDER_S = 5.0
# In which a broker that is there has mostly answered: who asks once need not wait longer where none is.
_DIAL_S = 1.0

Heard = Callable[[list[FarmEvent]], None]


@dataclass(frozen=True, slots=True)
class FeedStanding:
    """How it stands with the source. `why` says why nothing comes; `advice`, for who may know where the broker
    is, what is wrong there and what to do. A replay that is over has no more to tell."""

    is_up: bool
    why: str = ""
    advice: str = ""
    is_replay: bool = False
    is_over: bool = False


async def follow(access: Access, heard: Heard, said: Callable[[FeedStanding], None]) -> None:
    """Tell what the broker tells, until this is cancelled; `said` is called several times a second.

    Raises:
        ConfigError: this key may not watch.
    """
    context = zmq.Context[zmq.Socket[bytes]]()
    try:
        while True:
            session = WatchSession(context, access, lambda message: heard(_events_of(message)))
            try:
                refusal = await _attend(session, access.where, said)
            finally:
                session.close()
            said(FeedStanding(False, refusal, f"asked again in {_AGAIN_S:.0f} s"))
            await asyncio.sleep(_AGAIN_S)
    finally:
        context.term()


async def _attend(
    session: WatchSession, endpoint: str, said: Callable[[FeedStanding], None]
) -> str:
    """Until the broker says no: why."""
    loop = asyncio.get_running_loop()
    lost_s, wonder_s, advice = loop.time(), _WONDER_S, ""
    while not session.refused:
        if session.is_open:
            lost_s, wonder_s, advice = loop.time(), _WONDER_S, ""
        elif loop.time() - lost_s > wonder_s:
            advice = await asyncio.to_thread(_silence, endpoint)
            wonder_s = loop.time() - lost_s + _WONDER_S
        why = "" if session.is_open else session.state
        said(FeedStanding(session.is_open, why, advice))
        await asyncio.sleep(_LOOK_S)
    return session.refused


async def hear_present(access: Access, timeout_s: float) -> list[FarmEvent]:
    """The farm's present, as a snapshot tells it.

    Raises:
        ConfigError: this key may not watch, or the broker does not answer in time: why, and what to do.
    """
    found: list[list[FarmEvent]] = []
    context = zmq.Context[zmq.Socket[bytes]]()
    session = WatchSession(context, access, lambda message: found.append(_events_of(message)))
    loop = asyncio.get_running_loop()
    began_s, is_dialled = loop.time(), False
    try:
        while not (found or session.refused) and loop.time() < began_s + timeout_s:
            await asyncio.sleep(_LOOK_S)
            if not (session.is_open or is_dialled) and loop.time() > began_s + _DIAL_S:
                is_dialled = True
                if await asyncio.to_thread(why_unreachable, access.where):
                    break
    finally:
        session.close()
        context.term()
    if not found:
        advice = await asyncio.to_thread(_silence, access.where)
        raise ConfigError(session.refused or f"{session.state}: {advice}")
    return found[0]


async def replay(
    recording: Iterable[list[FarmEvent]],
    speed: float,
    heard: Heard,
    said: Callable[[FeedStanding], None],
) -> None:
    """Tell a recording: so many times as fast as it happened; 0: all at once.

    Raises:
        ConfigError: it is damaged; what came before that was told.
    """
    loop = asyncio.get_running_loop()
    said(FeedStanding(True, is_replay=True))
    began: tuple[float, int] | None = None
    for batch in filter(None, recording):
        if isinstance(batch[0], FarmShown) or began is None:
            began = loop.time(), batch[-1].at_ms
        elif speed > 0:
            due_s = began[0] + (batch[-1].at_ms - began[1]) / 1000 / speed
            await asyncio.sleep(max(0.0, due_s - loop.time()))
        heard(batch)
        await asyncio.sleep(0)
    said(FeedStanding(True, is_replay=True, is_over=True))


def _events_of(message: Snapshot | Happened) -> list[FarmEvent]:
    return unpack_events(decompress(message.body, MAX_EVENTS_BYTES))


def _silence(endpoint: str) -> str:
    """Why the broker does not answer, and what to do."""
    return why_unreachable(endpoint) or (
        f"something listens at {endpoint}, and is not this farm's broker, or stands still, or does not take"
        " this key: is it in zcc-broker keys? Else ask for a new token"
    )
