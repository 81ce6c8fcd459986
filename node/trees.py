"""Input trees: directories that show a job what the client's disk shows its command.

A tree is kept between jobs of one client and grown, since most jobs of a build share most inputs: what
a manifest does not name may remain from earlier ones, and the proof covers it. What it names is there
exactly: one inode for each path (clang tells files apart by inode, gcc by time, size and text), so the
first path of a content is a hard link to the blob and each further one a copy.

The tree's state is remembered, not read back: nobody else writes there (jobs see it as the read-only
layer of an overlay). After a restart everything is wiped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cache.blobs import PLAIN_MTIME_S, BlobStore
from cache.digest import Digest
from node.errors import InputError, MissingInputError
from node.sandbox import MOUNTED_DIRECTORIES, MOUNTED_FILES, is_reserved
from zcc.dumps import is_dump
from zcc.job import Job, Manifest

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A blob has as many links as the file system allows, or lies on another one: then it is copied.
_CANNOT_LINK = (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP)
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
# A tree with more entries than this is not worth keeping.
_MAX_ENTRIES = 50_000
_MAX_IDLE_TREES = 64


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
        self._fitted: Manifest | None = None
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
            OSError: the disk refused; discard the tree.
        """
        if self._fitted is manifest:
            return
        self._fitted = None
        wanted = _wanted(manifest)
        held = self._held
        changed = [(path, entry) for path, entry in wanted.items() if held.get(path) != entry]
        directories = [path for path in manifest.directories if path not in self._directories]
        if changed or directories or manifest.hard_links:
            _check(manifest, wanted)
            with _Hands(self) as hands:
                for path in directories:
                    hands.directory(path)
                for path, entry in changed:
                    self._place(hands, path, entry)
                self._link(hands, manifest)
        self._fitted = manifest

    def make_way(self, job: Job) -> None:
        """Take away what earlier jobs left where this one writes: to the compiler it would be a file that it
        may not open, or a directory in a file's place. To be called when the job's manifest fits.

        Raises:
            OSError: the disk refused; discard the tree.
        """
        held, directories = self._held, self._directories
        in_the_way = [path for path in job.outputs if path in held or path in directories]
        if job.dumps:
            in_the_way += [path for path in held if is_dump(path, job.dumps)]
        if not in_the_way:
            return
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
    def is_large(self) -> bool:
        return len(self._held) + len(self._directories) > _MAX_ENTRIES

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
            os.link(
                other_name, name, src_dir_fd=hands.directory(other), dst_dir_fd=at,
                follow_symlinks=False,
            )  # fmt: skip
        self._held[path] = entry
        self._generations[path] = self._generations.get(path, 0) + 1

    def _place_file(self, path: bytes, name: bytes, at: int, digest: Digest, twin: int) -> None:
        blob = self._store.path_of(digest)
        try:
            if twin == 0 and digest not in self._linked:
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
            shutil.rmtree(name, dir_fd=at)
        elif path in self._held:
            self._forget(path)
            os.unlink(name, dir_fd=at)

    def _forget(self, path: bytes) -> None:
        entry = self._held.pop(path)
        if isinstance(entry, tuple) and self._linked.get(entry[0]) == path:
            del self._linked[entry[0]]


class _Hands:
    """Directories of a tree, opened without following a symlink, for one fitting."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._open: dict[bytes, int] = {}

    def __enter__(self) -> _Hands:
        self._open[b""] = os.open(self._tree.root, _DIRECTORY)
        return self

    def __exit__(self, *failure: object) -> None:
        for handle in self._open.values():
            os.close(handle)

    def directory(self, path: bytes) -> int:
        """A descriptor of this directory, which is made if need be."""
        handle = self._open.get(path)
        if handle is not None:
            return handle
        place = b""
        at = self._open[b""]
        for name in path.split(b"/")[1:]:
            place = place + b"/" + name
            below = self._open.get(place)
            if below is None:
                below = self._open[place] = self._enter(place, name, at)
            at = below
        return at

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


def _check(manifest: Manifest, wanted: dict[bytes, _Entry]) -> None:
    """Raises InputError unless the manifest describes a tree that can be."""
    linked = {path for path, _ in manifest.hard_links}
    count = len(manifest.files) + len(manifest.symlinks)
    if count != len(wanted) or linked & wanted.keys():
        raise InputError("a path is named twice in the manifest")
    leaves = wanted.keys() | linked
    directories = _with_ancestors(manifest.directories)
    directories |= _with_ancestors(path.rpartition(b"/")[0] for path in leaves)
    for path in leaves & directories:
        raise InputError(f"{os.fsdecode(path)} is a file and a directory in the manifest")
    for path in leaves:
        if is_reserved(path) or path == b"/":
            raise InputError(f"{os.fsdecode(path)} cannot be an input")
    for path in manifest.directories:
        if is_reserved(path, is_directory=True):
            raise InputError(f"{os.fsdecode(path)} cannot be an input")
    for _, same_as in manifest.hard_links:
        if not isinstance(wanted.get(same_as), tuple):
            raise InputError(f"{os.fsdecode(same_as)}, a hard link's other name, is no file")


def _with_ancestors(paths: Iterable[bytes]) -> set[bytes]:
    known: set[bytes] = set()
    for path in paths:
        while path not in known and path not in (b"", b"/"):
            known.add(path)
            path = path.rpartition(b"/")[0]
    return known


class TreePool:
    """Trees below one directory, kept idle for the clients that used them."""

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
        while len(self._idle) > self._max_idle:
            self.discard(self._idle.pop(0)[1])

    def forget(self, client_id: bytes) -> None:
        """Drop this client's idle trees, so that its next one is new."""
        idle = [tree for client, tree in self._idle if client == client_id]
        self._idle = [each for each in self._idle if each[0] != client_id]
        for tree in idle:
            self.discard(tree)

    def discard(self, tree: Tree) -> None:
        """Drop a tree whose state is in doubt."""
        self._discard(tree.root)


def wipe_later(path: bytes) -> None:
    """Remove a directory tree that may be large, beside the loop."""
    threading.Thread(target=wipe, args=(path,), daemon=True).start()


def wipe(path: bytes) -> None:
    """Remove a directory tree, whatever modes its directories have; what cannot go stays."""
    for _ in range(_WIPE_ROUNDS):
        try:
            shutil.rmtree(path, onerror=_open_up)
        except RecursionError:
            _flatten(path)
        except OSError:
            return
        if not os.path.lexists(path):
            return


# Deep directories are brought up this many levels at a time.
_WIPE_ROUNDS = 64
_FLATTEN_DEPTH = 200


def _flatten(path: bytes) -> None:
    """Move what lies deep in a tree up to its top, so that a recursive removal can end."""
    place = path
    for _ in range(_FLATTEN_DEPTH):
        with os.scandir(place) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        if not below:
            return
        place = below[0]
    os.rename(place, path + b"/deep-%d" % os.stat(place).st_ino)


def _open_up(action: object, path: Any, failure: object) -> None:
    """A directory without permissions (overlayfs leaves one; a command may) stopped a removal."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o700)
