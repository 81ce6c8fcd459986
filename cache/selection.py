"""Which results are meant, in a purge or a question, and the same in SQL. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selection:
    """Which results: all that match everything that is given. Times are Unix seconds."""

    used_before_s: float | None = None
    made_before_s: float | None = None
    node: str = ""
    node_key: str = ""
    user: str = ""
    toolchain_prefix: bytes = b""
    key_prefix: bytes = b""


ALL = Selection()


def conditions(selection: Selection) -> tuple[str, Sequence[object]]:
    """The conditions behind `WHERE space = ?`, and their values."""
    terms: list[tuple[str, object]] = []
    if selection.used_before_s is not None:
        terms.append(("used < ?", selection.used_before_s))
    if selection.made_before_s is not None:
        terms.append(("made < ?", selection.made_before_s))
    for column in ("node", "node_key", "user"):
        value = getattr(selection, column)
        if value:
            terms.append((f"{column} = ?", value))
    for column, prefix in (
        ("toolchain", selection.toolchain_prefix),
        ("key", selection.key_prefix),
    ):
        if prefix:
            terms.append((f"substr({column}, 1, {len(prefix)}) = ?", prefix))
    return "".join(f" AND {term}" for term, _ in terms), [value for _, value in terms]
