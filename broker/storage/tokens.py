"""Who may use the storage over HTTP: one SQLite file of tokens' hashes, shared by the broker's commands.

A token is `zccs.` and 32 random bytes in base64url. Its SHA-256 is all that is kept: with 256 random bits there
is nothing to guess, so a slow hash would only cost time at each request. Times are Unix seconds.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import logging
import os
import secrets
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from broker.errors import RegistryError, StateError
from broker.membership.revocations import Revocations
from broker.membership.table import Table
from zcc.printable import printable

logger = logging.getLogger(__name__)

FILE_NAME = "ccache-tokens.sqlite"
_PREFIX = "zccs."
_TOKEN_BYTES = 32
_MAX_TOKEN = 200
MAX_LABEL = 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    hash TEXT PRIMARY KEY,   -- SHA-256 of the token, hexadecimal
    label TEXT NOT NULL,
    access TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,            -- NULL: never
    revoked REAL             -- when, or NULL
) STRICT
"""
_KINDS: tuple[Any, ...] = (str, str, str, float, (float, type(None)), (float, type(None)))


NAME_LENGTH = 12


class StorageAccess(Enum):
    """What a token, or a member of the farm, may do."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token; `hash` is how it is named to revoke it."""

    hash: str
    label: str
    access: StorageAccess
    created: float
    expires: float | None
    revoked: float | None

    def is_valid(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)


class StorageTokens:
    """The tokens of the file, as the file of revocations lets them be.

    Raises:
        StateError: by the constructor and each method: the file cannot be read or written.
    """

    def __init__(self, state_dir: str) -> None:
        self._table = Table(os.path.join(state_dir, FILE_NAME), _SCHEMA)
        self._revocations = Revocations(state_dir)
        try:
            self._copy()
        except StateError:
            self._table.close()
            raise

    def _copy(self) -> None:
        """Write down here and in the file of revocations what each lacks, as the registry does."""
        revoked, written = {row.hash: row.revoked for row in self.rows()}, self._written()
        self._table.take_over(
            "SELECT hash FROM tokens WHERE revoked IS NULL",
            "UPDATE tokens SET revoked = ? WHERE hash = ?",
            written,
        )
        self._revocations.add(
            {name: at for name, at in revoked.items() if at is not None and name not in written}
        )

    def close(self) -> None:
        self._table.close()

    def add(self, label: str, access: StorageAccess, now: float, expires: float | None) -> str:
        """Make a token; what is returned is kept nowhere."""
        token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        label = printable(label[:MAX_LABEL])
        self._table.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, NULL)",
            (_hash(token), label, access.value, now, expires),
        )
        return token

    def access_of(self, token: str, now: float) -> StorageAccess | None:
        """What this token allows now; None: nothing. A revocation counts at once."""
        if not token.startswith(_PREFIX) or len(token) > _MAX_TOKEN:
            return None
        rows = self._select("WHERE hash = ?", _hash(token))
        return rows[0].access if rows and rows[0].is_valid(now) else None

    def revoke(self, selector: str, now: float) -> TokenRow:
        """Revoke the one token that has this label, or a hash that begins so.

        Raises:
            RegistryError: none, or more than one.
        """
        live = [row for row in self.rows() if row.revoked is None]
        exact = [row for row in live if selector in (row.hash, row.label)]
        found = exact or [row for row in live if selector and row.hash.startswith(selector)]
        if not found:
            raise RegistryError(f"no live token {selector!r}: see zcc-broker storage-tokens")
        if len(found) > 1:
            raise RegistryError(f"{selector!r} means {len(found)} tokens: give more of the hash")
        self._revoke(found[0].hash, now)
        return found[0]

    def _revoke(self, hash_: str, now: float) -> None:
        is_written = self._revocations.add({hash_: now})
        try:
            self._table.execute("UPDATE tokens SET revoked = ? WHERE hash = ?", (now, hash_))
        except StateError as error:
            if not is_written:
                raise
            logger.warning("revoked in the file of revocations alone: %s", error.reason)

    def rows(self) -> list[TokenRow]:
        """All tokens, oldest first."""
        return self._select("ORDER BY created, hash")

    def _select(self, tail: str, *values: str) -> list[TokenRow]:
        columns = "hash, label, access, created, expires, revoked"
        found = self._table.execute(f"SELECT {columns} FROM tokens {tail}", values)
        rows, written = [self._row(each) for each in found], self._written()
        return [
            replace(row, revoked=written[row.hash])
            if row.revoked is None and row.hash in written
            else row
            for row in rows
        ]

    def _row(self, found: tuple[Any, ...]) -> TokenRow:
        if all(isinstance(*each) for each in zip(found, _KINDS, strict=True)):
            with contextlib.suppress(ValueError):
                return TokenRow(found[0], found[1], StorageAccess(found[2]), *found[3:])
        raise self._table.damaged(found)

    def _written(self) -> dict[str, float]:
        """What the file of revocations says is revoked, and since when."""
        try:
            return self._revocations.read()
        except OSError as error:
            raise StateError(
                self._revocations.path, f"it cannot be read: {error.strerror}"
            ) from error


def token_in(authorization: bytes) -> str:
    """The token of an Authorization header's value: a bearer's, or basic's password; else empty."""
    scheme, _, rest = authorization.decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode("latin-1")
        except (binascii.Error, ValueError):
            return ""
        return pair.partition(":")[2]
    return ""


def name_of(token: str) -> str:
    """What the list of tokens calls it by, and what stands in the values that its holder has stored."""
    return _hash(token)[:NAME_LENGTH]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
