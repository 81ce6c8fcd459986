"""The keys that may speak to this broker: one SQLite file, shared by its commands.

`serve` reads it for every new connection; `token`, `revoke` and `keys` are separate processes that
change or show it while `serve` runs. Times are Unix seconds: they are compared across processes.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import string
import time
from collections.abc import Iterable
from dataclasses import dataclass

from broker.errors import EnrolError, RegistryError
from broker.revocations import Revocations
from zcc.errors import TokenError
from zcc.keys import member_id, public_of
from zcc.messages import OTHER_ROLE, Role
from zcc.printable import printable

logger = logging.getLogger(__name__)

FILE_NAME = "registry.sqlite"
_BUSY_MS = 5_000
_KEY_LENGTH = 40  # Z85 of 32 bytes
_Z85 = frozenset(string.ascii_letters + string.digits + ".-:+=^!/*?&<>()[]{}@%$#")
MAX_LABEL = 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    public_key TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    joins_as TEXT NOT NULL DEFAULT '',  -- of a joiner: the role that it enrols others under
    label TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,                       -- NULL: never
    uses_left INTEGER,                  -- of a joiner; NULL of others
    revoked REAL                        -- when, or NULL
) STRICT
"""
# What came later: when the member was last heard and from which address, as far as that was written down.
_ADDED = (("seen", "REAL"), ("address", "TEXT NOT NULL DEFAULT ''"))
_COLUMNS = "public_key, role, joins_as, label, created, expires, uses_left, revoked, seen, address"
# Beginnings of keys shorter than that are more likely a slip than meant.
_LEAST_BEGINNING = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One key. Times are Unix seconds."""

    public_key: str
    role: Role
    joins_as: str
    label: str
    created: float
    expires: float | None
    uses_left: int | None
    revoked: float | None
    seen: float | None = None
    address: str = ""

    @property
    def id(self) -> str:
        """What people call it; t-... is a join token."""
        called = member_id(self.public_key)
        return f"t{called[1:]}" if self.role is Role.JOINER else called

    def is_valid(self, now: float) -> bool:
        return (
            self.revoked is None
            and (self.expires is None or now < self.expires)
            and (self.uses_left is None or self.uses_left > 0)
        )


def is_public_key(text: str) -> bool:
    """Whether this can be a CURVE public key in Z85."""
    return len(text) == _KEY_LENGTH and _Z85.issuperset(text)


class Registry:
    """Raises RegistryError when the file cannot be opened."""

    def __init__(self, state_dir: str) -> None:
        path = os.path.join(state_dir, FILE_NAME)
        try:
            os.makedirs(state_dir, mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
            self._add_columns()
            self._revocations = Revocations(state_dir)
            self._unite()
        except (OSError, sqlite3.Error) as error:
            raise RegistryError(f"cannot open the key registry {path}: {error}") from error
        self._version = self._data_version()

    def close(self) -> None:
        self._db.close()

    def _unite(self) -> None:
        """What the registry or the file of revocations says is revoked or used, is: either may be older."""
        written, left = self._revocations.read(), self._revocations.uses_left()
        revoked: dict[str, float] = {}
        used_up: dict[str, int] = {}
        for row in self.rows():
            key = row.public_key
            if row.revoked is None and key in written:
                self._db.execute(
                    "UPDATE keys SET revoked = ? WHERE public_key = ?", (written[key], key)
                )
            elif row.revoked is not None and key not in written:
                revoked[key] = row.revoked
            if row.uses_left is None:
                continue
            if row.uses_left > left.get(key, row.uses_left):
                self._db.execute(
                    "UPDATE keys SET uses_left = ? WHERE public_key = ?", (left[key], key)
                )
            elif not row.uses_left and key not in left:
                used_up[key] = 0
        self._revocations.add(revoked)
        self._revocations.add_uses(used_up, time.time())

    def add_joiner(
        self, public_key: str, joins_as: Role, now: float, expires: float, uses: int
    ) -> None:
        """Register a join token's own key."""
        self._insert(
            Row(public_key, Role.JOINER, joins_as.value, "join token", now, expires, uses, None)
        )

    def add(self, public_key: str, role: Role, label: str, now: float) -> None:
        """Register a key outright, for a program that made it itself."""
        self._insert(Row(public_key, role, "", label[:MAX_LABEL], now, None, None, None))

    def enrol(self, joiner: str, public_key: str, label: str, now: float) -> Role:
        """Use up a join token for this key; returns its role. Enrolling twice is once.

        Raises:
            EnrolError: the token is used up, expired or revoked, or the key is not acceptable.
        """
        if not is_public_key(public_key):
            raise EnrolError("this is not a CURVE public key")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            token, role, known = *self._token(joiner), self.find(public_key)
            if known is not None and known.revoked is None and known.role is role:
                return role  # the answer was lost, the joiner asks again
            # A registry that is older than the key does not know it; the file does.
            is_revoked = known is None and public_key in self._revocations.read()
            if is_revoked or (known is not None and known.revoked is not None):
                raise EnrolError(
                    "this key was revoked: zcc leave --local (zcc-node leave --local) removes it, and joining"
                    " then makes a new one"
                )
            if known is not None:
                raise EnrolError(f"{OTHER_ROLE}: {known.role.value}")
            self._use_up(token, now)
            self.add(public_key, role, printable(label), now)
        return role

    def rejoin(self, secret: str, public_key: str, label: str, now: float) -> tuple[str, Role]:
        """Give a member, who has shown that the key is his, a join token's role; (the token's key, role).

        Raises:
            EnrolError: the token is none, used up, expired or revoked, or the key cannot have the role.
        """
        try:
            joiner = public_of(secret)
        except TokenError as error:
            raise EnrolError("this is not a join token's key") from error
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            token, role, known = *self._token(joiner), self.find(public_key)
            if known is None or known.revoked is not None:
                raise EnrolError("this key is no member's")
            if known.role is role:
                return joiner, role  # the answer was lost
            if Role.NODE in (known.role, role):
                raise EnrolError(
                    f"{OTHER_ROLE}: {known.role.value}; a node's key stays a node's, and no other becomes one"
                )
            self._use_up(token, now)
            self._db.execute(
                "UPDATE keys SET role = ?, label = ? WHERE public_key = ?",
                (role.value, printable(label)[:MAX_LABEL], public_key),
            )
        return joiner, role

    def _token(self, joiner: str) -> tuple[Row, Role]:
        token = self.find(joiner)
        if token is None or token.role is not Role.JOINER or not token.joins_as:
            raise EnrolError("this is not a join token's key")
        return token, Role(token.joins_as)

    def _use_up(self, token: Row, now: float) -> None:
        if not token.is_valid(now):
            raise EnrolError("the join token is used up, expired or revoked: make a new one")
        if token.uses_left is not None:
            self._revocations.add_uses({token.public_key: token.uses_left - 1}, now)
        self._db.execute(
            "UPDATE keys SET uses_left = uses_left - 1 WHERE public_key = ?", (token.public_key,)
        )

    def find(self, public_key: str) -> Row | None:
        rows = self._select("WHERE public_key = ?", public_key)
        return rows[0] if rows else None

    def role_of(self, public_key: str, now: float) -> Role | None:
        """What this key may do now; None: nothing.

        A used-up token is still heard for enrolment, so that a lost answer can be asked for again.
        """
        row = self.find(public_key)
        if row is None:
            return None
        if row.role is Role.JOINER and row.revoked is None and row.uses_left == 0:
            return Role.JOINER if row.expires is None or now < row.expires else None
        return row.role if row.is_valid(now) else None

    def revoke(self, selector: str, now: float) -> Row:
        """Revoke the one key that has this id, public key or name, or that begins so.

        Raises:
            RegistryError: none, or more than one; the message lists those.
        """
        live = [row for row in self.rows() if row.revoked is None]
        # An id comes first: nobody may shield his key by a name that is another's id.
        ways = (
            [row for row in live if selector == row.id],
            [row for row in live if selector == row.public_key],
            [row for row in live if selector == row.label],
            [row for row in live if _begins(row, selector)],
        )
        found: list[Row] = next(filter(None, ways), [])
        if not found:
            short = f"; a beginning is taken from {_LEAST_BEGINNING} letters on"
            short = short if len(selector) < _LEAST_BEGINNING else ""
            raise RegistryError(f"no live key or name {selector!r}: see zcc-broker keys{short}")
        if len(found) > 1:
            listed = "".join(f"\n  {_spoken(row)}" for row in found)
            raise RegistryError(f"{selector!r} means {len(found)} keys, say one by its id:{listed}")
        self.revoke_key(found[0].public_key, now)
        return found[0]

    def revoke_key(self, public_key: str, now: float) -> None:
        self._revocations.add({public_key: now})
        self._db.execute("UPDATE keys SET revoked = ? WHERE public_key = ?", (now, public_key))

    def note_seen(self, rows: Iterable[tuple[str, float, str]]) -> None:
        """Write down when these keys were last heard, and from where: (key, Unix seconds, address).

        Without waiting for the disk: a power cut may cost it, and nothing else.
        """
        try:
            self._db.execute("PRAGMA synchronous=NORMAL")
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(
                    "UPDATE keys SET seen = ?, address = ? WHERE public_key = ?",
                    ((seen, address, key) for key, seen, address in rows),
                )
        except sqlite3.Error as error:
            logger.warning("cannot write down who was heard: %s", error)
        finally:
            self._db.execute("PRAGMA synchronous=FULL")

    def key_called(self, text: str) -> str:
        """The public key of the member, a revoked one too, who has this id; any other text as it is.

        Raises:
            RegistryError: two have it.
        """
        found = [row.public_key for row in self.rows() if row.id == text]
        if len(found) > 1:
            raise RegistryError(f"{text!r} means {len(found)} keys: {', '.join(found)}")
        return found[0] if found else text

    def rows(self) -> list[Row]:
        """All keys, oldest first."""
        return self._select("ORDER BY created, public_key")

    def has_changed(self) -> bool:
        """Whether another process has written since the last call."""
        version = self._data_version()
        changed, self._version = version != self._version, version
        return changed

    def _add_columns(self) -> None:
        """Bring a file up to date that an older zcc made; another process may do so at the same moment."""
        there = {row[1] for row in self._db.execute("PRAGMA table_info(keys)")}
        for name, kind in _ADDED:
            if name not in there:
                try:
                    self._db.execute(f"ALTER TABLE keys ADD COLUMN {name} {kind}")
                except sqlite3.OperationalError as error:
                    if "duplicate column" not in str(error):
                        raise

    def _data_version(self) -> int:
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def _insert(self, row: Row) -> None:
        try:
            self._db.execute(
                f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.public_key, row.role.value, row.joins_as, row.label, row.created,
                    row.expires, row.uses_left, row.revoked, row.seen, row.address,
                ),
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise RegistryError(f"the key {row.public_key} is registered already") from error

    def _select(self, tail: str, *values: str) -> list[Row]:
        found = self._db.execute(f"SELECT {_COLUMNS} FROM keys {tail}", values).fetchall()
        return [Row(row[0], Role(row[1]), *row[2:]) for row in found]


def _begins(row: Row, selector: str) -> bool:
    is_long = len(selector) >= _LEAST_BEGINNING
    names = (row.public_key, row.id, row.label)
    return is_long and any(name.startswith(selector) for name in names)


def _spoken(row: Row) -> str:
    """A candidate, for who has to choose one."""
    day = time.strftime("%Y-%m-%d", time.localtime(row.created))
    role = f"join token ({row.joins_as})" if row.role is Role.JOINER else row.role.value
    return f"{row.id}  {role}, enrolled {day}, {row.label}"
