"""Who only looks on at the core must not end anybody's session. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar


class Onlooker(Protocol):
    """`failure` is a mistake of ours while it looked on: what it has may lack something since."""

    failure: Exception | None


Told = ParamSpec("Told")
AnyOnlooker = TypeVar("AnyOnlooker", bound=Onlooker)


def harmless(
    method: Callable[Concatenate[AnyOnlooker, Told], None],
) -> Callable[Concatenate[AnyOnlooker, Told], None]:
    """Whatever goes wrong in this method is kept for who owns the onlooker, and goes no further."""

    @wraps(method)
    def call(self: AnyOnlooker, /, *args: Told.args, **more: Told.kwargs) -> None:
        try:
            method(self, *args, **more)
        except Exception as error:  # noqa: BLE001 - its owner tells of it
            self.failure = error

    return call
