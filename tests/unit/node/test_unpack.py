"""Toolchains from strangers: each attack is refused, and nothing is written outside."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.digest import Digest, digest_of
from cache.eviction import BLOCK_BYTES
from node.errors import QuotaError, ToolchainError
from node.sandbox.wiping import wipe
from node.toolchains.store import ToolchainStore, read_about, self_test
from node.toolchains.unpack import Caps, UnpackError, unpack
from tests.support.other_user import as_an_ordinary_user
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.signatures import signature_of
from zcc.compiler.toolchain.index import Gathered, Identity, Member, MemberKind
from zcc.compiler.toolchain.pack import pack
from zcc.job import decode_job, encode_job

METADATA = {
    "format": 1, "family": "gcc", "version": "gcc version 1", "target": "t",
    "c": "/usr/bin/gcc", "c++": "", "path": ["/usr/bin"],
}  # fmt: skip


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **more: object) -> bytes:
    """One tar entry, made by Python's own tarfile."""
    info = tarfile.TarInfo(name)
    # tarfile puts a slash behind a directory's name, and zcc does not.
    info.type = tarfile.REGTYPE if kind == tarfile.DIRTYPE else kind
    info.size, info.mode = len(data), 0o644
    for field, value in more.items():
        setattr(info, field, value)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    if kind == tarfile.DIRTYPE:
        header[-512 + 156 : -512 + 157] = kind
        header[-512 + 148 : -512 + 156] = b" " * 8
        header[-512 + 148 : -512 + 156] = b"%06o\0 " % sum(header[-512:])
    return bytes(header) + data + bytes(-len(data) % 512)


def metadata(**changes: object) -> bytes:
    return entry(".zcc/toolchain.json", data=json.dumps(METADATA | changes).encode())


def directory(name: str) -> bytes:
    return entry(name, tarfile.DIRTYPE, mode=0o755)


def link(name: str, target: str) -> bytes:
    return entry(name, tarfile.SYMTYPE, linkname=target)


END = bytes(1024)
GOOD = (
    metadata() + directory("usr") + directory("usr/bin") + entry("usr/bin/gcc", data=b"x" * 700)
    + link("bin", "usr/bin") + END
)  # fmt: skip


class Case:
    """A directory to unpack in, with something beside it that must not change."""

    def __init__(self, top: Path) -> None:
        self.top = os.fsencode(top)
        self.root = self.top + b"/in/root"
        os.mkdir(self.top + b"/in")
        with open(self.top + b"/in/victim", "wb") as file:
            file.write(b"mine")

    def unpack(self, tar: bytes, frame: bytes | None = None, caps: Caps | None = None) -> None:
        path = self.top + b"/frame"
        with open(path, "wb") as file:
            file.write(zstandard.compress(tar, 1) if frame is None else frame)
        unpack(os.fsdecode(path), digest_of(tar), self.root, caps)

    def assert_nothing_outside(self) -> None:
        assert sorted(os.listdir(self.top)) in ([b"frame", b"in"], [b"in"])
        assert set(os.listdir(self.top + b"/in")) <= {b"root", b"victim"}
        with open(self.top + b"/in/victim", "rb") as file:
            assert file.read() == b"mine"


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    yield case
    case.assert_nothing_outside()


