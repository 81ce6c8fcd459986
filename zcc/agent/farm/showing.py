"""Shows the broker that this machine holds the inputs of its jobs, each of them once in a session.

Owns what has been shown. What has not been is read from disk and hashed in a thread (zcc/holding.py), once its
job is submitted: a build whose results are all known costs nothing. Submits leave in the order in which they
came, since a later one relies on what an earlier one shows.

What the broker has not noted after all (it was lost with a connection, say) is no fault: it asks for the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from cache.digest import Digest
from zcc.holding import pack_shown, shown_by
from zcc.job import FileInput
from zcc.messages import Submit
from zcc.regular import opener

# Inputs of which is remembered that they were shown: some hundred C++ closures. Beyond it all are shown anew.
MAX_SHOWN = 200_000
_READ_BYTES = 1 << 20
# What is read at once: a tenth of a millisecond, a thread costs about as much.
_MAX_AT_ONCE = 4
_MAX_AT_ONCE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    submit: Submit
    paths: Mapping[Digest, bytes]


class Showing:
    """`send` is given Submits, complete with what they show; `path_of` says where a file lies."""

    def __init__(
        self, send: Callable[[Submit], object], path_of: Callable[[Digest], bytes | None]
    ) -> None:
        self._send = send
        self._path_of = path_of
        self._key = b""
        self._shown: set[Digest] = set()
        self._unanswered: dict[int, list[Digest]] = {}
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    def welcomed(self, key: bytes) -> None:
        """A session begins, or goes on: what was under way is void, and is submitted again."""
        self._waiting.clear()
        if key != self._key:
            self._key = key
            self._shown.clear()
        for ticket in list(self._unanswered):
            self.void(ticket)

    def suspend(self) -> None:
        """There is no session for now: send nothing."""
        self._waiting.clear()

    def submit(self, message: Submit, inputs: Iterable[FileInput]) -> None:
        """Send it, with what has not been shown."""
        shown = self._shown
        unshown = [file.digest for file in inputs if file.digest not in shown]
        if not unshown and not self._waiting:
            self._send(message)
            return
        if len(shown) > MAX_SHOWN:
            shown.clear()
        shown.update(unshown)
        self._unanswered[message.ticket] = unshown
        found = ((digest, self._path_of(digest)) for digest in unshown)
        paths = {digest: path for digest, path in found if path}
        if not self._waiting and _are_small(paths.values()):
            self._send(replace(message, shown=pack_shown(values_of(paths, self._key))))
            return
        self._waiting.append(_Waiting(message, paths))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    def answered(self, ticket: int) -> None:
        """The broker has read this Submit, and so what it showed."""
        self._unanswered.pop(ticket, None)

    def void(self, ticket: int) -> bool:
        """The broker may not have read this Submit; whether it was not even sent."""
        self._shown.difference_update(self._unanswered.pop(ticket, ()))
        unsent = [each for each in self._waiting if each.submit.ticket == ticket]
        for each in unsent:
            self._waiting.remove(each)
        return bool(unsent)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        try:
            while self._waiting:
                item, key = self._waiting[0], self._key
                values = {}
                if item.paths:
                    values = await asyncio.to_thread(values_of, item.paths, key)
                if self._waiting and self._waiting[0] is item:
                    self._waiting.popleft()
                    self._send(replace(item.submit, shown=pack_shown(values)))
        finally:
            self._task = None


def values_of(paths: Mapping[Digest, bytes], key: bytes) -> dict[Digest, bytes]:
    """What shows that these files are held; those that cannot be read are left out."""
    values = {}
    for digest, path in paths.items():
        with contextlib.suppress(OSError):
            values[digest] = shown_by(_pieces(path), key)
    return values


def _are_small(paths: Collection[bytes]) -> bool:
    """Whether to read these takes less than to have a thread do it: an edited source or two."""
    if len(paths) > _MAX_AT_ONCE:
        return False
    try:
        return sum(os.stat(path).st_size for path in paths) <= _MAX_AT_ONCE_BYTES
    except OSError:
        return False


def _pieces(path: bytes) -> Iterator[bytes]:
    # Without a file object, which costs as much as to read and hash a header.
    handle = opener(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := os.read(handle, _READ_BYTES):
            yield piece
    finally:
        os.close(handle)
