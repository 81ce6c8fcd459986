"""Who and what the numbers of a feed stand for: each is told before it is used. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable

from broker.core.sessions import Session
from broker.watching.limits import MAX_BUILDS_OF_KEY, MAX_NUMBERED, MAX_SHOWN_BYTES
from cache.digest import Digest
from zcc.events import Row
from zcc.printable import brief
from zcc.subject import BuildName

_PATH = re.compile(r"(?<![^\s'\"`(\[<=:,;])/.*", re.DOTALL)

# The id, the registered name and the role of a key.
Describe = Callable[[str], tuple[str, str, str]]


def shown(text: str) -> str:
    """Somebody's word as watchers may have it."""
    if len(text) <= MAX_SHOWN_BYTES and text.isascii() and text.isprintable():
        return text  # nearly always
    return brief(text, MAX_SHOWN_BYTES)


def without_paths(text: str) -> str:
    """The same of what a node or a mistake says: from the first absolute path on it is cut."""
    return shown(_PATH.sub("...", text))


def digits(digest: bytes) -> str:
    """How a digest begins, for people."""
    return digest[:6].hex()


def host_of(session: Session) -> str:
    """Agents are called `host:process`."""
    return session.name.rpartition(":")[0] or session.name


class _Numbers:
    """Numbers of things of one kind, from 1 on, and the row that introduced each, in order. Of so many the
    first is forgotten with its row, and has another number when it comes again."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._last = 0
        self.said: dict[int, Row] = {}

    def find(self, thing: Hashable) -> int | None:
        return self._known.get(thing)

    def add(self, thing: Hashable) -> int:
        if len(self._known) >= MAX_NUMBERED:
            self.forget(next(iter(self._known)))
        self._last += 1
        self._known[thing] = self._last
        return self._last

    def forget(self, thing: Hashable) -> None:
        number = self._known.pop(thing, None)
        if number is not None:
            self.said.pop(number, None)


class Register:
    """Numbers of members, builds and toolchains. `say` is called with what introduces a new one."""

    def __init__(self, describe: Describe, say: Callable[[Row], None]) -> None:
        self._describe = describe
        self._say = say
        self._members, self._builds, self._toolchains = _Numbers(), _Numbers(), _Numbers()
        self._builds_of: dict[
            str, dict[Hashable, None]
        ] = {}  # of a key, in the order of their last use
        # What a session asked for last: its build and (member, build), until any number is given.
        self._recent: dict[bytes, tuple[Hashable, tuple[int, int]]] = {}

    def said(self) -> list[list[Row]]:
        """What introduced all that has a number, for a snapshot: members, toolchains and builds."""
        kinds = self._members, self._toolchains, self._builds
        return [list(kind.said.values()) for kind in kinds]

    def member(self, user: str, at_ms: int) -> int:
        """A key's number; 0 for nobody."""
        number = self._members.find(user)
        if number is None:
            if not user:
                return 0
            number = self._members.add(user)
            self._introduce(self._members, ("member", at_ms, number, *self.described(user)))
        return number

    def described(self, user: str) -> tuple[str, str, str]:
        """A key's id, name and role, as watchers may have them."""
        key_id, name, role = self._describe(user)
        return shown(key_id), shown(name), shown(role)

    def member_changed(self, user: str, at_ms: int) -> None:
        """Its name or its role is another now."""
        number = self._members.find(user)
        if number is not None:
            self._introduce(self._members, ("member", at_ms, number, *self.described(user)))

    def whose(
        self, session: Session, lane: str, name: BuildName | None, at_ms: int
    ) -> tuple[int, int]:
        """The numbers of this agent's member and of its build, as `build` has it."""
        told = lane if name is None else name.number
        recent = self._recent.get(session.id)
        if recent is not None and recent[0] == told:
            return recent[1]
        build = self.build(session, lane, name, at_ms)
        numbers = self.member(session.user, at_ms), build
        if len(self._recent) >= MAX_NUMBERED:
            self._recent.clear()
        self._recent[session.id] = told, numbers
        return numbers

    def build(self, session: Session, lane: str, name: BuildName | None, at_ms: int) -> int:
        """The number of a build of this agent's; one that is not told apart is all that is in its lane. Of too
        many of one key the one that it used longest ago is forgotten."""
        told = lane if name is None else name.number
        host = host_of(session)
        build = session.user, host, told
        mine = self._builds_of.setdefault(session.user, {})
        mine.pop(build, None)
        mine[build] = None
        number, member = self._builds.find(build), self.member(session.user, at_ms)
        if number is None:
            if len(mine) > MAX_BUILDS_OF_KEY:
                oldest = next(iter(mine))
                del mine[oldest]
                self._builds.forget(oldest)
            number = self._builds.add(build)
        elif self._builds.said[number][3] == member:
            return number
        called, build_id = "" if name is None else shown(name.name), shown(f"{host}-{told}")
        row = "build", at_ms, number, member, called, shown(host), build_id
        self._introduce(self._builds, row)
        return number

    def known_toolchain(self, digest: Digest) -> int:
        """The number of a toolchain of which something was told; 0: it is none."""
        return self._toolchains.find(digest) or 0

    def toolchain(self, digest: Digest, name: str, at_ms: int) -> int:
        """A toolchain's number; the first name that is said of it is told."""
        number = self._toolchains.find(digest)
        if number is None:
            number = self._toolchains.add(digest)
        elif not name or self._toolchains.said[number][-1]:
            return number
        row = "toolchain", at_ms, number, digits(digest), shown(name)
        self._introduce(self._toolchains, row)
        return number

    def _introduce(self, kind: _Numbers, row: Row) -> None:
        self._recent.clear()  # what had this number, or had one before this was given, may have none now
        kind.said.pop(row[2], None)
        kind.said[row[2]] = row
        self._say(row)
