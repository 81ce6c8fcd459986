"""Who and what the numbers of a feed stand for: each is told before it is used. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from broker.core.sessions import Session
from broker.watching.limits import MAX_NUMBERED, MAX_SHOWN_BYTES
from cache.digest import Digest
from zcc.events import Row
from zcc.printable import brief
from zcc.subject import BuildName

# The id, the registered name and the role of a key.
Describe = Callable[[str], tuple[str, str, str]]


def shown(text: str) -> str:
    """Somebody's word as watchers may have it."""
    if len(text) <= MAX_SHOWN_BYTES and text.isascii() and text.isprintable():
        return text  # nearly always
    return brief(text, MAX_SHOWN_BYTES)


def digits(digest: bytes) -> str:
    """How a digest begins, for people."""
    return digest[:6].hex()


def host_of(session: Session) -> str:
    """Agents are called `host:process`."""
    return session.name.rpartition(":")[0] or session.name


class _Numbers:
    """Numbers of things, from 1 on. Of so many the first is forgotten, and has another when it comes again."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._last = 0

    def find(self, thing: Hashable) -> int | None:
        return self._known.get(thing)

    def add(self, thing: Hashable) -> int:
        if len(self._known) >= MAX_NUMBERED:
            del self._known[next(iter(self._known))]
        self._last += 1
        self._known[thing] = self._last
        return self._last


class Register:
    """Numbers of members, builds and toolchains. `say` is called with what introduces a new one."""

    def __init__(self, describe: Describe, say: Callable[[Row], None]) -> None:
        self._describe = describe
        self._say = say
        self._members, self._builds, self._toolchains = _Numbers(), _Numbers(), _Numbers()
        # What was said of each, for a snapshot: by name of the event and number, in order.
        self.said: dict[tuple[str, int], Row] = {}
        self._named: set[int] = set()  # toolchains that have a name

    def member(self, user: str, at_ms: int) -> int:
        """A key's number; 0 for nobody."""
        number = self._members.find(user)
        if number is None:
            if not user:
                return 0
            number = self._members.add(user)
            self._introduce(("member", at_ms, number, *self.described(user)))
        return number

    def described(self, user: str) -> tuple[str, str, str]:
        """A key's id, name and role, as watchers may have them."""
        key_id, name, role = self._describe(user)
        return shown(key_id), shown(name), shown(role)

    def member_changed(self, user: str, at_ms: int) -> None:
        """Its name or its role is another now."""
        number = self._members.find(user)
        if number is not None:
            self._introduce(("member", at_ms, number, *self.described(user)))

    def build(self, session: Session, lane: str, name: BuildName | None, at_ms: int) -> int:
        """The number of a build of this agent's; one that is not told apart is all that is in its lane."""
        told = lane if name is None else name.number
        host = host_of(session)
        number = self._builds.find((session.user, host, told))
        if number is None:
            number = self._builds.add((session.user, host, told))
            member = self.member(session.user, at_ms)
            called = "" if name is None else shown(name.name)
            build_id = shown(f"{host}-{told}")
            self._introduce(("build", at_ms, number, member, called, shown(host), build_id))
        return number

    def toolchain(self, digest: Digest, name: str, at_ms: int) -> int:
        """A toolchain's number; the first name that is said of it is told."""
        number = self._toolchains.find(digest)
        if number is None:
            number = self._toolchains.add(digest)
        elif not name or number in self._named:
            return number
        if name:
            self._named.add(number)
        self._introduce(("toolchain", at_ms, number, digits(digest), shown(name)))
        return number

    def _introduce(self, row: Row) -> None:
        place = row[0], row[2]
        self.said.pop(place, None)
        self.said[place] = row
        if len(self.said) > 3 * MAX_NUMBERED:
            del self.said[next(iter(self.said))]
        self._say(row)
