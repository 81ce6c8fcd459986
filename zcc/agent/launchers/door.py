"""The agent's Unix socket: launchers, and the CLI's control requests.

Both speak first. A launcher's request begins with `ZCC\\1` (see wire.py), a control request with `ZCC\\2`
(see control.py). Only processes of our own user are heard.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import struct

from zcc.agent.launchers.connection import Answerer, Visitor
from zcc.agent.launchers.peer import Caller
from zcc.errors import ConfigError

logger = logging.getLogger(__name__)

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
_SO_PEERGROUPS = 59
_GROUPS_BYTES = 1024  # Python asks for no more
_BACKLOG = 512
# Connections that are taken before the loop sees to others again.
_BATCH = 64
# Without a free descriptor, for so long.
REST_S = 1.0


class Door:
    """An open door at `path`: whoever comes is handed to the host."""

    def __init__(self, listener: socket.socket, path: str, host: Answerer) -> None:
        self._path = os.path.abspath(path)
        self._identity = self._found()
        listener.setblocking(False)
        self._listener = listener
        self._host = host
        self._last_number = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Let nobody in any more; who is inside stays."""
        if self._listener.fileno() < 0:
            return
        if self.is_in_place():
            os.unlink(self._path)
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def hand_over(self) -> None:
        """Leave the path to another agent. Who stands at the door by now is still let in."""
        if self._listener.fileno() < 0 or not self.is_in_place():
            return
        os.unlink(self._path)
        # The other's socket may well get the inode that this one had.
        self._identity = None
        self._loop.call_soon(self._accept)
        self._loop.call_soon(self.close)

    def is_in_place(self) -> bool:
        """Whether whoever looks for the path comes here: a build may have cleaned its HOME away with it."""
        return self._identity is not None and self._found() == self._identity

    def _found(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns

    def _accept(self) -> None:
        for _ in range(_BATCH):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor is free: launchers wait, and give up in time
                logger.error("cannot take a connection: %s", error)
                self._rest()
                return
            pid, user, group = _credentials(connection)
            if user == os.geteuid():
                self._last_number += 1
                caller = Caller(pid, _groups(connection, group))
                Visitor(self._host, self._last_number, connection, caller).welcome()
            else:
                connection.close()

    def _rest(self) -> None:
        descriptor = self._listener.fileno()
        self._loop.remove_reader(descriptor)
        self._loop.call_later(REST_S, self._resume)

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self._accept)


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of who has connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, group = _CREDENTIALS.unpack(raw)
    return pid, user, group


def _groups(connection: socket.socket, group: int) -> frozenset[int] | None:
    """All groups of who has connected, whose own is `group`; None: too many, or a Linux before 4.13."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        return None
    return frozenset((group, *struct.unpack(f"{len(raw) // 4}I", raw)))


def open_door(path: str, host: Answerer) -> Door:
    """Listen at `path` in a directory in which only we can make files. It may be anything, somebody's home or
    /run, so that its mode is its owner's: we make it when there is none, and change nothing.

    Raises:
        ConfigError: the directory is not ours alone, another agent listens there, or the file is no socket.
    """
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    status = os.stat(directory)
    where = "the agent's socket (ZCC_SOCKET) has to lie in a directory of this user's alone"
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{directory} belongs to another user: {where}")
    if status.st_mode & stat.S_ISVTX:  # /tmp, which root must not close to all others
        raise ConfigError(f"{directory} is for all users: {where}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):  # the launcher's rule, too
        raise ConfigError(f"others may write to {directory} (chmod go-w): {where}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        # Through a descriptor, for a path may be longer than a socket's address.
        place = f"/proc/self/fd/{handle}/{os.path.basename(path)}"
        if _is_served(place):
            raise ConfigError(f"another agent listens at {path}")
        if os.path.lexists(place):
            if not stat.S_ISSOCK(os.lstat(place).st_mode):
                raise ConfigError(f"{path} (ZCC_SOCKET) is there, and is no socket")
            os.unlink(place)
        listener.bind(place)
        listener.listen(_BACKLOG)
    except (OSError, ConfigError):
        listener.close()
        raise
    finally:
        os.close(handle)
    return Door(listener, path, host)


def _is_served(place: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(place)
        except OSError:
            return False
        return True
