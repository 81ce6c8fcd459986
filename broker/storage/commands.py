"""`zcc-broker storage-token`, `storage-tokens`, `storage-revoke`: who may use the storage by HTTP."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum
from typing import Annotated

import typer

from broker.commands.options import DEFAULT_STATE, StateDir
from broker.membership.registry import Registry, is_public_key
from broker.state import require_state
from broker.storage.service import DIRECTORY
from broker.storage.tokens import NAME_LENGTH, StorageAccess, StorageTokens, TokenRow
from cache.values import purge_written, writers_in
from zcc.cli import layout, terminal
from zcc.config import parse_duration
from zcc.errors import ConfigError
from zcc.member_id import member_id

# A shorter beginning may be many writers'.
MIN_NAME = 8
# Writers that a message names: those of the most values.
_LISTED = 20


class TokenAccess(str, Enum):  # noqa: UP042 - typer's choices want plain strings
    READ = "read"
    WRITE = "write"


def make_token(
    label: Annotated[
        str, typer.Option(metavar="NAME", help="Whose it is, to know it by in the list.")
    ],
    access: Annotated[
        TokenAccess,
        typer.Option(help="read: what its holder stores is dropped, and he is not told."),
    ] = TokenAccess.READ,
    expires: Annotated[
        str,
        typer.Option(metavar="AGE", help="How long it is good: 30m, 1h, 7d; never, if not given."),
    ] = "",
    state: StateDir = DEFAULT_STATE,
) -> None:
    """Print a token for ccache's remote storage by HTTP. It is kept nowhere: a secret, shown once."""
    now = time.time()
    until = now + parse_duration(expires) if expires else None
    with _opened(state) as tokens:
        print(tokens.add(label, StorageAccess(access.value), now, until))


def revoke_token(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="A label, or the beginning of a hash.")
    ],
    state: StateDir = DEFAULT_STATE,
) -> None:
    """End a storage token, at once."""
    with _opened(state) as tokens:
        row = tokens.revoke(token, time.time())
    print(f"revoked {row.hash[:NAME_LENGTH]} ({row.access.value}, {row.label})")


def list_tokens(
    state: StateDir = DEFAULT_STATE,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the storage tokens by their hashes."""
    with _opened(state) as tokens:
        rows = tokens.rows()
    now = time.time()
    if as_json:
        print(json.dumps([_as_json(row, now) for row in rows], indent=2))
        return
    cells = [
        (row.hash[:NAME_LENGTH], row.access.value, _state_of(row, now), row.label) for row in rows
    ]
    print("\n".join(layout.table(("hash", "access", "state", "label"), cells, terminal.width())))


def purge(
    writer: Annotated[
        str,
        typer.Argument(
            metavar="ID|HASH",
            help="A member's id (zcc-broker keys) or public key, or a token's hash (storage-tokens);"
            f" of key and hash the first {MIN_NAME} characters, or more, will do. Whoever is neither a"
            " member nor a token, and has written nothing, is an error.",
        ),
    ],
    state: StateDir = DEFAULT_STATE,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Remove from ccache's storage what one key or token has written. The broker may run meanwhile."""
    if len(writer) < MIN_NAME:
        raise ConfigError(f"{writer!r} is too short a name: give {MIN_NAME} characters or more")
    require_state(state)
    directory = os.path.join(state, DIRECTORY)
    with closing(Registry(state)) as registry, _opened(state) as tokens:
        called = registry.key_called(writer)
        known = {row.public_key: row.public_key for row in registry.rows()}
        known |= {row.hash: row.hash[:NAME_LENGTH] for row in tokens.rows()}
    gone = purge_written(directory, _writer_called(called, known, writers_in(directory)))
    print(json.dumps({"removed": gone}) if as_json else f"removed {gone} of ccache's values")


def _writer_called(text: str, known: dict[str, str], written: Counter[str]) -> str:
    """The name, as values bear it, of the one writer whom the text means: of those `known`, by what they are
    called in full, or of those who have `written`, whom a registry from a backup need not know.

    Raises:
        ConfigError: none, or more than one.
    """
    found = {name for full, name in known.items() if full.startswith(text)}
    found |= {name for name in written if name.startswith(text)}
    # What a token is called in full, of which values bear the beginning.
    found = found or {
        name for name in written if len(name) == NAME_LENGTH and text.startswith(name)
    }
    if not found:
        there = ", ".join(
            f"{_spoken(name)} ({count})" for name, count in written.most_common(_LISTED)
        )
        raise ConfigError(
            f"nobody is called {text!r}; writers, with their values: {there or 'none'}"
        )
    if len(found) > 1:
        meant = ", ".join(sorted(map(_spoken, found)))
        raise ConfigError(f"{text!r} means {len(found)} writers, give more of one: {meant}")
    return found.pop()


def _spoken(writer: str) -> str:
    return f"{member_id(writer)} {writer}" if is_public_key(writer) else writer


def register(app: typer.Typer) -> None:
    app.command("storage-purge")(purge)
    app.command("storage-token")(make_token)
    app.command("storage-tokens")(list_tokens)
    app.command("storage-revoke")(revoke_token)


@contextmanager
def _opened(state: str) -> Iterator[StorageTokens]:
    require_state(state)
    tokens = StorageTokens(state)
    try:
        yield tokens
    finally:
        tokens.close()


def _state_of(row: TokenRow, now: float) -> str:
    if row.revoked is not None:
        return "revoked"
    return "valid" if row.is_valid(now) else "expired"


def _as_json(row: TokenRow, now: float) -> dict[str, str | float | None]:
    return {
        "hash": row.hash,
        "label": row.label,
        "access": row.access.value,
        "state": _state_of(row, now),
        "created": row.created,
        "expires": row.expires,
    }
