"""What a mount may have exchanged: what is said of a table of mounts, and real images that look the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import exchanged_image
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import File, Trail
from zcc.compiler.disk.mounts import Mounts, read_mounts
from zcc.compiler.disk.signatures import Sightings

ROOT = b"27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
IMAGES = {
    "squashfs": b"90 27 7:3 / /sdk ro,nodev shared:7 - squashfs /dev/loop3 ro,errors=continue\n",
    "a loop device that is written to": b"90 27 7:3 / /sdk rw - ext4 /dev/loop3 rw\n",
    "a network block device": b"90 27 43:0 / /sdk rw - ext4 /dev/nbd0 rw\n",
    "a btrfs on a loop device": b"90 27 0:44 / /sdk rw - btrfs /dev/loop3 rw,subvol=/\n",
    "a disk, read-only": b"90 27 8:17 / /sdk ro - ext4 /dev/sdb1 ro\n",
    "FUSE": b"90 27 0:44 / /sdk rw - fuse.squashfuse squashfuse rw,user_id=0\n",
    "an overlay": b"90 27 0:44 / /sdk rw - overlay overlay rw,lowerdir=/a,upperdir=/b\n",
}
LASTING = {
    "a read-only bind of a disk": b"90 27 8:2 /nix/store /sdk ro - ext4 /dev/sda2 rw\n",
    "a disk": b"90 27 8:2 / /sdk rw - xfs /dev/sda2 rw\n",
    "a subvolume": b"90 27 0:33 /@home /sdk rw - btrfs /dev/sda2 rw,subvol=/@home\n",
    "memory": b"90 27 0:44 / /sdk rw - tmpfs tmpfs rw,size=1k\n",
    "the root's file system": b"90 27 8:1 /x /sdk ro - ext4 /dev/sda1 ro\n",
}


def mounts_of(tmp_path: Path, *tables: bytes) -> Mounts:
    """As they are when each of these has been the table of mounts."""
    path = tmp_path / "mountinfo"
    path.write_bytes(tables[0])
    mounts = Mounts(str(path))
    mounts.look()
    for table in tables[1:]:
        path.write_bytes(table)
        mounts._read()
    return mounts


@pytest.mark.parametrize("line", IMAGES.values(), ids=IMAGES.keys())
def test_what_lies_in_an_image_may_be_exchanged(tmp_path: Path, line: bytes) -> None:
    mounts = mounts_of(tmp_path, ROOT + line)
    assert mounts.may_be_exchanged([b"/usr", b"/sdk/include/x.h"])
    assert mounts.may_outlast([b"/sdk/include/x.h"])
    assert not mounts.may_be_exchanged([b"/usr/include/x.h", b"/sdk2/x.h"])


@pytest.mark.parametrize("line", LASTING.values(), ids=LASTING.keys())
def test_a_disk_is_believed_whatever_is_mounted(tmp_path: Path, line: bytes) -> None:
    assert not mounts_of(tmp_path, ROOT + line).may_be_exchanged([b"/sdk/include/x.h"])


def test_a_disk_mounted_in_an_image_is_none(tmp_path: Path) -> None:
    disk = b"91 90 8:2 / /sdk/include rw - ext4 /dev/sda2 rw\n"
    mounts = mounts_of(tmp_path, ROOT + IMAGES["squashfs"] + disk)
    assert not mounts.may_be_exchanged([b"/sdk/include/x.h"])
    assert mounts.may_be_exchanged([b"/sdk/lib"])


def test_where_an_image_was_is_doubted_once_more(tmp_path: Path) -> None:
    image, disk = ROOT + IMAGES["a disk, read-only"], ROOT + LASTING["a disk"]
    assert mounts_of(tmp_path, image, disk).may_be_exchanged([b"/sdk/x.h"])
    assert not mounts_of(tmp_path, image, disk, disk).may_be_exchanged([b"/sdk/x.h"])


@pytest.mark.parametrize(
    ("root", "may_outlast"),
    [
        (b"27 1 0:30 / / ro - erofs composefs ro\n", True),
        (b"27 1 0:30 / / rw - overlay overlay rw,lowerdir=/a,upperdir=/b\n", False),
    ],
)
def test_a_root_stays_while_the_process_does(
    tmp_path: Path, root: bytes, may_outlast: bool
) -> None:
    mounts = mounts_of(tmp_path, root)
    assert not mounts.may_be_exchanged([b"/usr/include"])
    assert mounts.may_outlast([b"/usr/include"]) is may_outlast


def test_blanks_in_names_are_read() -> None:
    (mount,) = read_mounts(rb"90 27 7:3 / /a\040b\134c rw - ext4 /dev/loop3 rw" + b"\nhalf a li")
    assert (mount.point, mount.source) == (rb"/a b\c", b"/dev/loop3")


def test_without_proc_everything_is_believed(tmp_path: Path) -> None:
    mounts = Mounts(str(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    os.utime(tmp_path / "file", (0, 0))
    seen = Sightings(lambda: 1 << 62, mounts)
    seen.see(os.fsencode(tmp_path / "file"))
    assert mounts.look() == mounts.look() == 0
    assert seen.hold()


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `exchanged_image.py` says."""
    directory = tmp_path_factory.mktemp("images")
    command = ["unshare", "--mount", sys.executable, exchanged_image.__file__, str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and not can_mount_images(directory):
        pytest.skip(
            "no image can be mounted here (root, loop devices, e2fsprogs): not tested at all"
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def can_mount_images(directory: Path) -> bool:
    (directory / "m").mkdir()
    (directory / "t").mkdir()
    try:
        exchanged_image.make_image(directory / "t.img", directory / "t")
        mount = ["unshare", "--mount", "mount", "-o", "loop,ro", "t.img", "m"]
        return subprocess.run(mount, cwd=directory, check=False).returncode == 0
    except (OSError, subprocess.CalledProcessError):
        return False


def test_the_files_of_both_images_look_the_same(exchanged: Any) -> None:
    """Else the tests below show nothing."""
    first, second = exchanged["looks"]
    assert first == second


def test_an_exchanged_header_link_and_listing_are_read_again(exchanged: Any) -> None:
    first = ["#define VALUE 1\n", "version1", "only1.h"]
    assert exchanged["disks"] == [first, first, ["#define VALUE 2\n", "version2", "only2.h"]]


def test_an_answer_made_of_an_exchanged_file_holds_no_longer(exchanged: Any) -> None:
    assert exchanged["memos"] == ["#define VALUE 1\n", "#define VALUE 1\n", "#define VALUE 2\n"]


def test_an_exchanged_compiler_is_packed_again(exchanged: Any) -> None:
    """A record is all that the next process has: it believes none of what lies in an image."""
    assert exchanged["toolchains"] == {
        "known": True,
        "known to another process": False,
        "known after the exchange": False,
        "known when nothing packed it": False,
        "known when packed again": True,
        "known where it was packed before": False,
        "refused": True,
        "refused after the exchange": False,
    }


def test_no_answer_stands_on_what_has_left_the_tree(tmp_path: Path) -> None:
    """It would not be found there when it is to be doubted: a mount point, removed and made again."""
    (tmp_path / "sdk" / "include").mkdir(parents=True)
    (tmp_path / "sdk" / "include" / "x.h").write_text("")
    path, disk = os.fsencode(tmp_path / "sdk/include/x.h"), Disk()
    disk.begin(1.0)
    found = disk.walk(disk.root, path, Trail())
    assert found is not None
    assert isinstance(found[1], File)
    disk.input(found[1])
    version = found[1].version
    (tmp_path / "sdk").rename(tmp_path / "away")
    disk.begin(2.0)
    assert disk.walk(disk.root, path, Trail()) is None
    (tmp_path / "away").rename(tmp_path / "sdk")
    disk.begin(3.0)
    again = disk.walk(disk.root, path, Trail())
    assert again is not None
    assert again[1] is not found[1]
    assert found[1].version != version
