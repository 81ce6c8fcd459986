"""What a service manager is told by the process that it has started: sd_notify(3), in its few lines.

Written here and not taken from a package: `sdnotify` has had no release since 2017 and knows no timeout, and
`systemd-python` needs libsystemd and its headers on each machine. The protocol is one datagram of `NAME=VALUE`
lines, which systemd promises to keep.

Without NOTIFY_SOCKET nothing is said to anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

logger = logging.getLogger(__name__)

# Three chances for each ping that is due: one late turn of the loop ends no process.
_PINGS_A_PERIOD = 3
# How often the status is looked at.
STATUS_S = 5.0
# A manager whose queue is full for so long hears nothing more.
_SEND_TIMEOUT_S = 1.0
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """One end of a notify socket. `address`: its path, or `@` and an abstract name; empty: there is none.
    `watchdog_s`: within so long of each other pings have to come; 0: nobody waits for any.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._socket = _connected(address)
        self._watchdog_s = watchdog_s if self._socket is not None else 0.0
        self._told = ""
        self._timers: list[asyncio.TimerHandle] = []

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """The manager that has started this process. The variables are taken out, so that no child of ours
        speaks in our name."""
        address, period, pid = (environment.pop(name, "") for name in _VARIABLES)
        is_ours = not pid or pid == str(os.getpid())
        watchdog_s = int(period) / 1e6 if is_ours and period.isdigit() else 0.0
        return cls(address, watchdog_s)

    @property
    def is_there(self) -> bool:
        return self._socket is not None

    def ready(self, status: str) -> None:
        """It serves; also said when a reload is over."""
        self._told = _line(status)
        self._say("READY=1", f"STATUS={self._told}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`, said when it has changed."""
        line = _line(text)
        if line != self._told:
            self._told = line
            self._say(f"STATUS={line}")

    def reloading(self) -> None:
        """Settings are read again, until `ready`."""
        # systemd waits for this clock's time since 253, to know our answer from an older one.
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str, within_s: float = 0.0) -> None:
        """It ends; where `within_s` is given, so long may it take from now on, whatever the unit says."""
        more = (f"EXTEND_TIMEOUT_USEC={int(within_s * 1e6)}",) if within_s else ()
        self._told = _line(status)
        self._say("STOPPING=1", f"STATUS={self._told}", *more)

    def watch(self, status: Callable[[], str]) -> None:
        """From now on ping from the running loop, as long as it runs, and say what `status` gives."""
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        if self._watchdog_s:
            faulthandler.enable()  # the manager's SIGABRT then has each thread say where it hangs
            self._repeat(loop, self._watchdog_s / _PINGS_A_PERIOD, lambda: self._say("WATCHDOG=1"))
        self._repeat(loop, STATUS_S, lambda: self.status(status()))

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _repeat(
        self, loop: asyncio.AbstractEventLoop, every_s: float, act: Callable[[], None]
    ) -> None:
        at = len(self._timers)

        def again() -> None:
            self._timers[at] = loop.call_later(every_s, again)
            act()

        self._timers.append(loop.call_later(0, again))

    def _say(self, *lines: str) -> None:
        if self._socket is not None:
            # A manager that is gone or deaf must end no farm.
            with contextlib.suppress(OSError):
                self._socket.send("\n".join(lines).encode())


def _line(text: str) -> str:
    return " ".join(text.split())


def _connected(address: str) -> socket.socket | None:
    if not address:
        return None
    if not address.startswith(("/", "@")):
        logger.warning("NOTIFY_SOCKET=%s: no such kind of address is known here", address)
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        made.settimeout(_SEND_TIMEOUT_S)
        made.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        logger.warning("NOTIFY_SOCKET=%s: %s", address, error.strerror)
        made.close()
        return None
    return made
