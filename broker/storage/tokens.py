"""Who may use the storage over HTTP: one SQLite file of tokens' hashes, shared by the broker's commands.

A token is `zccs.` and 32 random bytes in base64url. Its SHA-256 is all that is kept: with 256 random bits there
is nothing to guess, so a slow hash would only cost time at each request. Times are Unix seconds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import sqlite3
from dataclasses import dataclass
from enum import Enum

from broker.errors import RegistryError
from broker.revocations import Revocations
from zcc.printable import printable

FILE_NAME = "ccache-tokens.sqlite"
_PREFIX = "zccs."
_TOKEN_BYTES = 32
_MAX_TOKEN = 200
MAX_LABEL = 200
_BUSY_MS = 5_000

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


NAME_LENGTH = 12


class Access(Enum):
    """What a token, or a member of the farm, may do."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Row:
    """One token; `hash` is how it is named to revoke it."""

    hash: str
    label: str
    access: Access
    created: float
    expires: float | None
    revoked: float | None

    def is_valid(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)


class StorageTokens:
    """Raises RegistryError when the file cannot be opened."""

    def __init__(self, state_dir: str) -> None:
        path = os.path.join(state_dir, FILE_NAME)
        try:
            os.makedirs(state_dir, mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
            self._revocations = Revocations(state_dir)
            self._unite()
        except (OSError, sqlite3.Error) as error:
            raise RegistryError(f"cannot open the tokens' file {path}: {error}") from error

    def _unite(self) -> None:
        """What this file or that of revocations says is revoked, is: either may be older."""
        written = self._revocations.read()
        revoked: dict[str, float] = {}
        for row in self.rows():
            if row.revoked is None and row.hash in written:
                self._revoke(row.hash, written[row.hash])
            elif row.revoked is not None and row.hash not in written:
                revoked[row.hash] = row.revoked
        self._revocations.add(revoked)

    def close(self) -> None:
        self._db.close()

    def add(self, label: str, access: Access, now: float, expires: float | None) -> str:
        """Make a token; what is returned is kept nowhere."""
        token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        label = printable(label[:MAX_LABEL])
        self._db.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, NULL)",
            (_hash(token), label, access.value, now, expires),
        )
        return token

    def access_of(self, token: str, now: float) -> Access | None:
        """What this token allows now; None: nothing. A revocation counts at once."""
        if not token.startswith(_PREFIX) or len(token) > _MAX_TOKEN:
            return None
        rows = self._select("WHERE hash = ?", _hash(token))
        return rows[0].access if rows and rows[0].is_valid(now) else None

    def revoke(self, selector: str, now: float) -> Row:
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
        self._revocations.add({found[0].hash: now})
        self._revoke(found[0].hash, now)
        return found[0]

    def _revoke(self, hash_: str, at: float) -> None:
        self._db.execute("UPDATE tokens SET revoked = ? WHERE hash = ?", (at, hash_))

    def rows(self) -> list[Row]:
        """All tokens, oldest first."""
        return self._select("ORDER BY created, hash")

    def _select(self, tail: str, *values: str) -> list[Row]:
        columns = "hash, label, access, created, expires, revoked"
        found = self._db.execute(f"SELECT {columns} FROM tokens {tail}", values).fetchall()
        return [Row(row[0], row[1], Access(row[2]), *row[3:]) for row in found]


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
