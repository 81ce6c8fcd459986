"""Where zcc keeps its files, and what is set: the environment over the user's `config.toml` over the machine's,
over defaults.

`config.toml`, in ZCC_CONFIG_DIR or the platform's place for configuration, and in /etc/zcc:

    cc = "gcc"            # what plain `zcc -c x.c` runs; default cc
    cxx = "g++"           # what plain `zcc++ -c x.cc` runs; default c++
    broker = "tcp://..."  # instead of the address that the join token named; or _zcc._tcp.DOMAIN
    follow = "on"         # off: a broker that cannot be reached is not looked for in the networks at hand
    slots = 4             # local compiles and links at a time; default one a processor
    local = "sooner"      # a free slot takes from the farm what it would end sooner; fallback: it does not
    idle_minutes = 10     # the agent leaves after this long without a compile
    remote_timeout_s = 3600  # a remote compile without an answer so long after its start is done locally
    cache = "on"          # off: results are neither looked up nor kept; refresh: kept, not looked up;
                          # read: looked up, not kept
    cache_size = "5G"     # what the results of this user may take on disk
    memory = "256M"       # what the agent may remember of sources and jobs, beside some 40 MB of its own
    cache_dir = ""        # instead of the platform's place for caches
    base_dir = ""         # a checkout's root, or "auto": share results between checkouts
    verify = 0.0          # the share of remote and remembered compiles that are done here too, and compared
    events = "on"         # off: the farm's watchers are told no names of files and builds, and no counts
    log = "info"          # debug, info, warning or error
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import platformdirs

from zcc.capacity import processors
from zcc.errors import ConfigError
from zcc.logs import LEVELS
from zcc.reaching import check_address
from zcc.settings.layers import Layered, read_layers, user_dir
from zcc.settings.schema import Schema, Setting

FILE_NAME = "config.toml"
# When this machine compiles what the farm could.
SOONER, FALLBACK = "sooner", "fallback"
CACHE_MODES = ("on", "off", "refresh", "read")
# One large C++ source with its headers.
MIN_MEMORY_BYTES = 16 << 20
_SIZE = re.compile(r"([0-9]{1,19})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_DURATION = re.compile(r"([0-9]{1,10})([smhd])")
# What SQLite and every other program take of bytes; and of seconds a century, so that clocks do.
MAX_SIZE_BYTES = (1 << 62) - 1
MAX_DURATION_S = 100 * 365 * 86400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# They go before the settings when the agent starts; others when a call comes (zcc/variables.py).
_OVER_SETTINGS = {
    "ZCC_BROKER": "broker",
    "ZCC_LOG": "log",
    "ZCC_LOCAL": "local",
    "ZCC_CC": "cc",
    "ZCC_CXX": "cxx",
}


def config_dir(environment: Mapping[str, str]) -> str:
    return user_dir(environment)


def state_dir(environment: Mapping[str, str]) -> str:
    """Toolchains, log and statistics; and the agent's socket when ZCC_STATE_DIR is set."""
    return environment.get("ZCC_STATE_DIR") or platformdirs.user_state_dir("zcc", False)


def cache_dir(environment: Mapping[str, str], config: Config) -> str:
    """Where this user's results are kept: by `config.toml`, beside a state directory of one's own, or in
    the platform's place for caches."""
    if config.cache_dir:
        return os.path.expanduser(config.cache_dir)
    if state := environment.get("ZCC_STATE_DIR"):
        return os.path.join(state, "cache")
    return platformdirs.user_cache_dir("zcc", False)


def socket_path(environment: Mapping[str, str]) -> str:
    """Where the agent listens: the same rule as in `zcc/launcher/agent.c`.

    Without ZCC_STATE_DIR and a runtime directory the name carries the host's, because a home
    directory may be shared by several machines and a socket is not.
    """
    if explicit := environment.get("ZCC_SOCKET"):
        return explicit
    if state := environment.get("ZCC_STATE_DIR"):
        return os.path.join(state, "agent.sock")
    if os.path.isabs(runtime := environment.get("XDG_RUNTIME_DIR", "")):
        return os.path.join(runtime, "zcc", "agent.sock")
    name = f"agent.{os.uname().nodename}.sock"
    return os.path.join(platformdirs.user_state_dir("zcc", False), name)


