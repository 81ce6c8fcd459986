"""Where a status does not tell that a file has changed: on file servers, FUSE and the like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import lacks, needs
from tests.support import file_server
from zcc.agent.results.verdict import first_newer
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk import disk as disk_module
from zcc.compiler.disk import signatures
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import Directory, DiskDoubtError, Entry, File, Symlink, Trail
from zcc.compiler.disk.filesystems import Trust, trust_in
from zcc.compiler.disk.mounts import MOUNTS, Mounts
from zcc.compiler.disk.signatures import RACY_WINDOW_NS, Sightings, signature_at
from zcc.compiler.toolchain.index import Gathered, Identity, Member, MemberKind, own_signature
from zcc.job import FileInput, Manifest

ROOT = b"27 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
NFS, SSHFS, EXT4 = b"nfs4", b"fuse.sshfs", b"ext4"


def mounts_of(tmp_path: Path, table: bytes) -> Mounts:
    path = tmp_path / "mountinfo"
    path.write_bytes(table)
    mounts = Mounts(str(path))
    mounts.look()
    return mounts


def mounted_as(tmp_path: Path, kind: bytes) -> Mounts:
    """What lies in this directory is said to be a file system of this kind."""
    device = os.stat(tmp_path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    line = b"28 27 %s / %s rw - %s server:/x rw\n" % (number, os.fsencode(tmp_path), kind)
    return mounts_of(tmp_path, ROOT + line)


def later_ns() -> int:
    return time.time_ns() + 10 * RACY_WINDOW_NS


@pytest.mark.parametrize(
    ("kind", "trust"),
    [
        (b"ext4", Trust.STATUS),
        (b"xfs", Trust.STATUS),
        (b"btrfs", Trust.STATUS),
        (b"tmpfs", Trust.STATUS),
        (b"overlay", Trust.STATUS),
        (b"fuse.fuse-overlayfs", Trust.STATUS),
        (b"nfs", Trust.OPENED),
        (b"nfs4", Trust.OPENED),
        (b"fuse", Trust.READ),
        (b"fuse.sshfs", Trust.READ),
        (b"fuseblk", Trust.READ),
        (b"9p", Trust.READ),
        (b"virtiofs", Trust.READ),
        (b"cifs", Trust.READ),
        (b"smb3", Trust.READ),
        (b"afs", Trust.READ),
        (b"vfat", Trust.READ),  # the time of change is that of modification since Linux 5.19
        (b"a kind of tomorrow", Trust.READ),
    ],
)
def test_what_is_not_known_to_stamp_its_files_is_not_believed(kind: bytes, trust: Trust) -> None:
    assert trust_in(kind) is trust


MOUNTED = (
    ROOT
    + b"28 27 0:50 / /src rw - nfs4 s:/x rw\n"
    + b"29 28 0:51 / /src/a rw - tmpfs t rw\n"
    + b"30 27 0:52 / /far rw - fuse.sshfs s: rw\n"
    + b"31 27 0:53 / /over rw - overlay o rw,lowerdir=/usr:/far/sdk,upperdir=/tmp/u,workdir=/tmp/w\n"
    + b"32 27 0:54 / /box rw - overlay o rw,lowerdir=/usr,upperdir=/tmp/u,workdir=/tmp/w\n"
)


@pytest.mark.parametrize(
    ("minor", "path", "trust"),
    [
        (50, b"/src/x.h", Trust.OPENED),
        (51, b"/src/a/x.h", Trust.STATUS),
        (52, b"/far/x.h", Trust.READ),
        (53, b"/over/x.h", Trust.READ),
        (54, b"/box/x.h", Trust.STATUS),
        (99, b"/far/x.h", Trust.READ),  # a device that no line names, as btrfs gives its subvolumes
        (99, b"/srcs/x.h", Trust.STATUS),
    ],
)
def test_the_mount_of_a_file_says_how_far_it_is_believed(
    tmp_path: Path, minor: int, path: bytes, trust: Trust
) -> None:
    assert mounts_of(tmp_path, MOUNTED).trust(os.makedev(0, minor), path) is trust


def test_where_no_time_of_change_is_known_is_told_by_the_path(tmp_path: Path) -> None:
    mounts = mounts_of(tmp_path, MOUNTED)
    assert mounts.first_unstamped([b"/src/x.h", b"/farther/x.h", b"/far/x.h"]) == b"/far/x.h"
    assert mounts.first_unstamped([b"/src/x.h", b"/farther/x.h"]) is None


def test_without_proc_every_status_is_believed(tmp_path: Path) -> None:
    assert Mounts(str(tmp_path / "none")).trust(7, b"/far/x.h") is Trust.STATUS


class Place:
    """A header, a link and a directory, on a file system of a kind; and a disk that has seen them."""

    def __init__(self, top: Path, kind: bytes) -> None:
        self.top = top
        self.header = top / "x.h"
        self.header.write_text("one")
        (top / "link").symlink_to("x.h")
        self.mounts = mounted_as(top, kind)
        self.disk = Disk(later_ns, mounts=self.mounts)
        self.now = 0.0

    def find(self, name: str = "") -> Entry:
        self.now += 1.0
        self.disk.begin(self.now)
        found = self.disk.walk(self.disk.root, os.fsencode(self.top / name), Trail())
        assert found is not None
        return found[1]

    def read(self) -> bytes:
        file = self.find("x.h")
        assert isinstance(file, File)
        self.disk.check([file])
        self.disk.input(file)
        return self.disk.content(file)  # raises where the digest is of other bytes


def status_stands_still(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Where a client answers `stat` from what it has heard; what is open it asks for."""
    asked = {os.fsencode(each): os.lstat(each) for each in (place, *place.iterdir())}

    def heard(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any, **how: Any) -> Any:
            return asked.get(os.fsencode(path)) or real(path, **how)

        return look

    for module in (disk_module, signatures):
        names = {name: getattr(os, name) for name in dir(os)}
        fake = SimpleNamespace(**names | {"lstat": heard(os.lstat), "stat": heard(os.stat)})
        monkeypatch.setattr(module, "os", fake)


