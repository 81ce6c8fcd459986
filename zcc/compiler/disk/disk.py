"""What is known of the client's disk, looked at again for every request.

Owns the tree of remembered entries, the check that each still is what it was, and the walk along a path
as the kernel does it. Must not know what a compiler looks for.

Freshness. Times are monotonic seconds, passed in. `begin(now, arrived)` opens the work on a request
that arrived at `arrived`; an entry that was checked at or after that moment is not looked at again, so
one check serves every request that was waiting when it was made.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import attrgetter

from cache.digest import Digest, digest_of
from zcc.compiler.disk.entries import (
    NEVER,
    NO_NAMES,
    Directory,
    DiskDoubtError,
    Entry,
    File,
    Symlink,
    Trail,
    kind_of,
)
from zcc.compiler.disk.filesystems import Trust
from zcc.compiler.disk.mounts import MOUNTS, Mounts
from zcc.compiler.disk.paths import MAX_SYMLINKS
from zcc.compiler.disk.signatures import DEVICE, Signature, is_racy, signature_at, signature_of
from zcc.compiler.text.directives import FileFacts, read_conditions, read_definitions, read_facts
from zcc.job import MAX_BLOB_BYTES, FileInput

# Beyond these the entries unused for longest are forgotten.
MAX_FILES = 200_000
MAX_NAMES = 2_000_000
# A file with its facts, a name; measured. Files have most of what memory there may be.
FILE_BYTES = 1700
NAME_BYTES = 100
_FILES_SHARE = 0.8
_KEPT_SHARE = 0.75
_READ_ATTEMPTS = 3
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# What lies here differs for each process that looks, or is no file at all.
_UNREAL = frozenset((b"/proc", b"/sys", b"/dev/fd", b"/dev/stdin"))
_PCH_ENDINGS = (b".gch", b".pch")


class Disk:
    """The client's disk, as far as anybody asked. Not thread-safe: one request at a time."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        limit_bytes: int | None = None,
        mounts: Mounts = MOUNTS,
    ) -> None:
        self.root = Directory(b"/", b"", None)
        self.now = self.arrived = 0.0
        self.changes = 0  # moves with any entry's version
        # Moves when what was known already turns out to be something else, or is forgotten.
        self.upsets = 0
        self._wall_ns = wall_ns
        self._mounts = mounts
        self._mounts_changes = mounts.look()
        self._max_files, self._max_names = MAX_FILES, MAX_NAMES
        if limit_bytes is not None:
            self._max_files = min(MAX_FILES, int(limit_bytes * _FILES_SHARE / FILE_BYTES))
            self._max_names = min(MAX_NAMES, int(limit_bytes * (1 - _FILES_SHARE) / NAME_BYTES))
        self._files: dict[bytes, File] = {}
        self._listed: dict[bytes, Directory] = {}
        self._name_count = 0

    def begin(self, now: float, arrived: float | None = None) -> None:
        """Start on a request; `arrived` is `now` unless it has been waiting."""
        self.now = now
        self.arrived = now if arrived is None else min(arrived, now)
        if len(self._files) > self._max_files or self._name_count > self._max_names:
            self._trim()
        if self._mounts.look() != self._mounts_changes:
            self._doubt_images()

    @property
    def entries(self) -> int:
        """How many files and listings are remembered."""
        return len(self._files) + len(self._listed)

    @property
    def size_bytes(self) -> int:
        """What is remembered takes about so much."""
        return len(self._files) * FILE_BYTES + self._name_count * NAME_BYTES

    # Looking up

    def walk(self, start: Directory, path: bytes, trail: Trail) -> tuple[Directory, Entry] | None:
        """What `path`, as spelled, leads to from `start`: (the directory that holds its last component, the
        entry after following symlinks), or None when it leads nowhere.

        Raises:
            DiskDoubtError: unreadable on the way, a loop of symlinks, or a place like /proc.
        """
        node = self.root if path.startswith(b"/") else start
        pending = [part for part in reversed(path.split(b"/")) if part and part != b"."]
        container: Directory | None = None
        hops = 0
        while pending:
            part = pending.pop()
            if part == b"..":
                trail.directories.add(node)
                node = node.parent or node
                continue
            if container is None and not pending:
                container = node
            child = self.child(node, part)
            if isinstance(child, Directory):
                node = child
            elif isinstance(child, Symlink):
                trail.symlinks.add(child)
                hops += 1
                if hops > MAX_SYMLINKS:
                    raise DiskDoubtError("symlink-loop", child.path)
                pending += [
                    part for part in reversed(child.target.split(b"/")) if part and part != b"."
                ]
                node = self.root if child.target.startswith(b"/") else node
            elif child is None:
                trail.misses[node].add(part)
                return None
            elif pending:
                trail.obstacles.add(child)
                return None
            else:
                return container or node, child
        return container or node, node

    def child(self, node: Directory, name: bytes) -> Entry | None:
        """What this name is in this directory, symlinks not followed."""
        entry = node.children.get(name)
        if entry is not None and entry.checked_at >= self.arrived:
            return entry
        is_listed = node.checked_at >= self.arrived and not node.needs_listing
        if is_listed and not node.is_partial and name not in node.names:
            return None
        path = node.path + b"/" + name if node.parent else b"/" + name
        if path in _UNREAL:
            raise DiskDoubtError("unreal-path", path)
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            if entry is not None:
                self._vanish(entry)
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None  # nothing has such a name here
            raise DiskDoubtError("unreadable", path) from error
        kind = kind_of(status.st_mode)
        if type(entry) is not kind:
            if entry is not None:
                self._vanish(entry)
            entry = node.children[name] = kind(path, name, node)
            if isinstance(entry, File):
                self._files[path] = entry
        self._settle(entry, status)
        return entry

    def names(self, node: Directory) -> frozenset[bytes]:
        """The directory's listing; not all there is where `is_partial` is set."""
        if node.checked_at < self.arrived:
            self._recheck(node)
            if node.checked_at < self.arrived:
                raise DiskDoubtError("vanished", node.path)
        if node.needs_listing:
            self._list(node)
        return node.names

    def has_any(self, node: Directory, names: Collection[bytes]) -> bytes | None:
        """The first of these names that is in the directory, or None."""
        listed = self.names(node)
        if node.is_partial:
            return next((name for name in names if self.child(node, name) is not None), None)
        if listed.isdisjoint(names):
            return None
        return next(name for name in names if name in listed)

    # Reading

    def input(self, file: File) -> FileInput:
        """Path and digest, twin number 0. The file must have been checked for this request."""
        return file.input or self._read(file)

    def facts(self, file: File) -> FileFacts:
        """What the file names. The file must have been checked for this request."""
        if file.facts is None:
            self._read(file, with_facts=True)
        assert file.facts is not None
        return file.facts

    def definitions(self, file: File) -> dict[bytes, tuple[bytes, ...]]:
        """Every definition in the file. It must have been checked for this request."""
        if file.definitions is None:
            file.definitions = read_definitions(self.content(file))
        return file.definitions

    def conditions(self, file: File) -> tuple[bytes, ...]:
        """Every condition in the file. It must have been checked for this request."""
        if file.conditions is None:
            file.conditions = read_conditions(self.content(file))
        return file.conditions

    def content(self, file: File) -> bytes:
        """The bytes that the file's digest names.

        Raises:
            DiskDoubtError: the file has other bytes by now.
        """
        data, _ = self._load(file.path)
        if file.input is None or digest_of(data) != file.input.digest:
            raise DiskDoubtError("changing", file.path)
        return data

    # Checking

    def check(self, entries: Iterable[Entry], since: float | None = None) -> None:
        """Look at each of these again that was not looked at since then, or since the request arrived."""
        arrived = self.arrived if since is None else since
        stale = [entry for entry in entries if entry.checked_at < arrived]
        if not stale:
            return
        try:
            found = list(map(signature_of, map(os.lstat, map(_path_of, stale))))
        except OSError:
            for entry in stale:
                self._recheck(entry)
            return
        now = self.now
        for entry, signature in zip(stale, found, strict=True):
            if entry.signature == signature and not entry.racy:
                entry.checked_at = now
            else:
                self._recheck(entry)

    def first_changed(self, inputs: Sequence[FileInput], since: float) -> bytes | None:
        """The first of these that has other bytes by now, or cannot be read; None where all are the same.

        What was looked at since that moment is not looked at again.
        """
        files = [self._files.get(each.path) for each in inputs]
        try:
            self.check((file for file in files if file is not None), since)
            for each, known in zip(inputs, files, strict=True):
                is_known = known is not None and known.checked_at >= since
                file = known if is_known else self._found(each.path)
                if file is None or self.input(file).digest != each.digest:
                    return each.path
        except DiskDoubtError as doubt:
            return doubt.path
        return None

    def _found(self, path: bytes) -> File | None:
        found = self.walk(self.root, path, Trail())
        return found[1] if found is not None and isinstance(found[1], File) else None

    def _recheck(self, entry: Entry) -> None:
        try:
            status = os.lstat(entry.path)
        except OSError:
            self._vanish(entry)
            return
        if kind_of(status.st_mode) is type(entry):
            self._settle(entry, status)
        else:
            self._vanish(entry)

    def _settle(self, entry: Entry, status: os.stat_result) -> None:
        """Take over what a fresh status of the same kind of entry says."""
        signature = signature_of(status)
        if signature != entry.signature or entry.racy:
            # The signature is filed last: a reading that fails must not look like one that was made.
            if isinstance(entry, File) and entry.input is not None:
                if not self._shows_unchanged(entry):
                    self._read(entry)
            elif isinstance(entry, Symlink):
                self._read_link(entry, signature)
            else:
                entry.signature = signature
                if isinstance(entry, Directory):
                    entry.needs_listing = True
        entry.checked_at = self.now

    def _shows_unchanged(self, file: File) -> bool:
        if not file.shows_when_opened:
            return False
        return signature_at(file.path, self._mounts, follow=False) == file.signature

    def _doubt_images(self) -> None:
        """Read once more, before it is believed, what lies where another file system may be by now."""
        self._mounts_changes = self._mounts.changes
        for point in self._mounts.exchangeable:
            entry: Entry | None = self.root
            for name in filter(None, point.split(b"/")):
                entry = entry.children.get(name) if isinstance(entry, Directory) else None
            for doubted in _all_below(entry):
                # What was not read yet is not believed anyway.
                is_read = not isinstance(doubted, File) or doubted.input is not None
                is_listed = not isinstance(doubted, Directory) or not doubted.needs_listing
                doubted.racy = doubted.racy or (is_read and is_listed)
                if isinstance(doubted, File):
                    doubted.shows_when_opened = False

    def _vanish(self, entry: Entry) -> None:
        """Take it out of the tree, with all below it, where it would not be found when it is to be doubted."""
        self.upsets += 1
        for each in _all_below(entry):
            self._move(each)
            each.checked_at = NEVER
            if self._files.get(each.path) is each:
                del self._files[each.path]
            if isinstance(each, Directory) and self._listed.get(each.path) is each:
                self._drop_listing(each)
        if entry.parent is not None and entry.parent.children.get(entry.name) is entry:
            del entry.parent.children[entry.name]

    def _drop_listing(self, node: Directory) -> None:
        self._name_count -= len(node.names)
        node.names = node.pch_names = NO_NAMES
        node.needs_listing = True
        node.listing += 1
        self.upsets += 1
        del self._listed[node.path]

    def _move(self, entry: Entry) -> None:
        entry.version += 1
        self.changes += 1

    def _read(self, file: File, with_facts: bool = False) -> FileInput:
        wall_ns = self._wall_ns()
        data, status = self._load(file.path)
        known = file.input
        before = (known.digest if known else None, file.time_s, file.links, file.identity)
        digest = Digest(digest_of(data))
        if known is None or known.digest != digest:
            known = file.input = FileInput(file.path, digest)
            with_facts = with_facts or file.facts is not None
            file.definitions = file.conditions = None
            if with_facts:
                file.facts = read_facts(data)
        elif with_facts:
            file.facts = read_facts(data)
        file.signature = signature_of(status)
        trust = self._judge(file, wall_ns)
        file.shows_when_opened = trust is Trust.OPENED and not is_racy(file.signature, wall_ns)
        file.time_s = status.st_mtime_ns // 1_000_000_000
        file.links = status.st_nlink
        file.size_bytes = len(data)
        if before != (digest, file.time_s, file.links, file.identity):
            self._move(file)
            self.upsets += before[0] is not None
        return known

    def _load(self, path: bytes) -> tuple[bytes, os.stat_result]:
        for _ in range(_READ_ATTEMPTS):
            try:
                handle = os.open(path, _OPEN_FLAGS)
            except OSError as error:
                raise DiskDoubtError("unreadable", path) from error
            try:
                before = os.fstat(handle)
                if not stat.S_ISREG(before.st_mode) or before.st_size > MAX_BLOB_BYTES:
                    raise DiskDoubtError("not-a-source", path)
                data = _read_all(handle, before.st_size)
                after = os.fstat(handle)
            except OSError as error:
                raise DiskDoubtError("unreadable", path) from error
            finally:
                os.close(handle)
            if signature_of(before) == signature_of(after) and len(data) == after.st_size:
                return data, after
        raise DiskDoubtError("changing", path)

    def _read_link(self, link: Symlink, signature: Signature) -> None:
        wall_ns = self._wall_ns()
        try:
            target = os.readlink(link.path)
        except OSError as error:
            raise DiskDoubtError("unreadable", link.path) from error
        if target != link.target:
            self._move(link)
            self.upsets += link.signature != ()
            link.target = target
        link.signature = signature
        self._judge(link, wall_ns)

    def _list(self, node: Directory) -> None:
        """Read the listing; the status that it is filed under was taken before."""
        wall_ns = self._wall_ns()
        node.is_unlistable = False
        try:
            names = frozenset(os.listdir(node.path))
        except PermissionError:
            names = NO_NAMES
            node.is_unlistable = True
        except OSError as error:
            raise DiskDoubtError("unreadable", node.path) from error
        _require_exact_names(node.path, names)
        is_known = node.path in self._listed
        self._listed[node.path] = node
        if names != node.names:
            self.upsets += is_known
            self._name_count += len(names) - len(node.names)
            node.names = names
            node.pch_names = frozenset(name for name in names if name.endswith(_PCH_ENDINGS))
            node.listing += 1
        node.needs_listing = False
        trust = self._judge(node, wall_ns)
        node.is_partial = node.is_unlistable or trust is Trust.READ

    def _judge(self, entry: Entry, wall_ns: int) -> Trust:
        """How far the entry is believed when it was looked into at that time: it is racy, or always will be."""
        trust = self._mounts.trust(entry.signature[DEVICE], entry.path)
        entry.racy = trust is not Trust.STATUS or is_racy(entry.signature, wall_ns)
        return trust

    def _trim(self) -> None:
        """Forget what was not looked at for longest, and with it the answers that stand on it."""
        files = sorted(self._files.values(), key=_checked_at)
        self.upsets += 1
        for file in files[: max(0, len(files) - int(self._max_files * _KEPT_SHARE))]:
            self._move(file)
            del self._files[file.path]
            if file.parent is not None and file.parent.children.get(file.name) is file:
                del file.parent.children[file.name]
        for node in sorted(self._listed.values(), key=_checked_at):
            if self._name_count <= self._max_names * _KEPT_SHARE:
                break
            self._drop_listing(node)


_path_of = attrgetter("path")
_checked_at = attrgetter("checked_at")


def _all_below(entry: Entry | None) -> Iterator[Entry]:
    """This one, and all that is remembered below it."""
    pending = [entry] if entry is not None else []
    while pending:
        each = pending.pop()
        yield each
        if isinstance(each, Directory):
            pending += each.children.values()


def _read_all(handle: int, size_bytes: int) -> bytes:
    pieces = []
    while piece := os.read(handle, size_bytes + 1):
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _require_exact_names(path: bytes, names: frozenset[bytes]) -> None:
    """Refuse a directory that answers to names that it does not list, in another case.

    One look at one swapped name for each listing: a directory that was empty, or is another one by now, says
    nothing of what it answers to later.
    """
    for name in names:
        swapped = name.swapcase()
        if swapped != name and swapped not in names:
            if os.path.lexists(path + b"/" + swapped):
                raise DiskDoubtError("case-insensitive", path)
            return