@dataclass(frozen=True, slots=True)
class Config:
    """What the user may set. Units as in the names."""

    cc: str = "cc"
    cxx: str = "c++"
    broker: str = ""
    follow: str = "on"
    slots: int = 0
    local: str = SOONER
    idle_minutes: float = 10.0
    remote_timeout_s: float = 3600.0
    cache: str = "on"
    cache_size: str = "5G"
    cache_dir: str = ""
    memory: str = "256M"
    base_dir: str = ""
    verify: float = 0.0
    events: str = "on"
    log: str = "info"

    @property
    def local_slots(self) -> int:
        return self.slots or processors()

    @property
    def cache_bytes(self) -> int:
        return parse_size(self.cache_size)

    @property
    def memory_bytes(self) -> int:
        return parse_size(self.memory)


def parse_size(text: str) -> int:
    """Bytes of `10G`, `500M`, `64KiB`, `1048576`: units of 1024.

    Raises:
        ConfigError: it is none of these.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not a size: write 500M or 10G")
    size_bytes = int(match[1]) << _SHIFTS[match[2].upper()]
    if size_bytes > MAX_SIZE_BYTES:
        raise ConfigError(f"{text!r} is too large a size: less than {MAX_SIZE_BYTES + 1 >> 40}T")
    return size_bytes


def parse_duration(text: str) -> int:
    """Seconds of `30m`, `1h`, `7d`, `90s`.

    Raises:
        ConfigError: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not a duration: write 30m, 1h or 7d")
    duration_s = int(match[1]) * _SECONDS[match[2]]
    if duration_s > MAX_DURATION_S:
        raise ConfigError(f"{text!r} is too long: {MAX_DURATION_S // 86400}d at the most")
    return duration_s


def parse_share(text: str) -> float:
    """From 0 to 1: `1%`, `0.01`.

    Raises:
        ConfigError: it is none of these.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"{text!r} is not a share: write 1% or 0.01")
    return share


def load(environment: Mapping[str, str]) -> Config:
    """The configuration in force.

    Raises:
        ConfigError: a file that is not TOML, an unknown name, a value that cannot be.
    """
    return Config(**found_settings(environment).values)


def found_settings(environment: Mapping[str, str]) -> Layered:
    """What is set, and for each where: a file's path, or a variable's name. Raises as `load` does."""
    found = read_layers(SCHEMA, environment)
    for variable, name in _OVER_SETTINGS.items():
        if value := environment.get(variable):
            if expected := expected_of(name, value):
                raise ConfigError(f"{variable}={value}: expected {expected}")
            found.values[name] = value
            found.origins[name] = variable
    return found


def expected_of(name: str, value: Any) -> str:
    """What is allowed of this setting, where this value of the right type is not; empty where it is."""
    match name:
        case "broker" if value:
            return "" if _is_taken(check_address, value) else "tcp://HOST:PORT or _zcc._tcp.DOMAIN"
        case "log":
            return "" if value in LEVELS else _one_of(LEVELS)
        case "events" | "follow":
            return "" if value in ("on", "off") else "on or off"
        case "local":
            return "" if value in (SOONER, FALLBACK) else f"{SOONER} or {FALLBACK}"
        case "cache":
            return "" if value in CACHE_MODES else _one_of(CACHE_MODES)
        case "cache_size":
            return "" if _is_taken(parse_size, value) else "a size: 500M or 10G"
        case "memory":
            enough = _is_taken(parse_size, value) and parse_size(value) >= MIN_MEMORY_BYTES
            return "" if enough else f"a size from {MIN_MEMORY_BYTES >> 20}M on"
        case "verify":
            return "" if _is_taken(parse_share, str(value)) else "a share: a number from 0 to 1"
        case "base_dir":
            return "" if is_base_dir(value) else "auto, or the absolute path of a directory"
        case _:
            return ""


def is_base_dir(value: str) -> bool:
    """Whether it is what `base_dir` may be; empty for none."""
    return value in ("", "auto") or os.path.isabs(value)


def _is_taken(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ConfigError:
        return False
    return True


def _one_of(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _why_wrong(name: str, value: Any) -> str:
    expected = expected_of(name, value)
    return f"expected {expected}" if expected else ""


SCHEMA = Schema(
    FILE_NAME,
    {
        field.name: Setting(type(field.default), field.default, partial(_why_wrong, field.name))
        for field in fields(Config)
    },
)
