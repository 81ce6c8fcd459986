"""A watcher's conversation with the broker: one session, a snapshot, then batch after batch.

Who is lost and comes back goes on where it was, if the broker still has that. `zcc/membership.py` decides
whether the session stands. A connection that says nothing is dialled again: libzmq gives one up for good over
a message that is too long for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from collections.abc import Callable
from typing import assert_never

import zmq

from cache.errors import BlobCorruptError
from zcc import __version__, codec
from zcc.dialling import Dialler
from zcc.errors import ConfigError, ProtocolError
from zcc.farm import Access
from zcc.link import DealerLink
from zcc.membership import (
    BeatDue,
    BrokerMisspoke,
    FramesCame,
    KeyAnswered,
    LeaveAsked,
    Lost,
    MemberEffect,
    MemberEvent,
    MemberSession,
    Opened,
    PassOver,
    Say,
    Suspended,
    Take,
)
from zcc.messages import (
    BEAT_S,
    LOST_AFTER_S,
    Happened,
    Hello,
    Message,
    Snapshot,
    Unknown,
    Watch,
)
from zcc.reasons import Reason

logger = logging.getLogger(__name__)

# Whose keys may watch.
WATCHING_ROLES = ("monitor", "admin")
# Before the handshake is over the link takes nothing; a broker that is there has ended it within a second.
_HELLO_AGAIN_S = 0.02
_HANDSHAKE_S = 1.0
_SILENT = "the broker does not answer"


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
        self.state = _SILENT
        self.refused = ""
        self.feed, self.next = feed, since
        self._access = access
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        name = f"{os.uname().nodename}:{os.getpid()}"
        hello = Hello(os.urandom(16), access.role, access.farm, name, __version__, 0, (), ())
        self._member = MemberSession(hello, self._loop.time())
        self._context = context
        self._dialler = Dialler(access, self._dial_anew)
        self._link = self._dial()
        self._beating = self._loop.call_soon(self._beat)

    @property
    def is_open(self) -> bool:
        return self._member.is_open

    def close(self) -> None:
        self._beating.cancel()
        self._dialler.close()
        self._tell(LeaveAsked("the watcher leaves"))
        self._link.close()

    # ---- the session ---------------------------------------------------------------------------

    def _dial(self) -> DealerLink:
        access = self._access
        self._dialled_s = self._heard_s = self._loop.time()  # it has as long to answer
        hears = self._received, self._greeted
        endpoint = self._dialler.endpoint
        return DealerLink(self._context, endpoint, access.broker_public, access.keys, *hears)

    def _dial_anew(self, _: str = "") -> None:
        self._link.close()
        self._link = self._dial()

    def _say(self, message: Message) -> bool:
        return self._link.send(codec.encode(message))

    def _beat(self) -> None:
        self._beating = self._loop.call_later(BEAT_S, self._beat)
        is_receiving = self._link.is_receiving()
        if is_receiving:
            self._heard_s = self._loop.time()
        elif not self.refused and self._loop.time() - self._heard_s > LOST_AFTER_S:
            self._dial_anew()
        self._tell(BeatDue(is_receiving))
        self._dialler.beat(self.is_open)

    def _greeted(self, is_member: bool) -> None:
        if self._dialler.believes(is_member):
            self._tell(KeyAnswered(is_member))

    def _received(self, frames: list[bytes]) -> None:
        self._heard_s = self._loop.time()
        self._tell(FramesCame(frames))

    def _tell(self, event: MemberEvent) -> None:
        try:
            for effect in self._member.handle(event, self._loop.time()):
                self._do(effect)
        except (ProtocolError, BlobCorruptError) as error:
            self._tell(BrokerMisspoke(ProtocolError(str(error))))

    def _do(self, effect: MemberEffect) -> None:
        match effect:
            case Take(message):
                if self.is_open:
                    self._take(message)
            case Say(message):
                is_hello_lost = not self._say(message) and isinstance(message, Hello)
                if is_hello_lost and self._loop.time() < self._dialled_s + _HANDSHAKE_S:
                    self._beating.cancel()
                    self._beating = self._loop.call_later(_HELLO_AGAIN_S, self._beat)
            case Opened():
                self.state = self.refused = ""
                self._begin()
            case Suspended():
                self.state = "the broker was restarted"
            case Lost():
                self._lose(effect)
            case PassOver():
                pass  # of a later release: nothing that was asked for
            case _:
                assert_never(effect)

    def _begin(self) -> None:
        """The session stands: say what for."""
        self._say(Watch(self.feed, self.next))

    def _lose(self, lost: Lost) -> None:
        match lost:
            case Lost(Reason.KEY_REVOKED):
                self._refuse(
                    "the broker does not take this key: it was revoked, or is another farm's"
                )
            case Lost(Reason.SESSION_REFUSED, detail):
                self._refuse(f"the broker refuses this watcher: {detail}")
            case Lost(Reason.PROTOCOL_ERROR, detail):
                # What follows would not fit what is known.
                self.feed, self.next = b"", 0
                self.state = f"the broker sent what it must not: {detail}"
            case Lost(Reason.BROKER_STOPPED):
                self.state = "the broker stops"
            case _:
                self.state = _SILENT
        logger.info("lost the farm: %s", self.state)

    def _refuse(self, reason: str) -> None:
        self.state = self.refused = reason

    # ---- what is told --------------------------------------------------------------------------

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
                    self._say(Watch(self.feed, self.next))
            case Unknown():
                self._refuse("the broker is older than this program, and tells no events")
            case _:
                pass  # Beat
