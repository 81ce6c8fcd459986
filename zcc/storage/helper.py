"""`ccache-storage-zcc`: ccache (from 4.13 on) starts it for `CCACHE_REMOTE_STORAGE=zcc://`.

Serves the socket that ccache names until it has idled as long as ccache wishes. `zcc://` alone is the farm that
its user has joined, `zcc://HOST:PORT` the same farm's broker at another address. Whatever fails here costs
misses: ccache logs our words (CCACHE_LOGFILE) and compiles.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping

import zmq

from cache.values import MAX_KEY_BYTES, MAX_VALUE_BYTES, MIN_KEY_BYTES
from zcc import __version__
from zcc import config as configuration
from zcc.errors import BadEndpointError, ConfigError, ZccError
from zcc.farm import load_access
from zcc.logs import log_to
from zcc.reaching import split_endpoint
from zcc.storage import crsh
from zcc.storage.session import FarmAwayError, StorageSession

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
_BACKLOG = 512
# Read ahead of what a request is known to be.
_BUFFER_BYTES = 1 << 20
# What ccache 4.14 wishes.
DEFAULT_IDLE_S = 600.0
_USAGE = """ccache-storage-zcc is started by ccache (4.13 or newer), when it finds it on PATH:

    CCACHE_REMOTE_STORAGE=zcc://    # the farm that you have joined (zcc join TOKEN)
"""


def endpoint_in(url: str) -> str:
    """The broker's endpoint that a storage URL names; empty: that of the joined farm.

    Raises:
        ConfigError: it is not one of our URLs.
    """
    scheme, _, rest = url.partition(":")
    place = rest.strip("/")  # ccache has been seen to make `zcc:` of `zcc://`
    endpoint = f"tcp://{place}" if place else ""
    try:
        if endpoint:
            split_endpoint(endpoint)
    except BadEndpointError:
        scheme = ""
    if scheme != "zcc":
        raise ConfigError(f"{url!r}: write zcc:// or zcc://HOST:PORT")
    return endpoint


class Helper:
    """Answers ccaches; `left` is set when it is time to go."""

    def __init__(self, session: StorageSession | None, trouble: str, idle_s: float) -> None:
        self.left = asyncio.Event()
        self._session = session
        self._trouble = trouble
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._used_s = self._loop.time()
        self._visitors = 0

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One ccache, from its connection to its end."""
        self._visitors += 1
        try:
            if not _is_ours(writer.get_extra_info("socket")):
                return
            writer.write(crsh.GREETING)
            while not self.left.is_set():
                request = await crsh.read_request(reader, MAX_VALUE_BYTES)
                writer.write(await self._answer(request))
                await writer.drain()
        except (asyncio.IncompleteReadError, crsh.MalformedRequestError, OSError):
            pass  # it has left, or is to
        finally:
            writer.close()
            self._visitors -= 1
            self._used_s = self._loop.time()

    async def wait_idle(self) -> None:
        """Set `left` when no ccache has been here for long enough; 0: never.

        One that is here may be waiting for its compiler, to store what that makes.
        """
        while self._idle_s:
            rest_s = self._used_s + self._idle_s - self._loop.time()
            if rest_s <= 0 and not self._visitors:
                self.left.set()
                return
            await asyncio.sleep(max(rest_s, 1.0))

    async def _answer(self, request: crsh.Request) -> bytes:
        match request:
            case crsh.Stop():
                self.left.set()
                return crsh.OK
            case crsh.Info():
                return crsh.info(f"ccache-storage-zcc {__version__}", [self._diagnosis()])
        if self._session is None:
            return crsh.error(self._trouble)
        if not MIN_KEY_BYTES <= len(request.key) <= MAX_KEY_BYTES:
            return crsh.NOOP
        try:
            return await self._ask(self._session, request)
        except FarmAwayError as error:
            return crsh.error(str(error))

    async def _ask(
        self, session: StorageSession, request: crsh.Get | crsh.Put | crsh.Remove | crsh.Exists
    ) -> bytes:
        match request:
            case crsh.Get(key):
                value = await session.get(key)
                return crsh.NOOP if value is None else crsh.value(value)
            case crsh.Put(key, is_overwriting, value):
                is_done = bool(value) and await session.put(key, value or b"", is_overwriting)
            case crsh.Remove(key):
                is_done = await session.remove(key)
            case crsh.Exists(key):
                is_done = await session.exists(key)
        return crsh.OK if is_done else crsh.NOOP

    def _diagnosis(self) -> str:
        if self._session is None:
            return self._trouble
        return "connected to the farm" if self._session.is_open else self._session.state


def _is_ours(peer: socket.socket) -> bool:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(raw)[1] == os.geteuid())


def _listen(path: str) -> socket.socket:
    """A socket at `path`, in the place of a dead one.

    Raises:
        OSError: a living one is there, or the directory cannot be written.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # whoever listened was killed; ccache holds a lock while we start
        except FileNotFoundError:
            pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.umask(0o077)
    listener.bind(path)
    listener.listen(_BACKLOG)
    return listener


async def _run(path: str, environment: Mapping[str, str]) -> None:
    listener = _listen(path)
    mark = os.stat(path)
    context = zmq.Context[zmq.Socket[bytes]]()
    session, trouble = _open_session(context, environment)
    idle = environment.get("CRSH_IDLE_TIMEOUT", "")
    helper = Helper(session, trouble, float(idle) if idle.isdigit() else DEFAULT_IDLE_S)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, helper.left.set)
    server = await asyncio.start_unix_server(helper.visit, sock=listener, limit=_BUFFER_BYTES)
    idling = loop.create_task(helper.wait_idle())
    try:
        await helper.left.wait()
    finally:
        idling.cancel()
        server.close()
        _remove(path, mark)
        if session is not None:
            session.close()
        context.term()


def _open_session(
    context: zmq.Context[zmq.Socket[bytes]], environment: Mapping[str, str]
) -> tuple[StorageSession | None, str]:
    """The session, or why there is none: ccache would wait 10 s for a helper that says nothing."""
    try:
        config = configuration.load(environment)
        endpoint = endpoint_in(environment.get("CRSH_URL", "")) or config.broker
        directory, follows = configuration.config_dir(environment), config.follow == "on"
        access = load_access(directory, endpoint, follows=follows)
        if access is None:
            return None, "no farm joined: zcc join TOKEN"
        name = f"{os.uname().nodename}:{os.getpid()}:ccache"
        return StorageSession(context, access, name), ""
    except (ZccError, zmq.ZMQError) as error:
        return None, str(error)


def _remove(path: str, mark: os.stat_result) -> None:
    """Remove our socket, and not the one of a helper that has come after us."""
    try:
        found = os.stat(path)
        if (found.st_dev, found.st_ino) == (mark.st_dev, mark.st_ino):
            os.unlink(path)
    except OSError:
        pass


def main() -> None:
    """The program that ccache starts: no output, an exit status."""
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(_USAGE, end="")
        return
    environment = dict(os.environ)
    path = environment.get("CRSH_IPC_ENDPOINT")
    if not path:
        sys.exit(_USAGE)
    log_to(logging.StreamHandler(), logging.CRITICAL, "%(levelname)s %(name)s: %(message)s")
    path = os.path.abspath(path)
    os.chdir("/")  # the build's directory is not ours to keep busy
    try:
        asyncio.run(_run(path, environment))
    except OSError as error:
        sys.exit(f"ccache-storage-zcc: {path}: {error.strerror}")


if __name__ == "__main__":
    main()
