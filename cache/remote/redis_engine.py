"""Redis, Valkey and what speaks as they do, by redis-py (the extra `redis`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cache.remote.engine import EngineError

_FULL = "it is full: give it a maxmemory-policy that evicts (allkeys-lru), or more memory"


class RedisEngine:
    """One database of one server, by a URL without a password.

    `expires_s` is how long it keeps a value; 0: as long as its own policy has it. Nothing is tried twice here:
    what fails is a miss, and the breaker's business.
    """

    at_once = 64
    lanes = 2

    def __init__(
        self, url: str, username: str, password: str, timeout_s: float, expires_s: int = 0
    ) -> None:
        self._expires_s = expires_s or None
        try:
            self._client = redis.Redis.from_url(
                url,
                username=username or None,
                password=password or None,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                protocol=2,  # which Redis 5 and older speak too
            )
        except ValueError as error:
            raise EngineError(f"{url}: {error}") from error

    def get(self, names: Iterable[str]) -> dict[str, bytes]:
        asked = list(names)
        if not asked:
            return {}
        try:
            values: list[Any] = self._client.mget(asked)
        except redis.RedisError as error:
            raise _failure(error) from error
        return {name: value for name, value in zip(asked, values, strict=True) if value is not None}

    def put(self, values: Mapping[str, bytes]) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for name, value in values.items():
                    pipeline.set(name, value, ex=self._expires_s)
                pipeline.execute()
        except redis.RedisError as error:
            raise _failure(error) from error

    def remove(self, names: Iterable[str]) -> None:
        asked = list(names)
        try:
            if asked:
                self._client.unlink(*asked)
        except redis.RedisError as error:
            raise _failure(error) from error

    def close(self) -> None:
        self._client.close()


def _failure(error: redis.RedisError) -> EngineError:
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM" in str(error):
        return EngineError(_FULL)
    if isinstance(error, redis.exceptions.AuthenticationError):
        return EngineError(f"it lets us in no further ({error}): see the credentials file")
    if isinstance(error, redis.exceptions.NoPermissionError):
        return EngineError(
            f"it forbids this ({error}): its user needs +mget +set +unlink on ~zcc1/*"
        )
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return EngineError("it is a replica, which takes no writes: name the primary, or read_only")
    return EngineError(f"it does not answer as it should: {error}")
