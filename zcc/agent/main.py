"""`zcc-agent serve`: started by the first launcher; rarely by hand."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import resource
import signal
import sys
from dataclasses import replace

from zcc import config as configuration
from zcc.agent.launchers.door import Door, open_door
from zcc.agent.launchers.inheritance import (
    FOREIGN_IDLE_S,
    is_in_foreign_root,
    put_back,
    start_below_manager,
)
from zcc.agent.launchers.starting import say_ready, tell_slots
from zcc.agent.launchers.succession import (
    BUILD_VARIABLE,
    Installation,
    Succession,
    build_of,
    own_files,
)
from zcc.agent.shell import AgentShell
from zcc.errors import ConfigError
from zcc.farm import load_access
from zcc.logs import log_to

# One agent's log; a developer's day is far below it.
_LOG_BYTES = 4 << 20
# Below it neither toolchains nor many launchers at once can be served.
_LEAST_FILES = 128
# How soon an agent leaves whose socket somebody has taken away.
_LOOK_EVERY_S = 2.0


def main() -> None:
    """Serve until idle, stopped or told to leave."""
    put_back()
    try:
        _need_files()
        path = configuration.socket_path(os.environ)
        if start_below_manager(os.environ, path):
            say_ready(os.environ, path)
            return
        asyncio.run(_serve())
    except ConfigError as error:
        sys.exit(f"zcc-agent: {error}")


async def _serve() -> None:
    environment = dict(os.environ)
    config = configuration.load(environment)
    if is_in_foreign_root():
        config = replace(config, idle_minutes=min(config.idle_minutes, FOREIGN_IDLE_S / 60))
    state = configuration.state_dir(environment)
    os.makedirs(state, mode=0o700, exist_ok=True)
    _log_to(os.path.join(state, "agent.log"), config.log)
    access = load_access(
        configuration.config_dir(environment), config.broker, follows=config.follow == "on"
    )
    path = configuration.socket_path(environment)
    home = os.fsencode(environment.get("HOME") or "/")
    cache = configuration.cache_dir(environment, config)
    succession = Succession(Installation(own_files()), build_of(environment.get(BUILD_VARIABLE)))
    shell = AgentShell(config, access, state, cache, home, succession)
    try:
        door = open_door(path, shell)
        shell.hand_over = door.hand_over
        try:
            tell_slots(path, config.local_slots)
        except OSError as error:  # launchers go by the processors then
            logging.warning("cannot tell launchers of %d slots: %s", config.local_slots, error)
        say_ready(os.environ, path)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, shell.stop)
        logging.info("listening at %s for %s", path, access.farm if access else "no farm")
        watching = loop.create_task(_leave_with(door, shell))
        await shell.left
        watching.cancel()
        door.close()
    finally:
        await shell.close()


async def _leave_with(door: Door, shell: AgentShell) -> None:
    """Nobody can come to an agent whose socket is gone."""
    while door.is_in_place() or shell.is_busy:
        await asyncio.sleep(_LOOK_EVERY_S)
    logging.info("the socket is gone: leaving")
    shell.stop()


def _need_files() -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < _LEAST_FILES:
        raise ConfigError(
            f"only {files} open files are allowed (ulimit -n): {_LEAST_FILES} are needed"
        )


def _log_to(path: str, level: str) -> None:
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace"
    )
    log_to(handler, level.upper(), "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
