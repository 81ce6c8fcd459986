"""Input trees: after a fit, the manifest's entries are there, each with an inode of its own."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.blobs import PLAIN_MTIME_S, BlobStore, Form
from cache.digest import Digest, digest_of
from node.errors import InputError, MissingInputError, WornTreeError
from node.sandbox.freshness import Freshness
from node.sandbox.trees import Tree, TreePool
from node.sandbox.wiping import wipe
from zcc.job import FileInput, Manifest

TEXTS = (b"", b"one", b"two")


@pytest.fixture
def store(tmp_path: object) -> BlobStore:
    store = BlobStore(f"{tmp_path}/blobs", 1 << 20, Form.PLAIN)
    for text in TEXTS:
        store.put(text)
    return store


@pytest.fixture
def pool(tmp_path: object, store: BlobStore) -> TreePool:
    return TreePool(f"{tmp_path}/trees", store, Freshness(), max_idle=2, discard=wipe)


@pytest.fixture
def tree(pool: TreePool) -> Iterator[Tree]:
    tree = pool.acquire(b"client")
    yield tree
    check_modes(tree)


def file(path: bytes, text: bytes = b"one", twin: int = 0) -> FileInput:
    return FileInput(path, digest_of(text), twin)


def files(*listed: FileInput) -> Manifest:
    return Manifest(files=tuple(sorted(listed, key=lambda entry: entry.path)))


def status(tree: Tree, path: bytes) -> os.stat_result:
    return os.lstat(tree.root + path)


def read(tree: Tree, path: bytes) -> bytes:
    with open(os.open(tree.root + path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:
        return opened.read()


def check_modes(tree: Tree) -> None:
    for place, names, _ in os.walk(tree.root):
        for name in names:
            found = os.lstat(os.path.join(place, name))
            assert stat.S_ISLNK(found.st_mode) or stat.S_IMODE(found.st_mode) == 0o755


def test_one_content_at_several_paths_has_several_inodes(tree: Tree, store: BlobStore) -> None:
    tree.fit(files(file(b"/a/x.h"), file(b"/b/x.h"), file(b"/c/x.h", b"two")))
    inodes = [status(tree, path).st_ino for path in (b"/a/x.h", b"/b/x.h", b"/c/x.h")]
    assert len(set(inodes)) == 3
    assert os.stat(store.path_of(digest_of(b"one"))).st_ino == inodes[0]
    assert status(tree, b"/a/x.h").st_mtime == status(tree, b"/b/x.h").st_mtime == PLAIN_MTIME_S


def test_twins_differ_in_time(tree: Tree) -> None:
    tree.fit(files(file(b"/a"), file(b"/b", twin=1), file(b"/c", twin=2), file(b"/d", twin=1)))
    times = [status(tree, path).st_mtime - PLAIN_MTIME_S for path in (b"/a", b"/b", b"/c", b"/d")]
    assert times == [0, 1, 2, 1]


def test_a_lone_file_with_a_twin_number_does_not_touch_the_blob(
    tree: Tree, store: BlobStore
) -> None:
    tree.fit(files(file(b"/a", twin=3)))
    assert status(tree, b"/a").st_mtime == PLAIN_MTIME_S + 3
    assert os.stat(store.path_of(digest_of(b"one"))).st_mtime == PLAIN_MTIME_S


def test_hard_links_are_one_inode_and_follow_their_file(tree: Tree) -> None:
    links = ((b"/l/x", b"/a"),)
    tree.fit(Manifest(files=(file(b"/a"),), hard_links=links))
    assert status(tree, b"/l/x").st_ino == status(tree, b"/a").st_ino
    tree.fit(Manifest(files=(file(b"/a", b"two"),), hard_links=links))
    assert status(tree, b"/l/x").st_ino == status(tree, b"/a").st_ino
    assert read(tree, b"/l/x") == b"two"
    tree.fit(files(file(b"/a", b"one"), file(b"/l/x", b"one")))
    assert status(tree, b"/l/x").st_ino != status(tree, b"/a").st_ino


def test_symlinks_are_literal(tree: Tree) -> None:
    links = ((b"/d/l", b"../x/./y\xff"), (b"/e", b"/etc"))
    tree.fit(Manifest(symlinks=links))
    for path, target in links:
        assert os.readlink(tree.root + path) == target


def test_files_directories_and_symlinks_replace_each_other(tree: Tree) -> None:
    tree.fit(files(file(b"/x/y/z"), file(b"/k")))
    tree.fit(files(file(b"/x")))
    assert read(tree, b"/x") == b"one"
    tree.fit(Manifest(symlinks=((b"/x", b"/etc"),)))
    tree.fit(files(file(b"/x/passwd", b"two")))
    assert read(tree, b"/x/passwd") == b"two"
    tree.fit(Manifest(directories=(b"/x/passwd/sub",)))
    assert stat.S_ISDIR(status(tree, b"/x/passwd/sub").st_mode)
    tree.fit(files(file(b"/x/y/z")))
    assert read(tree, b"/x/y/z") == b"one"
    assert not os.path.lexists(tree.root + b"/k")


def test_nothing_is_written_through_a_symlink(tree: Tree, tmp_path: object) -> None:
    outside = os.fsencode(f"{tmp_path}/outside")
    os.mkdir(outside)
    tree.fit(Manifest(symlinks=((b"/s", outside),)))
    tree.fit(files(file(b"/s/a")))
    assert os.listdir(outside) == []
    # Even if someone had changed the tree behind its back.
    os.rename(tree.root + b"/s", tree.root + b"/t")
    os.symlink(outside, tree.root + b"/s")
    with pytest.raises(NotADirectoryError):
        tree.fit(files(file(b"/s/b")))
    assert os.listdir(outside) == []


@pytest.mark.long
def test_a_tree_has_few_directories_open_however_many_it_has(tree: Tree) -> None:
    before = set(os.listdir("/proc/self/fd"))
    most = 0

    def counted(*arguments: object, **options: object) -> int:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")) - len(before))
        return real(*arguments, **options)  # type: ignore[arg-type]

    real = os.open
    deep = tuple(b"/d%d" % number + b"/x" * (number % 90) for number in range(300))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", counted)
        tree.fit(Manifest(directories=deep))
    assert most < 100
    assert all(os.path.isdir(tree.root + path) for path in deep)
    assert set(os.listdir("/proc/self/fd")) == before


def test_what_has_hard_links_is_no_name_of_the_blob(tree: Tree, store: BlobStore) -> None:
    manifest = Manifest(files=(file(b"/a"),), hard_links=((b"/b", b"/a"), (b"/c", b"/a")))
    tree.fit(manifest)
    assert os.stat(store.path_of(digest_of(b"one"))).st_nlink == 1
    assert status(tree, b"/a").st_nlink == 3


def test_a_file_that_has_all_the_names_that_it_can_have_wears_the_tree_out(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, "too many links")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(WornTreeError):
        tree.fit(Manifest(files=(file(b"/a"),), hard_links=((b"/b", b"/a"),)))


def test_idle_trees_have_a_bound_in_all(pool: TreePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.sandbox.trees._MAX_IDLE_ENTRIES", 30)
    trees = [pool.acquire(b"%d" % at) for at in range(2)]
    for at, tree in enumerate(trees):
        tree.fit(files(*(file(b"/%d" % number) for number in range(20))))
        pool.release(b"%d" % at, tree)
    assert [os.path.exists(tree.root) for tree in trees] == [False, True]


def test_a_client_with_many_trees_pushes_out_its_own(pool: TreePool) -> None:
    trees = [pool.acquire(name) for name in (b"other", b"greedy", b"greedy", b"greedy")]
    for name, tree in zip((b"other", b"greedy", b"greedy", b"greedy"), trees, strict=True):
        pool.release(name, tree)
    assert [os.path.exists(tree.root) for tree in trees] == [True, False, False, True]


def test_a_missing_blob_is_named_and_may_be_brought(tree: Tree, store: BlobStore) -> None:
    digest = digest_of(b"late")
    manifest = files(file(b"/a"), FileInput(b"/b", digest), file(b"/c"))
    with pytest.raises(MissingInputError) as caught:
        tree.fit(manifest)
    assert caught.value.digest == digest
    store.put(b"late")
    tree.fit(manifest)
    assert read(tree, b"/b") == b"late"


@pytest.mark.parametrize(
    "manifest",
    [
        files(file(b"/a"), file(b"/a/b")),
        Manifest(files=(file(b"/a/b"),), symlinks=((b"/a", b"x"),)),
        Manifest(files=(file(b"/a"),), directories=(b"/a",)),
        Manifest(files=(file(b"/a"),), symlinks=((b"/a", b"x"),)),
        Manifest(files=(file(b"/a"),), hard_links=((b"/a", b"/a"),)),
        Manifest(hard_links=((b"/a", b"/b"),)),
        files(file(b"/.zcc/log")),
        files(file(b"/proc/x")),
        Manifest(symlinks=((b"/dev", b"/oldroot/etc"),)),
        Manifest(symlinks=((b"/proc", b"/oldroot/etc"),)),
        Manifest(directories=(b"/.zcc/tmp",)),
        Manifest(directories=(b"/dev/null",)),
        files(file(b"/dev/null/x")),
        files(file(b"/")),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(tree: Tree, manifest: Manifest) -> None:
    before = os.listdir(tree.root)
    with pytest.raises(InputError):
        tree.fit(manifest)
    assert os.listdir(tree.root) == before


def test_the_root_and_proc_may_be_named_as_directories(tree: Tree) -> None:
    tree.fit(Manifest(directories=(b"/", b"/dev", b"/proc", b"/x")))
    assert stat.S_ISDIR(status(tree, b"/x").st_mode)


@pytest.mark.parametrize("code", [errno.EMLINK, errno.EXDEV])
def test_what_cannot_be_linked_is_copied(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(os, "link", refuse)
    tree.fit(files(file(b"/a"), file(b"/b")))
    assert read(tree, b"/a") == read(tree, b"/b") == b"one"
    assert status(tree, b"/a").st_mtime == PLAIN_MTIME_S


def test_a_tree_returns_to_its_client(pool: TreePool) -> None:
    mine, yours = pool.acquire(b"me"), pool.acquire(b"you")
    mine.fit(files(file(b"/mine")))
    pool.release(b"me", mine)
    pool.release(b"you", yours)
    assert pool.acquire(b"me") is mine
    assert pool.acquire(b"me") is not mine
    assert pool.acquire(b"you") is yours


def test_the_least_recently_used_idle_tree_leaves(pool: TreePool) -> None:
    trees = [pool.acquire(b"%d" % at) for at in range(3)]
    for at, tree in enumerate(trees):
        pool.release(b"%d" % at, tree)
    assert [os.path.exists(tree.root) for tree in trees] == [False, True, True]


def test_a_restart_wipes_what_was_there(pool: TreePool, store: BlobStore, tmp_path: object) -> None:
    tree = pool.acquire(b"me")
    tree.fit(files(file(b"/a")))
    TreePool(f"{tmp_path}/trees", store, Freshness())
    assert os.listdir(f"{tmp_path}/trees") == []
    assert store.has(digest_of(b"one"))


def test_a_file_is_known_however_many_trees_take_and_lose_it(
    store: BlobStore, tmp_path: object
) -> None:
    freshness = Freshness()
    pool = TreePool(f"{tmp_path}/trees", store, freshness, discard=wipe)
    trees = [pool.acquire(b"%d" % at) for at in range(3)]
    expected = [(b"/x.h", digest_of(b"one"))]
    for _ in range(2):
        for tree in trees:
            tree.fit(files(file(b"/x.h")))
            assert freshness.rotten(tree.root, expected) == []
        for tree in trees[:2]:
            tree.fit(files(file(b"/y.h", b"two")))
            assert freshness.rotten(trees[2].root, expected) == []
    assert freshness.files_read == 1


PATHS = st.lists(st.sampled_from([b"/a", b"/b", b"/c"]), min_size=1, max_size=3).map(b"".join)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that can be: no path is below a file."""
    paths = draw(st.sets(PATHS, max_size=8))
    leaves = sorted(p for p in paths if not any(q.startswith(p + b"/") for q in paths))
    listed: list[FileInput] = []
    links, hard, directories = [], [], []
    for path in leaves:
        kind = draw(st.sampled_from("ffflhd"))
        if kind == "h" and not listed:
            kind = "f"
        if kind == "f":
            listed.append(file(path, draw(st.sampled_from(TEXTS)), draw(st.integers(0, 1))))
        elif kind == "l":
            links.append((path, draw(st.sampled_from([b"/a", b"../b", b"c"]))))
        elif kind == "h":
            hard.append((path, draw(st.sampled_from(listed)).path))
        else:
            directories.append(path)
    return Manifest(tuple(listed), tuple(links), tuple(directories), tuple(hard))


