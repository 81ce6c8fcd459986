"""The keys that may speak to this broker: one SQLite file, shared by its commands.

`serve` reads it for every new connection; `token`, `revoke` and `keys` are separate processes that
change or show it while `serve` runs. Times are Unix seconds: they are compared across processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import string
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from broker.errors import EnrolError, RegistryError, StateError
from broker.membership.revocations import Revocations
from broker.membership.table import Table
from zcc.errors import TokenError
from zcc.keys import public_of
from zcc.member_id import member_id
from zcc.messages import OTHER_ROLE, PeerRole
from zcc.printable import printable

logger = logging.getLogger(__name__)

FILE_NAME = "registry.sqlite"
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
_OR_NOT = (float, type(None))
_KINDS: tuple[Any, ...] = (
    str,
    str,
    str,
    str,
    float,
    _OR_NOT,
    (int, type(None)),
    _OR_NOT,
    _OR_NOT,
    str,
)
# Beginnings of keys shorter than that are more likely a slip than meant.
_LEAST_BEGINNING = 3


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One key. Times are Unix seconds."""

    public_key: str
    role: PeerRole
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
        return f"t{called[1:]}" if self.role is PeerRole.JOINER else called

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
    """The keys of the file, as the file of revocations lets them be.

    Raises:
        StateError: by the constructor and each method: the file cannot be read or written.
    """

    def __init__(self, state_dir: str) -> None:
        self._table = Table(os.path.join(state_dir, FILE_NAME), _SCHEMA)
        self._revocations = Revocations(state_dir)
        try:
            self._add_columns()
            self._copy()
            self._version = self._data_version()
        except StateError:
            self._table.close()
            raise

    def close(self) -> None:
        self._table.close()

    def reserve(self) -> None:
        """Have room for revocations to come: for the broker itself, since it makes a file."""
        self._revocations.reserve()

    def _copy(self) -> None:
        """Write down here and in the file of revocations what each lacks: either may have been lost."""
        rows, written, left = self.rows(), *self._written()
        self._table.take_over(
            "SELECT public_key FROM keys WHERE revoked IS NULL",
            "UPDATE keys SET revoked = ? WHERE public_key = ?",
            written,
        )
        revoked = {row.public_key: row.revoked for row in rows if row.revoked is not None}
        used_up = {row.public_key: 0 for row in rows if row.uses_left == 0}
        self._revocations.add({key: at for key, at in revoked.items() if key not in written})
        lost = {key: uses for key, uses in used_up.items() if key not in left}
        self._revocations.add_uses(lost, time.time())

    def add_joiner(
        self, public_key: str, joins_as: PeerRole, now: float, expires: float, uses: int
    ) -> None:
        """Register a join token's own key."""
        self._insert(
            MemberRow(
                public_key, PeerRole.JOINER, joins_as.value, "join token", now, expires, uses, None
            )
        )

    def add(self, public_key: str, role: PeerRole, label: str, now: float) -> None:
        """Register a key outright, for a program that made it itself."""
        self._insert(MemberRow(public_key, role, "", label[:MAX_LABEL], now, None, None, None))

    def enrol(self, joiner: str, public_key: str, label: str, now: float) -> PeerRole:
        """Use up a join token for this key; returns its role. Enrolling twice is once.

        Raises:
            EnrolError: the token is used up, expired or revoked, or the key is not acceptable.
        """
        if not is_public_key(public_key):
            raise EnrolError("this is not a CURVE public key")
        with self._table.transaction():
            token, role, known = *self._token(joiner), self.find(public_key)
            if known is not None and known.revoked is None and known.role is role:
                return role  # the answer was lost, the joiner asks again
            # A registry that is older than the key does not know it; the file does.
            is_revoked = known is None and public_key in self._written()[0]
            if is_revoked or (known is not None and known.revoked is not None):
                raise EnrolError(
                    "this key was revoked: zcc leave --local (zcc-node leave --local) removes it, and joining"
                    " then makes a new one"
                )
            if known is not None:
                raise EnrolError(f"{OTHER_ROLE}: {known.role.value}")
            self._use_up(token, now)
            self.add(public_key, role, printable(label), now)
        self._note_use(token, now)
        return role

    def rejoin(self, secret: str, public_key: str, label: str, now: float) -> tuple[str, PeerRole]:
        """Give a member, who has shown that the key is his, a join token's role; (the token's key, role).

        Raises:
            EnrolError: the token is none, used up, expired or revoked, or the key cannot have the role.
        """
        try:
            joiner = public_of(secret)
        except TokenError as error:
            raise EnrolError("this is not a join token's key") from error
        with self._table.transaction():
            token, role, known = *self._token(joiner), self.find(public_key)
            if known is None or known.revoked is not None:
                raise EnrolError("this key is no member's")
            if known.role is role:
                return joiner, role  # the answer was lost
            if PeerRole.NODE in (known.role, role):
                raise EnrolError(
                    f"{OTHER_ROLE}: {known.role.value}; a node's key stays a node's, and no other becomes one"
                )
            self._use_up(token, now)
            self._table.execute(
                "UPDATE keys SET role = ?, label = ? WHERE public_key = ?",
                (role.value, printable(label)[:MAX_LABEL], public_key),
            )
        self._note_use(token, now)
        return joiner, role

    def _token(self, joiner: str) -> tuple[MemberRow, PeerRole]:
        token = self.find(joiner)
        if token is None or token.role is not PeerRole.JOINER or not token.joins_as:
            raise EnrolError("this is not a join token's key")
        return token, PeerRole(token.joins_as)

    def _use_up(self, token: MemberRow, now: float) -> None:
        if not token.is_valid(now):
            raise EnrolError("the join token is used up, expired or revoked: make a new one")
        if token.uses_left is not None:
            left = (token.uses_left - 1, token.public_key)
            self._table.execute("UPDATE keys SET uses_left = ? WHERE public_key = ?", left)

    def _note_use(self, token: MemberRow, now: float) -> None:
        """After the registry has taken it: a disk that is full uses up no token."""
        if token.uses_left is not None:
            self._revocations.add_uses({token.public_key: token.uses_left - 1}, now)

    def find(self, public_key: str) -> MemberRow | None:
        rows = self._select("WHERE public_key = ?", public_key)
        return rows[0] if rows else None

    def describe(self, public_key: str) -> tuple[str, str, str]:
        """A key's id, its registered name and its role; without these two where no row that can be read has
        it.
        """
        try:
            row = self.find(public_key)
        except StateError:
            row = None
        return (row.id, row.label, row.role.value) if row else (member_id(public_key), "", "")

    def role_of(self, public_key: str, now: float) -> PeerRole | None:
        """What this key may do now; None: nothing.

        A used-up token is still heard for enrolment, so that a lost answer can be asked for again.
        """
        row = self.find(public_key)
        if row is None:
            return None
        if row.role is PeerRole.JOINER and row.revoked is None and row.uses_left == 0:
            return PeerRole.JOINER if row.expires is None or now < row.expires else None
        return row.role if row.is_valid(now) else None

    def revoke(self, selector: str, now: float) -> MemberRow:
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
        found: list[MemberRow] = next(filter(None, ways), [])
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
        """Either place will do: the row may need room that the disk does not have."""
        is_written = self._revocations.add({public_key: now})
        try:
            changed = (now, public_key)
            self._table.execute("UPDATE keys SET revoked = ? WHERE public_key = ?", changed)
        except StateError as error:
            if not is_written:
                raise
            logger.warning("revoked in the file of revocations alone: %s", error.reason)

    def note_seen(self, rows: Iterable[tuple[str, float, str]]) -> None:
        """Write down when these keys were last heard, and from where: (key, Unix seconds, address).

        Without waiting for the disk: a power cut may cost it, and nothing else.
        """
        try:
            self._table.execute("PRAGMA synchronous=NORMAL")
            with self._table.transaction():
                self._table.execute_for(
                    "UPDATE keys SET seen = ?, address = ? WHERE public_key = ?",
                    ((seen, address, key) for key, seen, address in rows),
                )
        except StateError as error:
            logger.warning("cannot write down who was heard: %s", error.reason)
        finally:
            self._table.execute("PRAGMA synchronous=FULL")

    def key_called(self, text: str) -> str:
        """The public key of the member, a revoked one too, who has this id; any other text as it is.

        Raises:
            RegistryError: two have it.
        """
        found = [row.public_key for row in self.rows() if row.id == text]
        if len(found) > 1:
            raise RegistryError(f"{text!r} means {len(found)} keys: {', '.join(found)}")
        return found[0] if found else text

    def rows(self) -> list[MemberRow]:
        """All keys, oldest first."""
        return self._select("ORDER BY created, public_key")

    def has_changed(self) -> bool:
        """Whether another process has written since the last call."""
        version = self._data_version()
        changed, self._version = version != self._version, version
        return changed

    def _add_columns(self) -> None:
        """Bring a file up to date that an older zcc made; another process may do so at the same moment."""
        there = {row[1] for row in self._table.execute("PRAGMA table_info(keys)")}
        for name, kind in _ADDED:
            if name not in there:
                try:
                    self._table.execute(f"ALTER TABLE keys ADD COLUMN {name} {kind}")
                except StateError as error:
                    if "duplicate column" not in str(error):
                        raise

    def _data_version(self) -> tuple[int, int]:
        self._written()
        return int(self._table.execute("PRAGMA data_version")[0][0]), self._revocations.changes

    def _insert(self, row: MemberRow) -> None:
        if self.find(row.public_key) is not None:
            raise RegistryError(f"the key {row.public_key} is registered already")
        self._table.execute(
            f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.public_key, row.role.value, row.joins_as, row.label, row.created,
                row.expires, row.uses_left, row.revoked, row.seen, row.address,
            ),
        )  # fmt: skip

    def _select(self, tail: str, *values: str) -> list[MemberRow]:
        revoked, left = self._written()
        rows = []
        for found in self._table.execute(f"SELECT {_COLUMNS} FROM keys {tail}", values):
            row = self._row(found)
            if row.revoked is None and row.public_key in revoked:
                row = replace(row, revoked=revoked[row.public_key])
            if row.uses_left is not None and row.public_key in left:
                row = replace(row, uses_left=min(row.uses_left, left[row.public_key]))
            rows.append(row)
        return rows

    def _row(self, found: tuple[Any, ...]) -> MemberRow:
        if all(isinstance(*each) for each in zip(found, _KINDS, strict=True)):
            with contextlib.suppress(ValueError):
                return MemberRow(found[0], PeerRole(found[1]), *found[2:])
        raise self._table.damaged(found)

    def _written(self) -> tuple[dict[str, float], dict[str, int]]:
        """What the file of revocations says: who is revoked since when, and how often tokens may be used."""
        try:
            return self._revocations.read(), self._revocations.uses_left()
        except OSError as error:
            raise StateError(
                self._revocations.path, f"it cannot be read: {error.strerror}"
            ) from error


def _begins(row: MemberRow, selector: str) -> bool:
    is_long = len(selector) >= _LEAST_BEGINNING
    names = (row.public_key, row.id, row.label)
    return is_long and any(name.startswith(selector) for name in names)


def _spoken(row: MemberRow) -> str:
    """A candidate, for who has to choose one."""
    day = time.strftime("%Y-%m-%d", time.localtime(row.created))
    role = f"join token ({row.joins_as})" if row.role is PeerRole.JOINER else row.role.value
    return f"{row.id}  {role}, enrolled {day}, {row.label}"