LONG_NAME = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"a" * 120 + b"\0")
# (attack, why it is refused) -> what follows good metadata.
ATTACKS = {
    ("dots", "goes down"): entry("../victim", data=b"bad"),
    ("dots further in", "goes down"): directory("a") + entry("a/../../victim", data=b"bad"),
    ("absolute", "goes down"): entry("/tmp/zcc-attack", data=b"bad"),
    ("a dot", "goes down"): directory("."),
    ("an empty part", "goes down"): directory("a") + entry("a//b"),
    ("an empty name", "goes down"): entry(""),
    ("through a symlink", "in no directory"): link("a", "..") + entry("a/victim", data=b"bad"),
    ("through a symlink that was a directory", "twice"): directory("a") + link("a", "..")
    + entry("a/victim", data=b"bad"),
    ("over a symlink", "twice"): link("a", "../victim") + entry("a", data=b"bad"),
    ("a hard link out", "type"): entry("a", tarfile.LNKTYPE, linkname="../victim"),
    ("a hard link in", "type"): entry("a") + entry("b", tarfile.LNKTYPE, linkname="a"),
    ("a device", "type"): entry("a", tarfile.CHRTYPE, devmajor=1, devminor=3),
    ("a block device", "type"): entry("a", tarfile.BLKTYPE, devmajor=8),
    ("a pipe", "type"): entry("a", tarfile.FIFOTYPE),
    ("a sparse file", "type"): entry("a", tarfile.GNUTYPE_SPARSE),
    ("a PAX header", "type|contents"): entry("a", tarfile.XHDTYPE, b"11 path=../b\n"),
    ("a global PAX header", "type|contents"): entry("a", tarfile.XGLTYPE, b"11 path=../b\n"),
    ("a contiguous file", "type"): entry("a", tarfile.CONTTYPE),
    ("setuid", "setuid"): entry("a", mode=0o4755),
    ("setgid", "setuid"): entry("a", tarfile.DIRTYPE, mode=0o2755),
    ("sticky", "setuid"): entry("a", tarfile.DIRTYPE, mode=0o1777),
    ("twice", "twice"): entry("a") + entry("a"),
    ("a directory twice", "twice"): directory("a") + directory("a"),
    ("no parent", "in no directory"): entry("a/b"),
    ("a parent that is a file", "in no directory"): entry("a") + entry("a/b"),
    ("a parent that comes later", "in no directory"): entry("a/b") + directory("a"),
    ("our own directory", "its own files"): directory(".zcc") + entry(".zcc/lookups.so", data=b"bad"),
    ("the metadata again", "its own files"): metadata(),
    ("a long component", "too long"): entry("a" * 256),
    ("a long path", "too long|target of"): directory("/".join(["d" * 250] * 17)),
    ("an empty target", "target of 0"): link("a", ""),
    ("a directory with contents", "has contents"): entry("a", tarfile.DIRTYPE, b"data"),
    ("a symlink with contents", "has contents"): entry("a", tarfile.SYMTYPE, b"data", linkname="b"),
    ("a long name twice", "has contents"): LONG_NAME * 2 + entry("a"),
    ("a long name with NUL", "NUL"): entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"a\0/../b\0")
    + entry("a"),
    ("a long name without a file", "middle"): entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"abc\0"),
    ("a huge long name", "9001 bytes"): entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"a" * 9000 + b"\0"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "reason"), ATTACKS)
def test_an_attack_is_refused(case: Case, name: str, reason: str) -> None:
    with pytest.raises(UnpackError, match=reason):
        case.unpack(metadata() + ATTACKS[name, reason] + END)


@pytest.mark.parametrize(
    "tar",
    [
        b"",
        END,
        entry("usr", tarfile.DIRTYPE) + END,
        GOOD[:-1024],
        GOOD[:-512],
        GOOD[:700],
        GOOD[:1500] + GOOD[2012:],
        GOOD + b"more",
        GOOD + entry("a"),
        metadata() + entry("a", data=b"x")[:-1] + b"y" + END,
        metadata() + entry("a").replace(b"ustar  ", b"ustar\x0000") + END,
        metadata() + b"\xff" * 512 + END,
        metadata() + entry("a", size=1 << 40)[:512] + END,
        entry(".zcc/toolchain.json", data=bytes(1 << 17)) + END,
    ],
)
def test_a_damaged_tar_is_refused(case: Case, tar: bytes) -> None:
    with pytest.raises(UnpackError):
        case.unpack(tar)


def test_a_wrong_digest_is_refused(case: Case) -> None:
    with pytest.raises(UnpackError, match="digest"):
        case.unpack(GOOD, frame=zstandard.compress(GOOD.replace(b"x" * 700, b"y" * 700)))


def streamed(data: bytes) -> bytes:
    """A frame that does not record its size."""
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
        writer.write(data)
    return out.getvalue()


@pytest.mark.parametrize(
    "frame",
    [b"", b"not zstd at all....", streamed(GOOD), zstandard.compress(GOOD)[:-9], GOOD],
    ids=["empty", "text", "no size", "cut", "plain"],
)
def test_what_is_no_whole_frame_is_refused(case: Case, frame: bytes) -> None:
    with pytest.raises(UnpackError):
        case.unpack(GOOD, frame=frame)


