"""What goes along with a compile beyond what its source includes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provision:
    """Paths as the compiler spells them, absolute or relative to the working directory.

    `required` files have to exist. `optional` ones go along where they exist, and their absence counts where
    they do not; so do `mentioned` ones, which only other files name, below the roots. `directories` are shown
    where they exist; `listed` as well, and the compiler may go through their entries. `has_code`: some of it is
    code of the user's that runs inside the compiler.
    """

    required: tuple[bytes, ...] = ()
    optional: tuple[bytes, ...] = ()
    mentioned: tuple[bytes, ...] = ()
    directories: tuple[bytes, ...] = ()
    listed: tuple[bytes, ...] = ()
    has_code: bool = False


NOTHING = Provision()


def together(provisions: Iterable[Provision]) -> Provision:
    """All of them, in their order."""
    parts = [each for each in provisions if each is not NOTHING]
    return Provision(
        required=tuple(path for each in parts for path in each.required),
        optional=tuple(path for each in parts for path in each.optional),
        mentioned=tuple(path for each in parts for path in each.mentioned),
        directories=tuple(path for each in parts for path in each.directories),
        listed=tuple(path for each in parts for path in each.listed),
        has_code=any(each.has_code for each in parts),
    )
