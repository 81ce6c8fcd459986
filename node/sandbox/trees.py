"""Input trees: directories that show a job what the client's disk shows its command.

A tree holds exactly what the manifest of its last job names: nothing remains of an earlier one, since not
all that reads is logged (the loader and libc open files by themselves: docs/design/security.md). It is kept
between jobs of one client, since most jobs of a build share most inputs, and what they do not share is linked
and unlinked. One inode for each path (clang tells files apart by inode, gcc by time, size and text), so the
first path of a content is a hard link to the blob and each further one a copy.

The tree's state is remembered, not read back: nobody else writes there (jobs see it as the read-only
layer of an overlay). After a restart everything is wiped.
"""

from __future__ import annotations

import errno
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cache.blobs import PLAIN_MTIME_S, BlobStore
from cache.digest import Digest
from node.errors import InputError, MissingInputError, WornTreeError
from node.sandbox.command_line import MOUNTED_DIRECTORIES, MOUNTED_FILES, is_reserved
from node.sandbox.freshness import Freshness
from node.sandbox.wiping import wipe, wipe_later
from zcc.job import (
    MAX_DIRECTORIES,
    SANDBOX_DIRECTORY,
    Manifest,
    contradiction_in,
    with_ancestors,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A blob has as many links as the file system allows, or lies on another one: then it is copied.
_CANNOT_LINK = (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP)
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
# All trees that are kept have no more entries together than this.
_MAX_IDLE_TREES = 64
_MAX_IDLE_ENTRIES = 500_000
# Directories of one tree that are open at a time; a node has 1024 descriptors for all its jobs.
_MAX_HANDS = 64
# Directories that are there whatever a manifest names.
_MOUNT_POINTS = frozenset((b"/dev", SANDBOX_DIRECTORY, *MOUNTED_DIRECTORIES))


@dataclass(frozen=True, slots=True)
class _HardLink:
    """`generation` tells a file from a later one of the same content at its path."""

    same_as: bytes
    generation: int


# A regular file is (digest, twin), a symlink its target: compared some hundred times for each job.
_Entry = tuple[Digest, int] | bytes | _HardLink


class Tree:
    """One input tree, used by one job at a time. `root` is what a job sees, `place` all that belongs to it."""

    def __init__(self, place: bytes, store: BlobStore, freshness: Freshness) -> None:
        self.place = place
        self.root = place + b"/root"
        self._store = store
        self._freshness = freshness
        self._held: dict[bytes, _Entry] = {}
        self._directories: set[bytes] = set()  # but for mount points
        self._spare: list[bytes] = []  # empty directories beside the root, for those that come
        self._linked: dict[Digest, bytes] = {}  # the path that has the blob's own inode
        self._generations: dict[bytes, int] = {}
        self._placed = 0  # entries, ever
        self._shared: frozenset[bytes] = frozenset()  # what has hard links now
        self._fitted: Manifest | None = None
        self.is_new = True  # no job has seen it
        os.makedirs(self.root, mode=_DIRECTORY_MODE)
        # Mount points that are there already save bubblewrap ten files for each job.
        for path in MOUNTED_DIRECTORIES:
            os.makedirs(self.root + path, mode=_DIRECTORY_MODE)
        for path in MOUNTED_FILES:
            os.makedirs(os.path.dirname(self.root + path), mode=_DIRECTORY_MODE, exist_ok=True)
            os.close(os.open(self.root + path, _CREATE, _FILE_MODE))

    def fit(self, manifest: Manifest) -> None:
        """Make the tree hold exactly these entries, the directories above them, and the mount points.

        Raises:
            MissingInputError: a blob is not in the store; fit again when it is.
            InputError: the manifest contradicts itself, or names what the sandbox keeps for itself.
            WornTreeError: a new tree may do; discard this one.
            OSError: the disk refused; discard the tree.
        """
        if self._fitted is manifest:
            return
        self._fitted = None
        self.is_new = False
        held = self._held
        wanted = _wanted(manifest)
        linked = dict(manifest.hard_links)
        directories = _directories_of(manifest)
        # In an order in which few directories are left and entered again, whatever the manifest's is.
        changed = sorted(path for path, entry in wanted.items() if held.get(path) != entry)
        unnamed = sorted(path for path in held if path not in wanted and path not in linked)
        left = self._directories - directories
        fresh = sorted(directories - self._directories)
        _check(manifest, changed, fresh)
        self._shared = frozenset(linked.values())
        if changed or unnamed or left or fresh or linked:
            with _Hands(self) as hands:
                for path in unnamed:
                    self._clear(hands, path)
                for path in sorted(left, reverse=True):
                    hands.put_by(path)
                for path in fresh:
                    hands.directory(path)
                for path in changed:
                    self._place(hands, path, wanted[path])
                self._link(hands, manifest)
        self._fitted = manifest

    @property
    def entries(self) -> int:
        return len(self._held) + len(self._directories) + len(self._spare)

    def _link(self, hands: _Hands, manifest: Manifest) -> None:
        for path, same_as in manifest.hard_links:
            entry = _HardLink(same_as, self._generations.get(same_as, 0))
            if self._held.get(path) != entry:
                self._place(hands, path, entry)

    def _place(self, hands: _Hands, path: bytes, entry: _Entry) -> None:
        self._clear(hands, path)
        parent, _, name = path.rpartition(b"/")
        at = hands.directory(parent)
        if isinstance(entry, tuple):
            self._place_file(path, name, at, *entry)
        elif isinstance(entry, bytes):
            os.symlink(entry, name, dir_fd=at)
        else:
            other, _, other_name = entry.same_as.rpartition(b"/")
            try:
                os.link(
                    other_name, name, src_dir_fd=hands.directory(other), dst_dir_fd=at,
                    follow_symlinks=False,
                )  # fmt: skip
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                raise WornTreeError("a file has all the names that it can have") from error
        self._held[path] = entry
        self._placed += 1
        self._generations[path] = self._placed

    def _place_file(self, path: bytes, name: bytes, at: int, digest: Digest, twin: int) -> None:
        blob = self._store.path_of(digest)
        try:
            # What has hard links is a copy: a blob's names are counted for all trees together.
            if twin == 0 and digest not in self._linked and path not in self._shared:
                try:
                    with self._freshness.linking(blob, digest):
                        os.link(blob, name, dst_dir_fd=at, follow_symlinks=False)
                except OSError as error:
                    if error.errno not in _CANNOT_LINK:
                        raise
                else:
                    self._linked[digest] = path
                    return
            with open(blob, "rb") as file:
                data = file.read()
        except FileNotFoundError as error:
            raise MissingInputError(digest) from error
        with os.fdopen(os.open(name, _CREATE, _FILE_MODE, dir_fd=at), "wb") as file:
            file.write(data)
        mtime = PLAIN_MTIME_S + twin
        os.utime(name, (mtime, mtime), dir_fd=at, follow_symlinks=False)

    def _clear(self, hands: _Hands, path: bytes) -> None:
        """Take away the file or symlink that is held at a path, if there is one."""
        entry = self._held.pop(path, None)
        if entry is None:
            return
        del self._generations[path]
        parent, _, name = path.rpartition(b"/")
        at = hands.directory(parent)
        if isinstance(entry, tuple) and self._linked.get(entry[0]) == path:
            del self._linked[entry[0]]
            with self._freshness.unlinking(self._store.path_of(entry[0]), entry[0]):
                os.unlink(name, dir_fd=at)
        else:
            os.unlink(name, dir_fd=at)


class _Hands:
    """Directories of a tree, opened without following a symlink, for one fitting."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._root = -1
        self._open: OrderedDict[bytes, int] = (
            OrderedDict()
        )  # least recently used first, but for the root

    def __enter__(self) -> _Hands:
        self._root = os.open(self._tree.root, _DIRECTORY)
        return self

    def __exit__(self, *failure: object) -> None:
        os.close(self._root)
        for handle in self._open.values():
            os.close(handle)

    def directory(self, path: bytes) -> int:
        """A descriptor of this directory, which is made if need be; good until _MAX_HANDS are asked for."""
        handle = self._open.get(path)
        if handle is not None:
            self._open.move_to_end(path)
            return handle
        place = b""
        at = self._root
        for name in path.split(b"/")[1:]:
            if not name:
                continue  # the root has no name
            place = place + b"/" + name
            below = self._open.get(place)
            if below is None:
                below = self._open[place] = self._enter(place, name, at)
                self._let_go(but=at)
            at = below
        return at

    def put_by(self, path: bytes) -> None:
        """Move an empty directory out of the tree. To remove it takes 4 ms on ext4, to move it 15 us."""
        handle = self._open.pop(path, None)
        if handle is not None:
            os.close(handle)
        tree = self._tree
        parent, _, name = path.rpartition(b"/")
        spare = tree.place + b"/%d" % len(tree._spare)
        os.rename(name, spare, src_dir_fd=self.directory(parent))
        tree._spare.append(spare)
        tree._directories.discard(path)

    def _let_go(self, but: int) -> None:
        """Close the directory that was not asked for the longest."""
        if len(self._open) > _MAX_HANDS:
            path, handle = self._open.popitem(last=False)
            if handle == but:
                self._open[path] = handle
            else:
                os.close(handle)

    def _enter(self, place: bytes, name: bytes, at: int) -> int:
        tree = self._tree
        if place not in tree._directories and place not in _MOUNT_POINTS:
            if tree._spare:
                os.rename(tree._spare.pop(), name, dst_dir_fd=at)
            else:
                os.mkdir(name, _DIRECTORY_MODE, dir_fd=at)
            tree._directories.add(place)
        return os.open(name, _DIRECTORY, dir_fd=at)


def _wanted(manifest: Manifest) -> dict[bytes, _Entry]:
    wanted: dict[bytes, _Entry] = {file.path: (file.digest, file.twin) for file in manifest.files}
    wanted.update(manifest.symlinks)
    return wanted


def _directories_of(manifest: Manifest) -> set[bytes]:
    """Those that it names and all that are above what it names, but for mount points and the root."""
    named = [file.path for file in manifest.files]
    named += [path for path, _ in (*manifest.symlinks, *manifest.hard_links)]
    above = {path.rpartition(b"/")[0] for path in named}
    return with_ancestors(above.union(manifest.directories), MAX_DIRECTORIES) - _MOUNT_POINTS


def _check(manifest: Manifest, changed: Iterable[bytes], fresh: Iterable[bytes]) -> None:
    """Raises InputError unless the manifest describes a tree that can be; what it holds already can."""
    if why := contradiction_in(manifest):
        raise InputError(why)
    for path in (*changed, *(path for path, _ in manifest.hard_links)):
        if is_reserved(path):
            raise InputError(f"{os.fsdecode(path)} cannot be an input")
    for path in (*fresh, *_MOUNT_POINTS.intersection(manifest.directories)):
        if is_reserved(path, is_directory=True):
            raise InputError(f"{os.fsdecode(path)} cannot be an input")


class TreePool:
    """Trees below one directory, kept idle for the clients that used them.

    When there are too many, the client that has the most loses one: nobody's jobs push out the trees of others.
    """

    def __init__(
        self,
        directory: str,
        store: BlobStore,
        freshness: Freshness,
        max_idle: int = _MAX_IDLE_TREES,
        discard: Callable[[bytes], None] | None = None,
    ) -> None:
        self._directory = os.fsencode(os.path.abspath(directory))
        self._store = store
        self._freshness = freshness
        self._max_idle = max_idle
        self._discard = discard or wipe_later
        self._idle: list[tuple[bytes, Tree]] = []  # least recently used first
        self._made = 0
        if os.path.lexists(self._directory):
            wipe(self._directory)
        os.makedirs(self._directory, mode=0o700)

    def acquire(self, client_id: bytes) -> Tree:
        """A tree for one job of this client; give it back with `release`, or `discard` it."""
        for at in range(len(self._idle) - 1, -1, -1):
            if self._idle[at][0] == client_id:
                return self._idle.pop(at)[1]
        self._made += 1
        return Tree(self._directory + b"/%d" % self._made, self._store, self._freshness)

    def release(self, client_id: bytes, tree: Tree) -> None:
        """Keep the tree for this client's next job."""
        self._idle.append((client_id, tree))
        while True:
            trees = Counter(client for client, _ in self._idle)
            entries = Counter[bytes]()
            for client, each in self._idle:
                entries[client] += each.entries
            if entries.total() > _MAX_IDLE_ENTRIES:
                self._discard_one_of(entries)
            elif len(self._idle) > self._max_idle:
                self._discard_one_of(trees)
            else:
                break

    def _discard_one_of(self, held: Counter[bytes]) -> None:
        """Drop the least recently used tree of the client, or of those clients, that have the most."""
        most = max(held.values())
        at = next(at for at, (client, _) in enumerate(self._idle) if held[client] == most)
        self.discard(self._idle.pop(at)[1])

    def forget(self, client_id: bytes) -> None:
        """Drop this client's idle trees, so that its next one is new."""
        idle = [tree for client, tree in self._idle if client == client_id]
        self._idle = [each for each in self._idle if each[0] != client_id]
        for tree in idle:
            self.discard(tree)

    def forget_all(self) -> None:
        """Drop all idle trees: what is in them is in doubt."""
        idle, self._idle = self._idle, []
        for _, tree in idle:
            self.discard(tree)

    def discard(self, tree: Tree) -> None:
        """Drop a tree whose state is in doubt."""
        self._discard(tree.place)
