"""The tiers that the broker's settings name, each a table of `tiers.toml`.

    [[tier]]
    url = "redis://cache.example.org:6379/0"
    name = "redis"                  # in numbers and messages; default the URL's scheme
    read_only = false
    max_age = "30d"                 # Redis alone; a bucket has a lifecycle rule for it
    max_value = "4M"                # a result with a larger output is not put there
    timeout = "1s"
    credentials = "redis.secret"    # a TOML file, beside this one or in $CREDENTIALS_DIRECTORY
    options = {region = "eu-1"}     # buckets alone: obstore's

Credentials stand in files of their own, which only their owner may read: `username` and `password` (Redis,
HTTP), `token` (HTTP), or what obstore calls those of a bucket. A bucket's may come from the environment too.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from broker.errors import StartError
from cache.remote.engine import Engine, EngineError
from zcc.config import parse_duration, parse_size
from zcc.documents import read_text, read_toml
from zcc.errors import ConfigError

FILE_NAME = "tiers.toml"
# Above what a job waits for an answer: what comes later fills the near store. A write may take as long.
DEFAULT_TIMEOUT_S = 1.0
LONGEST_TIMEOUT_S = 30
# Redis keeps a value in memory and sends it in one piece; a bucket does not mind.
REDIS_VALUE_BYTES = 4 << 20
BUCKET_VALUE_BYTES = 64 << 20
MOST_TIERS = 4
REDIS = ("redis", "rediss", "unix")
BUCKETS = ("s3", "gs", "az", "azure")
HTTP = ("http", "https")
_KEYS = ("url", "name", "read_only", "max_age", "max_value", "timeout", "credentials", "options")
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class TierSettings:
    """One table; `secrets` are what its credentials file says, and stand in no text of it."""

    url: str
    name: str
    read_only: bool = False
    max_age_s: int = 0
    max_value_bytes: int = REDIS_VALUE_BYTES
    timeout_s: float = DEFAULT_TIMEOUT_S
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme


def read_tiers(state_dir: str, path: str = "") -> list[TierSettings]:
    """The tiers in this file, or in `tiers.toml` of the state directory, where there is one; in order.

    Raises:
        ConfigError: it cannot be read, or a table says what there is not.
    """
    place = path or os.path.join(state_dir, FILE_NAME)
    try:
        document = read_toml(place)
    except FileNotFoundError as error:
        if path:
            raise ConfigError(f"there is no file {path}") from error
        return []
    unknown = document.keys() - {"tier"}
    if unknown:
        raise ConfigError(f"{place}: {unknown.pop()!r} is no setting here: [[tier]] is")
    tables = document.get("tier", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{place}: write each tier as a table that begins [[tier]]")
    if len(tables) > MOST_TIERS:
        raise ConfigError(f"{place}: {len(tables)} tiers, where {MOST_TIERS} are the most")
    tiers = [_tier(table, f"{place}: tier {at}", place) for at, table in enumerate(tables, 1)]
    names = [tier.name for tier in tiers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{place}: two tiers are called {name}: give one another `name`")
    return tiers


def _tier(table: dict[str, Any], where: str, place: str) -> TierSettings:
    unknown = table.keys() - set(_KEYS)
    if unknown:
        raise ConfigError(f"{where}: {unknown.pop()!r} is none of {', '.join(_KEYS)}")
    url = _text(table, "url", where)
    scheme = _check_url(url, where)
    name = _text(table, "name", where) or scheme
    if len(name) > _LONGEST_NAME or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(
            f"{where}: `name` is up to {_LONGEST_NAME} letters, digits, - and _, not {name!r}"
        )
    where = f"{where} ({name})"
    read_only = table.get("read_only", False)
    if not isinstance(read_only, bool):
        raise ConfigError(f"{where}: `read_only` is true or false")
    max_age = _text(table, "max_age", where)
    if max_age and scheme not in REDIS:
        raise ConfigError(
            f"{where}: `max_age` is for Redis: give the bucket or server a lifecycle rule of its own"
        )
    timeout_s = _parsed(parse_duration, _text(table, "timeout", where), DEFAULT_TIMEOUT_S, where)
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise ConfigError(f"{where}: `timeout` is from 1s to {LONGEST_TIMEOUT_S}s")
    options = table.get("options", {})
    if not isinstance(options, dict) or (options and scheme not in BUCKETS):
        raise ConfigError(f'{where}: `options` are for buckets: {{region = "..."}}')
    credentials = _text(table, "credentials", where)
    usual_bytes = REDIS_VALUE_BYTES if scheme in REDIS else BUCKET_VALUE_BYTES
    return TierSettings(
        url,
        name,
        read_only,
        int(_parsed(parse_duration, max_age, 0, where)),
        int(_parsed(parse_size, _text(table, "max_value", where), usual_bytes, where)),
        timeout_s,
        {key: _word(value) for key, value in options.items()},
        _secrets(credentials, place, where) if credentials else {},
    )


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{where}: write `{key}` in quotes")
    return value


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parsed(parse: Callable[[str], float], text: str, otherwise: float, where: str) -> float:
    if not text:
        return otherwise
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_url(url: str, where: str) -> str:
    """Its scheme."""
    known = (*REDIS, *BUCKETS, *HTTP)
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None or parts.username is not None
    except ValueError as error:
        raise ConfigError(f"{where}: {url!r} is no URL: {error}") from error
    if parts.scheme not in known:
        raise ConfigError(
            f"{where}: `url` is redis://HOST:PORT/0, s3://BUCKET/PREFIX, gs://..., az://... or https://...,"
            f" not {url!r}"
        )
    if has_password:
        raise ConfigError(
            f"{where}: take the user and the password out of the URL, which is shown in logs, and write"
            ' them in a file: credentials = "FILE"'
        )
    return parts.scheme


def _secrets(name: str, place: str, where: str) -> dict[str, str]:
    """What the credentials file says."""
    directories = (os.environ.get("CREDENTIALS_DIRECTORY", ""), os.path.dirname(place))
    for directory in filter(None, directories):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            break
    else:
        raise ConfigError(f"{where}: there is no file {name} beside {place}")
    read_text(path, is_secret=True)
    return {key: _word(value) for key, value in read_toml(path).items()}


def open_engine(tier: TierSettings) -> Engine:
    """What talks with it. Its library is loaded now, and not before: a farm without tiers needs none.

    Raises:
        StartError: the library is not installed, or makes nothing of these settings.
    """
    secrets = tier.secrets
    try:
        if tier.scheme in REDIS:
            from cache.remote.redis_engine import RedisEngine  # noqa: PLC0415

            user, password = secrets.get("username", ""), secrets.get("password", "")
            return RedisEngine(tier.url, user, password, tier.timeout_s, tier.max_age_s)
        from cache.remote.object_engine import ObjectEngine  # noqa: PLC0415

        if tier.scheme in HTTP:
            return ObjectEngine(tier.url, {}, _headers(secrets), tier.timeout_s)
        return ObjectEngine(tier.url, {**tier.options, **secrets}, {}, tier.timeout_s)
    except ImportError as error:
        extra = "redis" if tier.scheme in REDIS else "s3"
        raise StartError(
            f"the tier {tier.name} needs a library: pip install 'zcc-farm[{extra}]'"
        ) from error
    except EngineError as error:
        raise StartError(f"the tier {tier.name}: {error}") from error


def _headers(secrets: Mapping[str, str]) -> dict[str, str]:
    if "token" in secrets:
        return {"Authorization": f"Bearer {secrets['token']}"}
    if "username" in secrets:
        pair = f"{secrets['username']}:{secrets.get('password', '')}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}