def no_status_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where whoever changes a file sets all that a status tells back."""

    def always(status: os.stat_result) -> tuple[int, ...]:
        return (1, 1, 3, 7, status.st_dev)

    for module in (disk_module, signatures):
        monkeypatch.setattr(module, "signature_of", always)
    monkeypatch.setattr(
        signatures, "_with_content",
        lambda status, hasher: (*always(status), *hasher.digest()),
    )  # fmt: skip


def test_on_a_disk_a_status_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests below show nothing."""
    place = Place(tmp_path, EXT4)
    place.read()
    status_stands_still(monkeypatch, tmp_path)
    place.header.write_text("two")
    with pytest.raises(DiskDoubtError, match="changing"):
        place.read()  # the digest is that of before


@pytest.mark.parametrize("kind", [NFS, SSHFS])
def test_what_a_server_has_by_now_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    place = Place(tmp_path, kind)
    assert place.read() == b"one"
    status_stands_still(monkeypatch, tmp_path)
    place.header.write_text("two")
    assert place.read() == b"two"


def test_what_a_server_keeps_the_times_of_is_opened_and_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, NFS)
    place.read()
    file = place.find("x.h")
    loads: list[bytes] = []
    monkeypatch.setattr(place.disk, "_load", loads.append)
    for _ in range(3):
        place.now += 1.0
        place.disk.begin(place.now)
        place.disk.check([file])
    assert loads == []


def test_what_shows_in_no_status_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_status_changes(monkeypatch)
    place = Place(tmp_path, SSHFS)
    assert place.read() == b"one"
    place.header.write_text("two")
    assert place.read() == b"two"


