"""Real FUSE file systems, what zcc believes of them, and what a compiler would read.

A process of its own, in a mount namespace of its own:

    unshare --mount python file_server.py sshfs|bindfs DIRECTORY

prints one JSON object. sshfs gives the time of modification for that of change, and answers `stat` from a
cache; bindfs passes on the inodes of all that lies below it as if they were one device's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import Directory, File, Trail
from zcc.compiler.disk.signatures import Memo, Sightings, signature_of
from zcc.compiler.scan.closure import NotScannable, ScanRequest
from zcc.compiler.scan.scanner import Scanner
from zcc.compiler.scan.search_list import SearchList
from zcc.compiler.toolchain.index import Gathered, Identity, Member, MemberKind, own_signature

LONG_AGO_S = 1_600_000_000
_SFTP_SERVERS = ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec")
_MOUNTED_WITHIN_S = 10.0


def sftp_server() -> str | None:
    """OpenSSH's; distributions have it in different places, none on PATH."""
    return shutil.which("sftp-server", path=os.pathsep.join((os.environ["PATH"], *_SFTP_SERVERS)))


@contextlib.contextmanager
def sshfs(source: Path, target: Path) -> Iterator[None]:
    ours, theirs = socket.socketpair()
    served = subprocess.Popen([sftp_server() or ""], stdin=ours.fileno(), stdout=ours.fileno())
    command = ["sshfs", "-f", "-o", "passive", f":{source}", str(target)]
    mounted = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
    ours.close()
    theirs.close()
    with _mounted(target, mounted):
        yield
    served.wait()


@contextlib.contextmanager
def bindfs(source: Path, target: Path) -> Iterator[None]:
    with _mounted(target, subprocess.Popen(["bindfs", "-f", str(source), str(target)])):
        yield


@contextlib.contextmanager
def _mounted(target: Path, daemon: subprocess.Popen[bytes]) -> Iterator[None]:
    until = time.monotonic() + _MOUNTED_WITHIN_S
    while not target.is_mount():
        if daemon.poll() is not None or time.monotonic() > until:
            daemon.kill()
            sys.exit("not mounted")
        time.sleep(0.01)
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)
        daemon.wait()


def write(path: Path, text: str) -> None:
    """In place, with the times of before, as `rsync --inplace -t` and `cp -p` do."""
    path.write_text(text)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def tell_of_sshfs(directory: Path) -> dict[str, object]:
    source, target = directory / "source", directory / "target"
    source.mkdir()
    target.mkdir()
    write(source / "x.h", "#define V 1\n")
    os.utime(source, (LONG_AGO_S, LONG_AGO_S))
    with sshfs(source, target):
        header, at = target / "x.h", os.fsencode(target)
        path = os.fsencode(header)
        disk, memo = Disk(), Memo[bytes, str](9)

        def read_anew(seen: Sightings) -> str:
            seen.see(path)
            return header.read_text()

        def believed(now: float) -> list[object]:
            """Of the disk, of a memo and of a toolchain; and whether a name is there."""
            disk.begin(now)
            found, new = disk.walk(disk.root, path, Trail()), disk.walk(disk.root, at, Trail())
            assert found is not None
            assert new is not None
            assert isinstance(found[1], File)
            assert isinstance(new[1], Directory)
            answer = memo.answer(path, read_anew)
            disk.facts(found[1])
            is_new = disk.has_any(new[1], [b"new.h"]) is not None
            return [disk.content(found[1]).decode(), answer, gathered.is_current(), is_new]

        member = Member(path, MemberKind.FILE, own_signature(path, is_stub=False))
        gathered = Gathered(Identity(Family.GCC, "", ""), (member,), (), (), {})
        first, before = believed(1.0), signature_of(header.stat())
        assert believed(2.0) == first
        write(header, "#define V 2\n")
        edited, after = believed(3.0), signature_of(header.stat())
        # Behind the back of the mount, which goes on by what it has heard of the file and the directory.
        write(source / "x.h", "#define V 3\n")
        (source / "new.h").write_text("")
        os.utime(source, (LONG_AGO_S, LONG_AGO_S))
        served = believed(4.0)
        read = header.read_text()
    looks = [list(before), list(after)]
    return {"looks": looks, "first": first, "edited": edited, "served": served, "read": read}


def tell_of_bindfs(directory: Path) -> dict[str, object]:
    source, target = directory / "source", directory / "target"
    for path in (source / "one", source / "two", target):
        path.mkdir(parents=True)
    for name in ("one", "two"):
        subprocess.run(["mount", "-t", "tmpfs", "none", str(source / name)], check=True)
        (source / name / f"{name}.h").write_text(f"#define {name.upper()}\n")
    (source / "x.c").write_text('#include "one/one.h"\n#include "two/two.h"\n')
    with bindfs(source, target):
        at = os.fsencode(target)
        request = ScanRequest(at, b"x.c", "c", SearchList(), (at,))
        answer = Scanner(Disk(), b"/nobody/home").scan(request, 1.0)
        stats = [os.stat(target / name / f"{name}.h") for name in ("one", "two")]
    for name in ("one", "two"):
        subprocess.run(["umount", str(source / name)], check=True)
    reason = answer.reason if isinstance(answer, NotScannable) else None
    return {"inodes": [[each.st_dev, each.st_ino] for each in stats], "reason": reason}


if __name__ == "__main__":
    told = {"sshfs": tell_of_sshfs, "bindfs": tell_of_bindfs}[sys.argv[1]]
    print(json.dumps(told(Path(sys.argv[2]))))
