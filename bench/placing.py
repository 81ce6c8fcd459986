"""Question: would a hit be cheaper if its object were placed by reflink or hard link, and not by copy?

By copy, as it is done: read the stored frame, decompress it, check its digest, send it over a socket, write it
and rename. The others take a value that is stored raw: its digest is checked all the same, because what is
placed has to be what was stored; then FICLONE (or link) beside the target, and rename. `unchecked` are the
same without the digest: the bound, which nobody may use. Here where it lies, and on btrfs and xfs in
loop-mounted files (root, mkfs.btrfs, mkfs.xfs; left out, loudly, where there are none). CPU and wall of one
placing in microseconds, medians; ratios to the copy. `stored` is what the value takes on disk as a frame.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.digest import Digest, digest_of, verified
from cache.frame import compress, decompress

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
ROUNDS = 9
FICLONE = 0x40049409
IMAGE_BYTES = 600 << 20

Way = Callable[[], None]


def main() -> None:
    print(__doc__)
    print(f"{'on':6} {'bytes':>9}  {'way':22} {'wall us':>9} {'CPU us':>9}  {'wall':>5} {'CPU':>5}")
    with tempfile.TemporaryDirectory(prefix="zcc-bench-", dir=Path.cwd()) as directory:
        measure("here", Path(directory))
    for kind in ("btrfs", "xfs"):
        with mounted(kind) as place:
            if place is not None:
                measure(kind, place)


@contextmanager
def mounted(kind: str) -> Iterator[Path | None]:
    """A new file system of this kind; None, and a word why, where it cannot be made."""
    if os.geteuid() != 0 or shutil.which(f"mkfs.{kind}") is None:
        print(f"{kind}: LEFT OUT, it needs root and mkfs.{kind}")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="zcc-bench-") as directory:
        image, place = Path(directory) / "image", Path(directory) / "mounted"
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True, capture_output=True)
        done = subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=False)
        if done.returncode != 0:
            print(f"{kind}: LEFT OUT, it cannot be mounted here")
            yield None
            return
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)


def measure(name: str, place: Path) -> None:
    for size in SIZES:
        bench = Bench(place, size)
        print(f"{name:6} {size:>9}  stored {bench.stored.stat().st_size / size:.2f} of it")
        found = {}
        for way, run in bench.ways().items():
            try:
                run()  # warm, and does it work at all?
            except OSError as error:
                bench.temporary.unlink(missing_ok=True)
                print(f"{name:6} {size:>9}  {way:22} {error.strerror}")
                continue
            found[way] = timed(run, max(3, min(300, 20_000_000 // size)))
        wall, cpu = found["copy"]
        for way, (own_wall, own_cpu) in found.items():
            print(
                f"{name:6} {size:>9}  {way:22} {own_wall:9.0f} {own_cpu:9.0f}"
                f"  {own_wall / wall:5.2f} {own_cpu / cpu:5.2f}"
            )
        bench.close()


class Bench:
    """One value, stored as a frame and raw, and the ways to place it."""

    def __init__(self, place: Path, size: int) -> None:
        rng = random.Random(size)
        words = [rng.randbytes(12) for _ in range(600)]  # repeated, as in an object
        self.content = b"".join(rng.choice(words) for _ in range(size // 12 + 1))[:size]
        self.digest: Digest = digest_of(self.content)
        self.stored, self.raw = place / "stored", place / "raw"
        self.stored.write_bytes(compress(self.content))
        self.raw.write_bytes(self.content)
        self.target, self.temporary = place / "x.o", place / "x.o.tmp"
        self.near, self.far = socket.socketpair()

    def close(self) -> None:
        self.near.close()
        self.far.close()

    def ways(self) -> dict[str, Way]:
        return {
            "copy": self.copy,
            "reflink": lambda: self.linked(self.reflink, is_checked=True),
            "hard link": lambda: self.linked(self.hard_link, is_checked=True),
            "reflink, unchecked": lambda: self.linked(self.reflink, is_checked=False),
            "hard link, unchecked": lambda: self.linked(self.hard_link, is_checked=False),
        }

    def copy(self) -> None:
        frame = self.stored.read_bytes()
        content = memoryview(verified(decompress(frame, len(self.content)), self.digest))
        handle = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        piece_bytes = 64 << 10  # what the launcher reads at a time
        buffer = bytearray(piece_bytes)
        for at in range(0, len(content), piece_bytes):
            sent = self.near.send(content[at : at + piece_bytes])
            while sent:
                got = self.far.recv_into(buffer, sent)
                os.write(handle, memoryview(buffer)[:got])
                sent -= got
        os.close(handle)
        os.rename(self.temporary, self.target)

    def linked(self, link: Way, *, is_checked: bool) -> None:
        if is_checked:
            verified(self.raw.read_bytes(), self.digest)
        link()
        os.rename(self.temporary, self.target)
        if self.target.stat().st_nlink > 1:
            self.target.unlink()  # renaming one link of a file over another does nothing

    def reflink(self) -> None:
        handle = os.open(self.raw, os.O_RDONLY)
        new = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            fcntl.ioctl(new, FICLONE, handle)
        finally:
            os.close(handle)
            os.close(new)

    def hard_link(self) -> None:
        os.link(self.raw, self.temporary)


def timed(run: Way, calls: int) -> tuple[float, float]:
    """Wall and CPU of one call, microseconds, medians over the rounds."""
    walls, cpus = [], []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            run()
        walls.append((time.perf_counter() - wall) / calls * 1e6)
        cpus.append((time.process_time() - cpu) / calls * 1e6)
    return statistics.median(walls), statistics.median(cpus)


if __name__ == "__main__":
    main()
