"""A watcher's conversation with the broker: one session, a snapshot, then batch after batch.

Who is lost and comes back goes on where it was, if the broker still has that. Whatever a connection was lost
for, it is dialled again: libzmq gives one up for good over a message that is too long for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from collections.abc import Callable

import zmq

from cache.errors import BlobCorruptError
from zcc import __version__, codec
from zcc.errors import ConfigError, ProtocolError, UnknownKindError
from zcc.farm import Access
from zcc.link import DealerLink
from zcc.messages import (
    BEAT_S,
    LOST_AFTER_S,
    Beat,
    Bye,
    Happened,
    Hello,
    Message,
    Refused,
    Snapshot,
    Unknown,
    Watch,
    Welcome,
    Who,
)

logger = logging.getLogger(__name__)

# Whose keys may watch.
WATCHING_ROLES = ("monitor", "admin")
_HELLO_AGAIN_S = 0.02


def check_role(access: Access, place: str = "~/.config/zcc/monitor") -> None:
    """That this key is one to watch with; `place` is where another one would lie.

    Raises:
        ConfigError: its role may not watch.
    """
    if access.role not in WATCHING_ROLES:
        raise ConfigError(f"this key is a {access.role}'s: to watch, {advice(place)}")


def advice(place: str) -> str:
    """How to get a key to watch with that lies in this directory, and leaves the one that compiles alone."""
    return (
        "ask for a token of zcc-broker token --role monitor, then"
        f" ZCC_CONFIG_DIR={shlex.quote(place) if ' ' in place else place} zcc join -"
    )


class WatchSession:
    """One session with the broker that `access` names, in a running loop.

    `heard` is called with each Snapshot and Happened, in order and without a gap but before a Snapshot; if it
    raises ProtocolError or BlobCorruptError, a snapshot is asked for anew. `feed` and `since` are where to go
    on; an empty feed begins with a snapshot. `refused` is why the broker has said no for good, and `state`, for
    people, how it stands while the session is not open.

    Raises:
        ConfigError: this key's role may not watch.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        access: Access,
        heard: Callable[[Snapshot | Happened], None],
        feed: bytes = b"",
        since: int = 0,
    ) -> None:
        check_role(access)
        self.state = "the broker does not answer"
        self.refused = ""
        self.is_open = False
        self.feed, self.next = feed, since
        self._access = access
        self._heard = heard
        self._session = os.urandom(16)
        self._name = f"{os.uname().nodename}:{os.getpid()}"
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._link = self._dial()
        self._beating = self._loop.call_soon(self._beat)

    def close(self) -> None:
        self._beating.cancel()
        self._send(Bye("the watcher leaves"))
        self._link.close()

    def _dial(self) -> DealerLink:
        access = self._access
        self._misspoke = False
        self._heard_s = self._loop.time()  # it has as long to answer
        hears = self._received, self._greeted
        return DealerLink(self._context, access.endpoint, access.broker_public, access.keys, *hears)

    def _send(self, message: Message) -> bool:
        return self._link.send(codec.encode(message))

    def _beat(self) -> None:
        wait_s = BEAT_S
        if not self._misspoke and self._link.is_receiving():
            self._heard_s = self._loop.time()
        if not self.refused and self._loop.time() - self._heard_s > LOST_AFTER_S:
            if self.is_open:
                self._lose("the broker does not answer")
            self._link.close()
            self._link = self._dial()
        if self.is_open:
            self._send(Beat(0.0))
        elif not self._misspoke and not self._hello():
            wait_s = _HELLO_AGAIN_S  # before the handshake is over the link takes nothing
        self._beating = self._loop.call_later(wait_s, self._beat)

    def _hello(self) -> bool:
        access = self._access
        return self._send(
            Hello(self._session, access.role, access.farm, self._name, __version__, 0, (), ())
        )

    def _greeted(self, is_member: bool) -> None:
        if not is_member:
            self._refuse("the broker does not take this key: it was revoked, or is another farm's")

    def _lose(self, state: str) -> None:
        if self.is_open:
            logger.info("lost the farm: %s", state)
        self.is_open, self.state = False, state

    def _refuse(self, reason: str) -> None:
        self._lose(reason)
        self.refused = reason

    def _received(self, frames: list[bytes]) -> None:
        if self._misspoke:
            return
        self._heard_s = self._loop.time()
        try:
            self._take(codec.decode(frames))
        except UnknownKindError:
            pass  # of a later release: nothing that was asked for
        except (ProtocolError, BlobCorruptError) as error:
            # What follows would not fit what is known: from a new connection on, with a snapshot.
            self.feed, self.next, self._misspoke = b"", 0, True
            self._lose(f"the broker sent what it must not: {error}")

    def _take(self, message: Message) -> None:
        match message:
            case Snapshot(feed, number):
                self.feed, self.next = feed, number
                self._heard(message)
            case Happened(feed, number):
                if feed == self.feed and number == self.next:
                    self.next += 1
                    self._heard(message)
                elif feed != self.feed or number > self.next:
                    self._send(Watch(self.feed, self.next))
            case Welcome():
                self.is_open, self.state, self.refused = True, "", ""
                self._send(Watch(self.feed, self.next))
            case Who():
                self._lose("the broker was restarted")
                self._hello()
            case Bye("revoked"):
                self._refuse("this key was revoked")
            case Bye():
                self._lose("the broker stops")
            case Refused(_, reason):
                self._refuse(f"the broker refuses this watcher: {reason}")
            case Unknown():
                self._refuse("the broker is older than this program, and tells no events")
            case _:
                pass  # Beat
