"""Two images whose files look the same to stat(2), one after the other at one place.

A process of its own, in a mount namespace of its own:

    unshare --mount python exchanged_image.py DIRECTORY

prints, as one JSON object, what is believed after the exchange, and what the kernel says of the files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cache.digest import digest_of
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import File, Symlink, Trail
from zcc.compiler.disk.signatures import Memo, Signature, signature_at
from zcc.compiler.toolchain.index import (
    Gathered,
    Identity,
    Member,
    MemberKind,
    Toolchain,
    ToolchainIndex,
)
from zcc.errors import CompilerError

LONG_AGO_S = 1_600_000_000
SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def make_image(path: Path, tree: Path) -> None:
    """An ext4 file system of what is in the tree, all times long ago."""
    tools = {**os.environ, "PATH": f"{os.environ['PATH']}:{SYSTEM_PATH}"}
    # The same identity, too: it is in no status, but a maker of the same image twice gives it twice.
    same = ["-U", "11111111-2222-3333-4444-555555555555", "-E", "lazy_itable_init=0"]
    make = [
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-O",
        "^has_journal",
        *same,
        "-d",
        str(tree),
        str(path),
        "2M",
    ]
    subprocess.run(make, env=tools, check=True, capture_output=True)
    names = ["/", *(f"/{each.relative_to(tree)}" for each in sorted(tree.rglob("*")))]
    times = [("atime", LONG_AGO_S), ("mtime", LONG_AGO_S), ("ctime", LONG_AGO_S)]
    times += [(f"{name}_extra", 0) for name, _ in times]
    commands = "".join(
        f"sif {name} {field} {'@' if value else ''}{value}\n"
        for name in names
        for field, value in times
    )
    subprocess.run(
        ["debugfs", "-w", "-f", "-", str(path)],
        input=commands, text=True, env=tools, check=True, capture_output=True,
    )  # fmt: skip


class Place:
    """Where one of two images is mounted, each with `include/sdk.h`, a link `now`, and a program."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.point = directory / "sdk"
        self.point.mkdir()
        self.header = os.fsencode(self.point / "include" / "sdk.h")
        self.link = os.fsencode(self.point / "now")
        for number in ("1", "2"):
            tree = directory / number
            (tree / "include").mkdir(parents=True)
            (tree / "include" / "sdk.h").write_text(f"#define VALUE {number}\n")
            (tree / "include" / f"only{number}.h").write_text("")
            (tree / "now").symlink_to(f"version{number}")
            make_image(directory / f"{number}.img", tree)

    def mount(self, number: str) -> None:
        image = str(self.directory / f"{number}.img")
        subprocess.run(["mount", "-o", "loop,ro", image, str(self.point)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.point)], check=True)

    def signatures(self) -> list[Signature]:
        return [signature_at(self.header), signature_at(os.path.dirname(self.header))]


def on_disk(place: Place, disk: Disk, now: float) -> list[str]:
    """The header's value, the link's target, and the one name that only this image has."""
    disk.begin(now)
    found, linked = disk.walk(disk.root, place.header, Trail()), Trail()
    assert found is not None
    assert isinstance(found[1], File)
    disk.input(found[1])
    disk.walk(disk.root, place.link, linked)
    link = next(each for each in linked.symlinks if isinstance(each, Symlink))
    only = next(name for name in disk.names(found[0]) if name.startswith(b"only"))
    return [disk.content(found[1]).decode(), link.target.decode(), only.decode()]


def in_memo(place: Place, memo: Memo[bytes, str]) -> str:
    seen = memo.begin()
    known = memo.get(place.header)
    if known is None:
        seen.see(place.header)
        known = memo.put(place.header, Path(os.fsdecode(place.header)).read_text(), seen)
    return known


class Compiler:
    """The header for a compiler, packed without a child."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.store = str(place.directory / "index")
        self.index = ToolchainIndex(self.store)

    def pack(self, index: ToolchainIndex) -> None:
        header = self.place.header
        index.pack_command(header, b"gcc", b"")
        member = Member(header, MemberKind.FILE, signature_at(header))
        gathered = Gathered(Identity(Family.GCC, "", ""), (member,), (), (), {})
        data = Path(os.fsdecode(header)).read_bytes()
        digest = digest_of(data)
        Path(index.pack_path(digest)).write_bytes(data)
        ToolchainIndex(self.store).put(
            header, b"", Toolchain(digest, gathered, index.pack_path(digest), len(data), len(data))
        )

    def is_known(self, index: ToolchainIndex) -> bool:
        return index.lookup(self.place.header, {b"PATH": b""}) is not None

    def is_refused(self) -> bool:
        try:
            self.is_known(self.index)
        except CompilerError:
            return True
        return False


def toolchains(compiler: Compiler, exchange: Callable[[str], None]) -> dict[str, bool]:
    """What an index says of a compiler in the first image, and after the exchange; then of a refusal."""
    index, said = compiler.index, {}
    compiler.pack(index)
    said["known"] = compiler.is_known(index)
    compiler.pack(index)
    said["known to another process"] = compiler.is_known(ToolchainIndex(compiler.store))
    compiler.pack(index)
    exchange("2")
    said["known after the exchange"] = compiler.is_known(index)
    said["known when nothing packed it"] = compiler.is_known(index)
    compiler.pack(index)
    said["known when packed again"] = compiler.is_known(index)
    compiler.pack(index)
    exchange("1")
    said["known where it was packed before"] = compiler.is_known(index)
    index.pack_command(compiler.place.header, b"gcc", b"")
    index.refuse(compiler.place.header, {b"PATH": b""}, "no compiler")
    said["refused"] = compiler.is_refused()
    exchange("2")
    said["refused after the exchange"] = compiler.is_refused()
    return said


def main(directory: Path) -> None:
    place = Place(directory)
    far_ns = (LONG_AGO_S + 100) * 1_000_000_000
    disk, memo = Disk(lambda: far_ns), Memo[bytes, str](9, lambda: far_ns)
    place.mount("1")

    def exchange(number: str) -> None:
        place.unmount()
        place.mount(number)

    try:
        looks = [place.signatures()]
        disks = [on_disk(place, disk, 1.0), on_disk(place, disk, 2.0)]
        memos = [in_memo(place, memo), in_memo(place, memo)]
        exchange("2")
        looks.append(place.signatures())
        disks.append(on_disk(place, disk, 3.0))
        memos.append(in_memo(place, memo))
        exchange("1")
        print(json.dumps({
            "looks": looks, "disks": disks, "memos": memos,
            "toolchains": toolchains(Compiler(place), exchange),
        }))  # fmt: skip
    finally:
        place.unmount()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
