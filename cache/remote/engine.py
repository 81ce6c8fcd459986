"""What an engine has to be able to do: give, take and remove values by name, in batches.

An engine answers in a thread of its caller's, and raises EngineError when it cannot: a name that it lacks is
left out of the answer. What it gives is anybody's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from cache.errors import StoreError


class EngineError(StoreError):
    """It cannot be reached, refuses, or is full. The message says what to do, and holds no credentials."""


class Engine(Protocol):
    """`at_once` names are best asked for in one call, and `lanes` calls at a time.

    Raises (all methods):
        EngineError: it does not work now.
    """

    at_once: int
    lanes: int

    def get(self, names: Iterable[str]) -> dict[str, bytes]: ...

    def put(self, values: Mapping[str, bytes]) -> None: ...

    def remove(self, names: Iterable[str]) -> None: ...

    def close(self) -> None: ...


class MemoryEngine:
    """One that forgets everything with its process, for tests. `failure` is raised where it is set."""

    at_once = 32
    lanes = 2

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.failure: EngineError | None = None

    def get(self, names: Iterable[str]) -> dict[str, bytes]:
        self._fail()
        return {name: self.values[name] for name in names if name in self.values}

    def put(self, values: Mapping[str, bytes]) -> None:
        self._fail()
        self.values.update(values)

    def remove(self, names: Iterable[str]) -> None:
        self._fail()
        for name in names:
            self.values.pop(name, None)

    def close(self) -> None:
        pass

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