def test_a_link_that_shows_in_no_status_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_status_changes(monkeypatch)
    place = Place(tmp_path, SSHFS)
    place.find("link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("y.h")
    (tmp_path / "y.h").write_text("")
    assert place.find("link").name == b"y.h"
    parent = place.find()
    assert isinstance(parent, Directory)
    link = parent.children[b"link"]
    assert isinstance(link, Symlink)
    assert link.target == b"y.h"


def test_a_name_that_no_listing_has_yet_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshfs lists from a cache what it then opens all the same."""
    names = os.listdir(os.fsencode(tmp_path))
    place = Place(tmp_path, SSHFS)
    monkeypatch.setattr(os, "listdir", lambda _: names)
    directory = place.find()
    assert isinstance(directory, Directory)
    assert place.disk.has_any(directory, [b"new.h"]) is None
    assert place.disk.child(directory, b"new.h") is None
    (tmp_path / "new.h").write_text("")
    directory = place.find()
    assert isinstance(directory, Directory)
    assert place.disk.has_any(directory, [b"new.h"]) == b"new.h"


@pytest.mark.parametrize("name", ["x.h", "link", ""])
def test_an_answer_holds_as_long_as_what_was_read_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    no_status_changes(monkeypatch)
    place = Place(tmp_path, SSHFS)
    path = os.fsencode(tmp_path / name)
    seen = Sightings(later_ns, place.mounts)
    seen.see(path)
    assert seen.hold()
    if name:
        place.header.write_text("two")
    else:
        (tmp_path / "new").touch()
    assert not seen.hold()


def test_an_answer_made_of_a_servers_file_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, NFS)
    seen = Sightings(later_ns, place.mounts)
    seen.see(os.fsencode(place.header))
    assert seen.hold()
    status_stands_still(monkeypatch, tmp_path)
    place.header.write_text("two")
    assert not seen.hold()


def test_what_cannot_be_read_holds_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, SSHFS)

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    seen = Sightings(later_ns, place.mounts)
    seen.see(os.fsencode(place.header))
    assert not seen.hold()


@pytest.mark.parametrize("name", ["x.h", "link"])
def test_a_toolchain_is_read_where_no_status_tells_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    no_status_changes(monkeypatch)
    place = Place(tmp_path, SSHFS)
    monkeypatch.setattr(MOUNTS, "trust", place.mounts.trust)
    path = os.fsencode(tmp_path / name)
    kind = MemberKind.FILE if name == "x.h" else MemberKind.SYMLINK
    member = Member(path, kind, own_signature(path, is_stub=False))
    listed = ((os.fsencode(tmp_path), signature_at(os.fsencode(tmp_path))),)
    gathered = Gathered(Identity(Family.GCC, "", ""), (member,), (), listed, {})
    assert gathered.is_current()
    if name == "x.h":
        place.header.write_text("two")
    else:
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("y.h")
    assert not gathered.is_current()


@pytest.mark.parametrize(("kind", "is_newer"), [(EXT4, False), (NFS, False), (SSHFS, True)])
def test_without_a_time_of_change_all_may_be_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes, is_newer: bool
) -> None:
    place = Place(tmp_path, kind)
    monkeypatch.setattr(MOUNTS, "trust", place.mounts.trust)
    path = os.fsencode(place.header)
    manifest = Manifest(files=(FileInput(path, b""),))  # type: ignore[arg-type]
    assert first_newer(manifest, later_ns()) == (path if is_newer else None)
    assert first_newer(manifest, 0) == path


def told(program: str, tmp_path: Path) -> Any:
    """What `file_server.py` says of a real mount."""
    needs(program)
    command = ["unshare", "--mount", sys.executable, file_server.__file__, program, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if os.getuid() or not os.path.exists("/dev/fuse") or "not mounted" in done.stderr:
        pytest.skip("FUSE cannot be mounted here (root, /dev/fuse): not tested at all")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_sshfs_shows_is_what_a_compiler_would_read(tmp_path: Path) -> None:
    if file_server.sftp_server() is None:
        lacks("sftp-server")
    shown = told("sshfs", tmp_path)
    before, after = shown["looks"]
    assert before == after  # else what follows shows nothing
    one, two, three = (f"#define V {number}\n" for number in (1, 2, 3))
    assert shown["first"] == [one, one, True, False]
    assert shown["edited"] == [two, two, False, False]
    assert shown["served"] == [three, three, False, True]
    assert shown["read"] == three


def test_what_bindfs_takes_for_one_file_is_compiled_here(tmp_path: Path) -> None:
    shown = told("bindfs", tmp_path)
    one, two = shown["inodes"]
    assert one == two  # else what follows shows nothing
    assert shown["reason"] == "shared-inode"
