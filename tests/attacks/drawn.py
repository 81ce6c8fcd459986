"""Random jobs, results and messages, drawn from their own types: within the bounds, at them, and beyond.

`rng` may be a plain Random or Hypothesis's, which shrinks what was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from random import Random
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgpack

from cache.digest import Digest
from zcc import messages
from zcc.bounds import Length, Like, Range, hints_of
from zcc.job import Job, Manifest, Result, encode_job, encode_result, why_no_job

NAMES = (
    b"a.c", b"a.o", b"b.h", b"\xff\n", b" ", b"x" * 255, b"-c", b"...", b"a.c.001t.x", b"*",
    "ü".encode(), b"lib64", b"null",
)  # fmt: skip
PATHS = (
    b"/", b"/src", b"/src/a.c", b"/src/a.o", b"/src/b.h", b"/mnt", b"/mnt/cc", b"/lib64", b"/usr",
    b"/usr/lib", b"/etc/passwd", b"/dev/null", b"/dev", b"/proc", b"/proc/self/mem", b"/.zcc/log",
    b"/.zcc/tmp", b"/.zcc", b"/d" * 200, b"/" + b"x" * 255, (b"/" + b"y" * 200) * 20,
)  # fmt: skip
WORDS = (
    b"", b"-c", b"-o", b"/src/a.c", b"/src/a.o", b"/none", b"\xff", b"outputs", b"deep", b"-x",
    b"x" * 4000, b"%s%n", b"'; exit 1",
)  # fmt: skip
TEXTS = ("", "x", "client", "node", "\udcff", "é" * 50, "0")
# Of a list, how long: mostly short.
_LONG = (0, 1, 1, 2, 3, 5, 8, 40)


class Drawn:
    """Draws of one Random. `digests` are of blobs that whoever hands them in has."""

    def __init__(self, rng: Random, digests: Sequence[Digest]) -> None:
        self._rng = rng
        self._digests = digests

    def job(self, base: Job) -> Job:
        """The base with some fields drawn anew, each within its bounds; the whole may contradict itself."""
        hints, rng = hints_of(Job), self._rng
        changes: dict[str, Any] = {}
        for name in rng.sample(sorted(hints), rng.randint(1, 4)):
            if name == "manifest":
                changes[name] = self._manifest(base.manifest)
            elif name != "toolchain" or rng.random() < 0.05:
                changes[name] = self.value(hints[name])
        if rng.random() < 0.5:
            changes["executable"] = base.executable
        return replace(base, **changes)

    def runnable_job(self, base: Job) -> Job:
        """A job that a broker takes in."""
        for _ in range(20):
            job = self.job(base)
            if not why_no_job(job):
                return job
        return base

    def job_bytes(self, base: Job) -> bytes:
        """What is said to be a job: one in three is damaged."""
        unknown = (self._anything(),) if self._rng.random() < 0.1 else ()
        encoded = encode_job(self.job(base), unknown)
        return self._damaged(encoded) if self._rng.random() < 0.3 else encoded

    def result(self) -> Result:
        """A result within its bounds."""
        made: Result = self.value(Result)
        return made

    def result_bytes(self) -> bytes:
        encoded = encode_result(self.result())
        return self._damaged(encoded) if self._rng.random() < 0.3 else encoded

    def message(self, kind: type[messages.Message]) -> list[bytes]:
        """The frames of a message of this kind; one in four breaks a bound or is damaged."""
        hints = hints_of(kind)
        values = {name: self.value(hint) for name, hint in hints.items()}
        body = [values.pop("body")] if "body" in values else []
        header = [_raw(value) for value in values.values()]
        if header and self._rng.random() < 0.15:
            header[self._rng.randrange(len(header))] = self._anything()
        if self._rng.random() < 0.1:
            header += [self._anything() for _ in range(self._rng.choice((1, 2, 17)))]
        packed = msgpack.packb(header, use_bin_type=True, unicode_errors="surrogatepass")
        frames = [messages.PROTOCOL, kind.KIND, packed, *body]
        if self._rng.random() < 0.1:
            at = self._rng.randrange(len(frames))
            frames[at] = self._damaged(frames[at])
        return frames

    def value(self, hint: Any) -> Any:
        """A value of this type, within its bounds."""
        origin = get_origin(hint)
        if hint is Digest:
            return self._digest()
        if hint is bool:
            return self._rng.random() < 0.5
        if origin is Annotated:
            base, bound = get_args(hint)
            return self._bounded(base, bound)
        if origin in (Union, UnionType):
            return None if self._rng.random() < 0.5 else self.value(get_args(hint)[0])
        if origin is tuple:
            return tuple(self.value(inner) for inner in get_args(hint))
        return hint(*(self.value(inner) for inner in hints_of(hint).values()))

    def _bounded(self, base: Any, bound: Range | Length | Like) -> Any:
        rng = self._rng
        if isinstance(bound, Range):
            if base is int:
                least, most = int(bound.least), int(bound.most)
                return rng.choice((least, most, rng.randint(least, most), least + 1, 0))
            middle = rng.uniform(bound.least, bound.most)
            return rng.choice((bound.least, bound.most, middle, bound.least, 0.0))
        if isinstance(bound, Like):
            return self._like(bound)
        if get_origin(base) is tuple:
            count = max(bound.least, min(bound.most, rng.choice(_LONG)))
            inner = get_args(base)[0]
            return tuple(self.value(inner) for _ in range(count))
        if base is str:
            text = rng.choice(TEXTS)[: bound.most]
            return text or "x" * bound.least
        size = rng.choice((bound.least, 16, 1, rng.randint(0, 64)))
        return rng.randbytes(max(bound.least, min(size, bound.most)))

    def _like(self, bound: Like) -> bytes:
        rng = self._rng
        for _ in range(10):
            pool: Sequence[bytes] = PATHS if "path" in bound.what else WORDS
            word = rng.choice(pool)
            if "path" in bound.what and rng.random() < 0.5:
                word = (b"" if word == b"/" else word) + b"/" + rng.choice(NAMES)
            if len(word) <= bound.most and bound.pattern.fullmatch(word):
                return word
        return b"/x" if "path" in bound.what else b"X"

    def _manifest(self, base: Manifest) -> Manifest:
        drawn: Manifest = self.value(Manifest)
        # Mostly one that can be: nothing twice, the source among it.
        seen = {file.path for file in base.files}

        def fresh(path: bytes) -> bool:
            is_new = path not in seen and path != b"/"
            seen.add(path)
            return is_new

        files = base.files + tuple(file for file in drawn.files if fresh(file.path))
        paths = [file.path for file in files]
        links = ((path, self._rng.choice(paths)) for path, _ in drawn.hard_links if fresh(path))
        return Manifest(
            files=tuple(sorted(files, key=lambda file: file.path.rpartition(b"/"))),
            symlinks=tuple(link for link in drawn.symlinks if fresh(link[0])),
            directories=tuple(path for path in drawn.directories if fresh(path)),
            hard_links=tuple(links),
        )

    def _digest(self) -> Digest:
        if self._rng.random() < 0.95:
            return self._rng.choice(self._digests)
        return Digest(self._rng.randbytes(32))

    def _anything(self) -> Any:
        odd: tuple[Callable[[], Any], ...] = (
            lambda: None,
            lambda: (1 << 63) + self._rng.randint(-2, (1 << 63) - 1),
            lambda: -1,
            lambda: float("nan"),
            lambda: float("inf"),
            lambda: "x" * 10_000,
            lambda: bytes(10_000),
            lambda: [[]] * 5000,
            lambda: [[[[[[]]]]]],
            lambda: True,
        )
        return self._rng.choice(odd)()

    def _damaged(self, data: bytes) -> bytes:
        rng, damaged = self._rng, bytearray(data)
        for _ in range(rng.randint(1, 3)):
            at = rng.randint(0, len(damaged))
            act = rng.randrange(3)
            if act == 0 and at < len(damaged):
                damaged[at] ^= rng.randint(1, 255)
            elif act == 1:
                del damaged[at : at + rng.randint(1, 8)]
            else:
                damaged[at:at] = rng.randbytes(rng.randint(1, 8))
        return bytes(damaged)


def _raw(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_raw(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return [_raw(getattr(value, field.name)) for field in fields(value)]
    return value
