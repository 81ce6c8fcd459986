"""`zcc-broker keys` and `zcc-broker revoke`: who is a member, and who is one no more."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import Annotated

import typer

from broker.commands.options import DEFAULT_STATE, StateDir
from broker.membership.registry import MemberRow, Registry
from broker.state import require_state
from zcc.cli import layout, terminal
from zcc.messages import PeerRole

_MEMBERS = ("id", "role", "state", "enrolled", "seen", "address", "name")
_TOKENS = ("id", "gives role", "state", "made", "uses left")
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def register(app: typer.Typer) -> None:
    """Add the commands to the broker's."""
    app.command("revoke")(revoke)
    app.command("keys")(show_keys)


def revoke(
    key: Annotated[
        str,
        typer.Argument(
            metavar="NAME|ID", help="As in zcc-broker keys; a public key or a beginning does too."
        ),
    ],
    state: StateDir = DEFAULT_STATE,
) -> None:
    """Shut a member out: its sessions are dropped within a second."""
    require_state(state)
    with closing(Registry(state)) as registry:
        row = registry.revoke(key, time.time())
    print(f"revoked {row.id} ({row.role.value}, {row.label})")


def show_keys(
    state: StateDir = DEFAULT_STATE,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the members' keys and the join tokens.

    When a member was last seen is written down once a minute.
    """
    require_state(state)
    with closing(Registry(state)) as registry:
        rows = registry.rows()
    now = time.time()
    if as_json:
        print(json.dumps([_as_json(row, now) for row in rows], indent=2))
        return
    members = [row for row in rows if row.role is not PeerRole.JOINER]
    tokens = [row for row in rows if row.role is PeerRole.JOINER]
    columns = terminal.width()
    lines = layout.table(_MEMBERS, (_member(row, now) for row in members), columns)
    if tokens:
        lines += ["", "join tokens"]
        lines += layout.table(_TOKENS, (_token(row, now) for row in tokens), columns)
    print("\n".join(lines))


def _member(row: MemberRow, now: float) -> tuple[str, ...]:
    return (
        row.id, row.role.value, _state_of(row, now), _day(row.created),
        "never" if row.seen is None else _ago(now - row.seen), row.address, row.label,
    )  # fmt: skip


def _token(row: MemberRow, now: float) -> tuple[str, ...]:
    return (row.id, row.joins_as, _state_of(row, now), _day(row.created), str(row.uses_left))


def _day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at_s))


def _ago(seconds: float) -> str:
    for unit_s, name in _UNITS:
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f} {name} ago"
    return "now"


def _state_of(row: MemberRow, now: float) -> str:
    if row.revoked is not None:
        return "revoked"
    if row.uses_left == 0:
        return "used"
    return "valid" if row.is_valid(now) else "expired"


def _as_json(row: MemberRow, now: float) -> dict[str, str | float | int | None]:
    return {
        "id": row.id,
        "public_key": row.public_key,
        "role": row.role.value,
        "joins_as": row.joins_as,
        "label": row.label,
        "state": _state_of(row, now),
        "created": row.created,
        "expires": row.expires,
        "uses_left": row.uses_left,
        "seen": row.seen,
        "address": row.address,
    }
