"""Input trees: directories that show a job what the client's disk shows its command.

A tree is kept between jobs of one client and grown, since most jobs of a build share most inputs: what
a manifest does not name may remain from earlier ones, and the proof covers it. What it names is there
exactly: one inode for each path (clang tells files apart by inode, gcc by time, size and text), so the
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
from node.sandbox import MOUNTED_DIRECTORIES, MOUNTED_FILES, is_reserved
from node.wiping import wipe, wipe_later
from zcc.dumps import is_dump
from zcc.job import Job, Manifest, contradiction_in

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A blob has as many links as the file system allows, or lies on another one: then it is copied.
_CANNOT_LINK = (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP)
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
# A tree with more entries than this is not worth keeping, and all that are kept have no more than that.
_MAX_ENTRIES = 50_000
_MAX_IDLE_TREES = 64
_MAX_IDLE_ENTRIES = 500_000
# Directories that become something else: each costs a look at all that the tree holds. Beyond it a new tree is
# cheaper.
_MAX_OVERTURNED = 16
# Directories of one tree that are open at a time; a node has 1024 descriptors for all its jobs.
_MAX_HANDS = 64


@dataclass(frozen=True, slots=True)
class _HardLink:
    """`generation` tells a file from a later one of the same content at its path."""

    same_as: bytes
    generation: int


# A regular file is (digest, twin), a symlink its target: compared some hundred times for each job.
_Entry = tuple[Digest, int] | bytes | _HardLink


class Tree:
    """One input tree, used by one job at a time."""

    def __init__(self, root: bytes, store: BlobStore) -> None:
        self.root = root
        self._store = store
        self._held: dict[bytes, _Entry] = {}
        self._directories: set[bytes] = {b"", b"/", b"/dev", b"/proc"}
        self._linked: dict[Digest, bytes] = {}  # the path that has the blob's own inode
        self._generations: dict[bytes, int] = {}
        self._shared: frozenset[bytes] = frozenset()  # what has hard links now
        self._fitted: Manifest | None = None
        self.is_new = True  # no job has seen it
        os.makedirs(root, mode=_DIRECTORY_MODE)
        # Mount points that are there already save bubblewrap ten files for each job.
        for path in MOUNTED_DIRECTORIES:
            os.makedirs(root + path, mode=_DIRECTORY_MODE)
        for path in MOUNTED_FILES:
            os.makedirs(os.path.dirname(root + path), mode=_DIRECTORY_MODE, exist_ok=True)
            os.close(os.open(root + path, _CREATE, _FILE_MODE))

    def fit(self, manifest: Manifest) -> None:
        """Make the tree hold exactly these entries at their paths; others may remain.

        Raises:
            MissingInputError: a blob is not in the store; fit again when it is.
            InputError: the manifest contradicts itself, or names what the sandbox keeps for itself.
            WornTreeError: a new tree is cheaper; discard this one.
            OSError: the disk refused; discard the tree.
        """
        if self._fitted is manifest:
            return
        self._fitted = None
        self.is_new = False
        wanted = _wanted(manifest)
        held = self._held
        # In an order in which few directories are left and entered again, whatever the manifest's is.
        changed = sorted(path for path, entry in wanted.items() if held.get(path) != entry)
        directories = [path for path in manifest.directories if path not in self._directories]
        if changed or directories or manifest.hard_links:
            _check(manifest)
            self._shared = frozenset(same_as for _, same_as in manifest.hard_links)
            linked = [path for path, _ in manifest.hard_links if path in self._directories]
            self._spare([path for path in changed if path in self._directories] + linked)
            with _Hands(self) as hands:
                for path in sorted(directories):
                    hands.directory(path)
                for path in changed:
                    self._place(hands, path, wanted[path])
                self._link(hands, manifest)
        self._fitted = manifest

    def make_way(self, job: Job) -> None:
        """Take away what earlier jobs left where this one writes: to the compiler it would be a file that it
        may not open, or a directory in a file's place. To be called when the job's manifest fits.

        Raises:
            WornTreeError: a new tree is cheaper; discard this one.
            OSError: the disk refused; discard the tree.
        """
        held, directories = self._held, self._directories
        in_the_way = [path for path in job.outputs if path in held or path in directories]
        if job.dumps:
            bases = frozenset(job.dumps)
            in_the_way += [path for path in held if is_dump(path, bases)]
        if not in_the_way:
            return
        self._spare([path for path in in_the_way if path in directories])
        manifest = job.manifest
        named = _wanted(manifest).keys() | {path for path, _ in manifest.hard_links}
        named |= _with_ancestors(manifest.directories)
        named |= _with_ancestors(path.rpartition(b"/")[0] for path in named)
        with _Hands(self) as hands:
            for path in in_the_way:
                # What lay below another of them has gone with it.
                is_there = path in held or path in self._directories
                if is_there and path not in named and path != b"/" and not is_reserved(path):
                    parent, _, name = path.rpartition(b"/")
                    self._clear(path, name, hands.directory(parent))

    @property
    def entries(self) -> int:
        return len(self._held) + len(self._directories)

    @property
    def is_large(self) -> bool:
        return self.entries > _MAX_ENTRIES

    def _spare(self, overturned: list[bytes]) -> None:
        if len(overturned) > _MAX_OVERTURNED:
            raise WornTreeError(f"{len(overturned)} directories would become something else")

    def _link(self, hands: _Hands, manifest: Manifest) -> None:
        for path, same_as in manifest.hard_links:
            entry = _HardLink(same_as, self._generations.get(same_as, 0))
            if self._held.get(path) != entry:
                self._place(hands, path, entry)

    def _place(self, hands: _Hands, path: bytes, entry: _Entry) -> None:
        parent, _, name = path.rpartition(b"/")
        at = hands.directory(parent)
        self._clear(path, name, at)
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
        self._generations[path] = self._generations.get(path, 0) + 1

    def _place_file(self, path: bytes, name: bytes, at: int, digest: Digest, twin: int) -> None:
        blob = self._store.path_of(digest)
        try:
            # What has hard links is a copy: a blob's names are counted for all trees together.
            if twin == 0 and digest not in self._linked and path not in self._shared:
                try:
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

    def _clear(self, path: bytes, name: bytes, at: int) -> None:
        """Take away what is held at a path."""
        if path in self._directories:
            below = path + b"/"
            for other in [other for other in self._held if other.startswith(below)]:
                self._forget(other)
            self._directories = {
                other
                for other in self._directories
                if other != path and not other.startswith(below)
            }
            self._put_away(name, at)
        elif path in self._held:
            self._forget(path)
            os.unlink(name, dir_fd=at)

    def _put_away(self, name: bytes, at: int) -> None:
        grave = self.root + b".cleared"
        os.rename(name, grave, src_dir_fd=at)
        wipe(grave)

    def _forget(self, path: bytes) -> None:
        entry = self._held.pop(path)
        if isinstance(entry, tuple) and self._linked.get(entry[0]) == path:
            del self._linked[entry[0]]


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
        if place not in tree._directories:
            tree._clear(place, name, at)
            os.mkdir(name, _DIRECTORY_MODE, dir_fd=at)
            tree._directories.add(place)
        return os.open(name, _DIRECTORY, dir_fd=at)


def _wanted(manifest: Manifest) -> dict[bytes, _Entry]:
    wanted: dict[bytes, _Entry] = {file.path: (file.digest, file.twin) for file in manifest.files}
    wanted.update(manifest.symlinks)
    return wanted


def _check(manifest: Manifest) -> None:
    """Raises InputError unless the manifest describes a tree that can be."""
    if why := contradiction_in(manifest):
        raise InputError(why)
    links = (path for path, _ in (*manifest.symlinks, *manifest.hard_links))
    for path in (*(file.path for file in manifest.files), *links):
        if is_reserved(path):
            raise InputError(f"{os.fsdecode(path)} cannot be an input")
    for path in manifest.directories:
        if is_reserved(path, is_directory=True):
            raise InputError(f"{os.fsdecode(path)} cannot be an input")


def _with_ancestors(paths: Iterable[bytes]) -> set[bytes]:
    known: set[bytes] = set()
    for path in paths:
        while path not in known and path not in (b"", b"/"):
            known.add(path)
            path = path.rpartition(b"/")[0]
    return known


class TreePool:
    """Trees below one directory, kept idle for the clients that used them.

    When there are too many, the client that has the most loses one: nobody's jobs push out the trees of others.
    """

    def __init__(
        self,
        directory: str,
        store: BlobStore,
        max_idle: int = _MAX_IDLE_TREES,
        discard: Callable[[bytes], None] | None = None,
    ) -> None:
        self._directory = os.fsencode(os.path.abspath(directory))
        self._store = store
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
        return Tree(self._directory + b"/%d" % self._made, self._store)

    def release(self, client_id: bytes, tree: Tree) -> None:
        """Keep the tree for this client's next job."""
        if tree.is_large:
            self.discard(tree)
            return
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
        self._discard(tree.root)