BOMB = metadata() + entry("bomb", data=bytes(4 << 20)) + END


@pytest.mark.parametrize(
    ("tar", "caps", "reason"),
    [
        (BOMB, Caps(total_bytes=1 << 20), "at most"),
        (BOMB, Caps(ratio_from_bytes=1 << 20), "claim to become"),
        (GOOD, Caps(entries=3), "more than 3 entries"),
        (GOOD, Caps(path_bytes=8), "too long"),
    ],
)
def test_each_cap_holds(case: Case, tar: bytes, caps: Caps, reason: str) -> None:
    with pytest.raises(UnpackError, match=reason):
        case.unpack(tar, caps=caps)
    assert not os.path.exists(case.root + b"/bomb")


def test_a_frame_that_lies_about_its_size_is_refused(case: Case) -> None:
    frame = bytearray(zstandard.compress(BOMB, 1))
    size = len(BOMB).to_bytes(4, "little")
    at = frame.index(size)
    frame[at : at + 4] = (len(GOOD) + 512).to_bytes(4, "little")
    with pytest.raises(UnpackError):
        case.unpack(BOMB, frame=bytes(frame))


def test_a_good_tar_is_unpacked_read_only_and_ours(case: Case) -> None:
    case.unpack(GOOD)
    assert os.readlink(case.root + b"/bin") == b"usr/bin"
    assert not os.path.exists(case.root + b"/.zcc")
    for above, names, files in os.walk(case.root):
        for name in (b"", *names, *files):
            status = os.lstat(os.path.join(above, name))
            assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
            assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o7222


def test_symlinks_may_point_anywhere(case: Case) -> None:
    case.unpack(metadata() + link("a", "/etc/passwd") + link("b", "../../victim") + END)
    assert os.readlink(case.root + b"/a") == b"/etc/passwd"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255), length=st.integers(1, 20))
def test_no_damage_writes_outside_or_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, length: int
) -> None:
    case = Case(tmp_path_factory.mktemp("case"))
    tar = bytearray(GOOD)
    tar[at : at + length] = bytes([value]) * min(length, len(tar) - at)
    try:
        case.unpack(bytes(tar))
    except (UnpackError, OSError):
        pass
    case.assert_nothing_outside()


# ---- what zcc packs, the node takes ----------------------------------------------------------------


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(st.binary(min_size=1, max_size=150).filter(lambda b: not set(b) & {0, 47}),
                  max_size=6),
    target=st.binary(min_size=1, max_size=300).filter(lambda b: 0 not in b),
    data=st.binary(max_size=2000),
)  # fmt: skip
def test_any_names_and_contents_come_through(
    tmp_path_factory: pytest.TempPathFactory, names: set[bytes], target: bytes, data: bytes
) -> None:
    top = os.fsencode(os.path.realpath(tmp_path_factory.mktemp("pack")))
    names -= {b".", b".."}
    members = []
    above = top
    while above != b"/":
        members.append(Member(above, MemberKind.DIRECTORY))
        above = os.path.dirname(above)
    for name in names:
        path = top + b"/" + name
        with open(path, "wb") as file:
            file.write(data)
        members.append(
            Member(path, MemberKind.FILE, signature_of(os.stat(path)), len(name) % 2 == 0)
        )
    members.append(Member(top + b"/" + b"l" * 200, MemberKind.SYMLINK, target=target))
    gathered = Gathered(
        Identity(Family.GCC, "v\udcff", "t"),
        tuple(sorted(members, key=lambda member: member.path)), (), (), {"c": b"/bin/\xff"},
    )  # fmt: skip
    packed = pack(gathered, os.fsdecode(top) + "-pack")
    with open(top + b"-pack", "rb") as file:
        frame = file.read()
    assert zstandard.frame_content_size(frame) == packed.size_bytes
    # Any other reader of tar files takes it as well.
    with tarfile.open(
        fileobj=io.BytesIO(zstandard.decompress(frame)), encoding="utf-8", errors="surrogateescape"
    ) as tar:
        assert len(tar.getmembers()) == len(members) + 1
    root = top + b"-root"
    unpacked = unpack(os.fsdecode(top) + "-pack", packed.digest, root)
    assert read_about(unpacked.metadata).c == b"/bin/\xff"
    for member in members:
        path = root + member.path
        if member.kind is MemberKind.SYMLINK:
            assert os.readlink(path) == target
        elif member.kind is MemberKind.FILE:
            with open(path, "rb") as file:
                assert file.read() == data
            assert bool(os.stat(path).st_mode & 0o111) == member.is_executable