@pytest.mark.long
@settings(deadline=None, max_examples=60)
@given(st.lists(manifests(), max_size=6))
def test_after_any_history_a_tree_shows_the_last_manifest_and_nothing_else(
    history: list[Manifest],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = BlobStore(f"{directory}/blobs", 1 << 20, Form.PLAIN)
        for text in TEXTS:
            store.put(text)
        tree = TreePool(f"{directory}/trees", store, Freshness()).acquire(b"me")
        bare = shown(tree)
        for manifest in history:
            tree.fit(manifest)
            check_shows(tree, manifest)
            assert shown(tree) - bare == named_by(manifest)


def shown(tree: Tree) -> set[bytes]:
    """All paths of the tree."""
    return {
        os.path.join(place, name)[len(tree.root) :]
        for place, directories, names in os.walk(tree.root)
        for name in (*directories, *names)
    }


def named_by(manifest: Manifest) -> set[bytes]:
    """All paths that a manifest names, and those above them."""
    named = {entry.path for entry in manifest.files} | set(manifest.directories)
    named.update(path for path, _ in (*manifest.symlinks, *manifest.hard_links))
    for path in list(named):
        while path := path.rpartition(b"/")[0]:
            named.add(path)
    return named


def check_shows(tree: Tree, manifest: Manifest) -> None:
    inodes: dict[int, bytes] = {}
    for entry in manifest.files:
        found = status(tree, entry.path)
        assert digest_of(read(tree, entry.path)) == entry.digest
        assert found.st_mtime == PLAIN_MTIME_S + entry.twin
        assert inodes.setdefault(found.st_ino, entry.path) == entry.path
    for path, same_as in manifest.hard_links:
        assert status(tree, path).st_ino == status(tree, same_as).st_ino
    for path, target in manifest.symlinks:
        assert os.readlink(tree.root + path) == target
    for path in manifest.directories:
        assert stat.S_ISDIR(status(tree, path).st_mode)


@pytest.mark.parametrize(
    "left", [b"/etc/ld.so.preload", b"/usr/lib/x/libc.so.6", b"/dev/x", b"/src/a.h", b"/x"]
)
def test_nothing_remains_of_what_an_earlier_job_named(tree: Tree, left: bytes) -> None:
    """What the loader opens is in no log, so a later job's result would not show it."""
    bare = shown(tree)
    tree.fit(Manifest((file(left),), ((left + b".link", b"x"),), (left + b".d/e",)))
    tree.fit(files(file(b"/src/a.c")))
    assert shown(tree) - bare == {b"/src", b"/src/a.c"}


def test_a_directory_comes_back_as_empty_as_it_went(tree: Tree) -> None:
    for name in (b"/a", b"/b", b"/c"):
        tree.fit(files(file(name + b"/x/y"), file(name + b"/z")))
        tree.fit(Manifest(directories=(name + b"/x", b"/other")))
        assert os.listdir(tree.root + name + b"/x") == os.listdir(tree.root + b"/other") == []


def test_fitting_what_fits_already_touches_no_file(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [FileInput(b"/d%d/f%d" % (at % 9, at), Digest(digest_of(b"one"))) for at in range(99)]
    tree.fit(files(*listed))
    monkeypatch.setattr(os, "open", None)
    tree.fit(files(*listed))
