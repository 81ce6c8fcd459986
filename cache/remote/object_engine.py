"""Buckets of S3, Google Cloud Storage and Azure, and servers of files by HTTP, by obstore (the extra `s3`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import HTTPStore, ObjectStore, from_url

from cache.remote.engine import EngineError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_Item = TypeVar("_Item")
_Got = TypeVar("_Got")

# A request takes tens of milliseconds, nearly all of it waiting.
LANES = 16


class ObjectEngine:
    """The objects below a URL; nothing is tried twice here. `options` are obstore's, and may be secret.

    How long an object stays is the bucket's own business (a lifecycle rule).
    """

    at_once = 1
    lanes = LANES

    def __init__(
        self, url: str, options: Mapping[str, str], headers: Mapping[str, str], timeout_s: float
    ) -> None:
        timeout = timedelta(seconds=timeout_s)
        places = (url, options.get("endpoint", ""), options.get("aws_endpoint", ""))
        client: ClientConfig = {
            "timeout": timeout,
            "connect_timeout": timeout,
            "allow_http": any(place.startswith("http://") for place in places),
        }
        if headers:
            client["default_headers"] = dict(headers)
        retry: RetryConfig = {"max_retries": 0, "retry_timeout": timeout}
        self._store: ObjectStore
        make: Callable[..., ObjectStore] = from_url  # typed by cloud, which the URL says
        try:
            if url.startswith(("http://", "https://")):
                self._store = HTTPStore(url, client_options=client, retry_config=retry)
            else:
                self._store = make(url, client_options=client, retry_config=retry, **dict(options))
        except (BaseError, ValueError, TypeError) as error:
            raise _failure(error) from error
        self._pool = ThreadPoolExecutor(LANES, "tier")

    def get(self, names: Iterable[str]) -> dict[str, bytes]:
        asked = list(names)
        found = self._each(self._get, asked)
        return {name: value for name, value in zip(asked, found, strict=True) if value is not None}

    def put(self, values: Mapping[str, bytes]) -> None:
        self._each(lambda item: self._put(*item), list(values.items()))

    def remove(self, names: Iterable[str]) -> None:
        self._each(self._remove, list(names))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _each(self, work: Callable[[_Item], _Got], items: list[_Item]) -> list[_Got]:
        """At the same time, where it is more than one."""
        return [work(items[0])] if len(items) == 1 else list(self._pool.map(work, items))

    def _get(self, name: str) -> bytes | None:
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _failure(error) from error

    def _put(self, name: str, value: bytes) -> None:
        try:
            obstore.put(self._store, name, value, use_multipart=False)
        except (BaseError, OSError) as error:
            raise _failure(error) from error

    def _remove(self, name: str) -> None:
        try:
            obstore.delete(self._store, name)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            raise _failure(error) from error


def _failure(error: Exception) -> EngineError:
    said = _in_one_line(error)
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return EngineError(f"it refuses ({said}): see the credentials, and what they may do")
    if isinstance(error, UnknownConfigurationKeyError):
        return EngineError(f"an option or credential that it does not know: {said}")
    return EngineError(f"it does not answer as it should: {said}")


def _in_one_line(error: Exception) -> str:
    """obstore tells errors in paragraphs, with what it was told about them in the last."""
    words = " ".join(str(error).split("Debug source")[0].split())
    return words[:300]