# ---- the store -------------------------------------------------------------------------------------


@pytest.fixture
def frame_of(tmp_path: Path) -> Callable[[bytes], tuple[Digest, str]]:
    def write(tar: bytes) -> tuple[Digest, str]:
        digest = digest_of(tar)
        path = str(tmp_path / digest.hex())
        with open(path, "wb") as file:
            file.write(zstandard.compress(tar, 1))
        return digest, path

    return write


def toolchain(size: int, version: str = "1") -> bytes:
    return metadata(version=version) + entry("a", data=os.urandom(size)) + END


def store_at(path: Path, limit_bytes: int = 1 << 20) -> ToolchainStore:
    return ToolchainStore(str(path / "store"), limit_bytes)


Framed = Callable[[bytes], tuple[Digest, str]]


def test_an_installed_toolchain_is_there_after_a_restart(tmp_path: Path, frame_of: Framed) -> None:
    digest, path = frame_of(GOOD)
    store = store_at(tmp_path)
    assert not store.has(digest)
    store.install(digest, path)
    os.mkdir(os.path.join(store.directory, "tmp", "half-unpacked"))
    again = store_at(tmp_path)
    assert again.has(digest)
    assert os.listdir(os.path.join(store.directory, "tmp")) == []
    assert os.path.isfile(again.root_of(digest) + b"/usr/bin/gcc")
    assert again.about(digest).c == b"/usr/bin/gcc"
    assert again.size_bytes >= 700


def test_a_store_that_is_opened_with_a_lower_limit_keeps_to_it(
    tmp_path: Path, frame_of: Framed
) -> None:
    store = store_at(tmp_path)
    digest, path = frame_of(toolchain(100_000))
    store.install(digest, path)
    assert store_at(tmp_path).has(digest)
    lower = store_at(tmp_path, 50_000)
    assert not lower.has(digest)
    assert lower.size_bytes == 0


@pytest.mark.parametrize(
    "tar",
    [
        metadata() + link("dev", "/etc") + END,
        metadata() + directory("proc") + entry("proc/x") + END,
        metadata() + entry("a/b") + END,
        metadata(format=2) + END,
        metadata(c="relative/gcc") + END,
        metadata(c="/usr/../gcc") + END,
        metadata(c="") + END,
        metadata(path=7) + END,
        entry(".zcc/toolchain.json", data=b"[" * 5000) + END,
        entry(".zcc/toolchain.json", data=b"{}") + END,
    ],
)
def test_of_a_bad_toolchain_nothing_is_kept(tmp_path: Path, frame_of: Framed, tar: bytes) -> None:
    digest, path = frame_of(tar)
    store = store_at(tmp_path)
    with pytest.raises(ToolchainError):
        store.install(digest, path)
    assert not store.has(digest)
    assert os.listdir(store.directory) == ["tmp"]
    assert os.listdir(os.path.join(store.directory, "tmp")) == []


def test_the_least_recently_used_leaves_and_one_in_use_never(
    tmp_path: Path, frame_of: Framed
) -> None:
    store = store_at(tmp_path, limit_bytes=10 * BLOCK_BYTES)
    installed: list[Digest] = []
    for number in range(3):
        digest, path = frame_of(toolchain(10_000, str(number)))
        if number == 2:
            store.acquire(installed[0])
        store.install(digest, path)
        os.utime(os.path.join(store.directory, digest.hex()), (number + 1, number + 1))
        installed.append(digest)
    assert [store.has(digest) for digest in installed] == [True, False, True]
    assert not store.remove(installed[0])
    store.release(installed[0])
    assert store.remove(installed[0])
    assert not store.has(installed[0])
    with pytest.raises(ToolchainError):
        store.acquire(installed[0])


def test_a_toolchain_larger_than_the_limit_is_refused_with_the_cure(
    tmp_path: Path, frame_of: Framed
) -> None:
    store = store_at(tmp_path, limit_bytes=3 * BLOCK_BYTES)
    digest, path = frame_of(toolchain(10_000))
    with pytest.raises(QuotaError, match="--cache-size"):
        store.install(digest, path)
    assert os.listdir(store.directory) == ["tmp"]
    assert os.listdir(os.path.join(store.directory, "tmp")) == []


def test_a_limit_counts_what_small_files_directories_and_links_take_on_disk(
    tmp_path: Path, frame_of: Framed
) -> None:
    below = [directory(f"d{n}") + entry(f"d{n}/f") + link(f"d{n}/l", "f") for n in range(20)]
    digest, path = frame_of(metadata() + b"".join(below) + END)
    store = store_at(tmp_path)
    store.install(digest, path)
    assert store.size_bytes == (20 * 3 + 1) * BLOCK_BYTES
    assert store_at(tmp_path).size_bytes == store.size_bytes  # as it is counted at a start


def test_a_toolchain_that_is_taken_while_a_sweep_removes_another_stays(
    tmp_path: Path, frame_of: Framed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both had been chosen, and wiping the first takes seconds."""
    store = store_at(tmp_path)
    installed = []
    for number in range(2):
        digest, path = frame_of(toolchain(10_000, str(number)))
        store.install(digest, path)
        os.utime(os.path.join(store.directory, digest.hex()), (number + 1, number + 1))
        installed.append(digest)
    wiped: list[bytes] = []

    def slowly(path: bytes) -> None:
        other = threading.Thread(target=store.acquire, args=(installed[1],))
        other.start()
        other.join(timeout=60)
        assert not other.is_alive()  # nobody waits while something is wiped
        wiped.append(path)

    monkeypatch.setattr("node.toolchains.store.wipe", slowly)
    monkeypatch.setattr(store, "_limit_bytes", 0)
    assert store.sweep() == 1
    assert (len(wiped), store.has(installed[0]), store.has(installed[1])) == (1, False, True)
    assert os.path.isdir(store.root_of(installed[1]))


def test_two_sweeps_at_a_time_remove_each_toolchain_once(
    tmp_path: Path, frame_of: Framed, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path)
    for number in range(3):
        store.install(*frame_of(toolchain(10_000, str(number))))
    monkeypatch.setattr(store, "_limit_bytes", 0)
    wiped: list[bytes] = []

    def while_another_sweeps(path: bytes) -> None:
        wiped.append(path)
        store.sweep()
        wipe(path)

    monkeypatch.setattr("node.toolchains.store.wipe", while_another_sweeps)
    store.sweep()
    assert len(wiped) == 3
    assert os.listdir(os.path.join(store.directory, "tmp")) == []


def test_a_toolchain_that_is_removed_leaves_nothing_on_the_disk() -> None:
    """Its directories let nobody write, and their owner is not root."""
    with as_an_ordinary_user() as place:
        frame = Path(place, "frame")
        frame.write_bytes(zstandard.compress(GOOD, 1))
        digest = digest_of(GOOD)
        store = store_at(Path(place))
        on_the_way = Path(store.directory, "tmp")
        store.install(digest, str(frame))
        assert store.remove(digest)
        assert os.listdir(on_the_way) == []
        store.install(digest, str(frame))
        Path(store.directory, digest.hex()).rename(on_the_way / "left by a node that was killed")
        store_at(Path(place))
        assert os.listdir(on_the_way) == []


def test_a_tree_that_vanished_is_installed_anew(tmp_path: Path, frame_of: Framed) -> None:
    store = store_at(tmp_path)
    digest, path = frame_of(GOOD)
    store.install(digest, path)
    wipe(store.root_of(digest))
    assert not store.has(digest)
    store.install(digest, path)
    assert os.path.isfile(store.root_of(digest) + b"/usr/bin/gcc")


def test_the_self_test_is_a_canonical_job() -> None:
    about = read_about(json.dumps(METADATA).encode())
    test = self_test(digest_of(b""), about)
    assert decode_job(encode_job(test.job)) == test.job
    assert test.job.manifest.files[0].digest == digest_of(test.source)
    only_cxx = dataclasses.replace(about, c=b"", cxx=b"/usr/bin/g++")
    assert self_test(digest_of(b""), only_cxx).job.executable == b"/usr/bin/g++"
