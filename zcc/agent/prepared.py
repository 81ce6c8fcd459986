"""What becomes of a request: a job, or the reason why it runs here; and the jobs written down before."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from cache.blobs import compress
from cache.digest import Digest, digest_of, short
from zcc.compiler.closure import Closure
from zcc.compiler.relocation import relocated
from zcc.compiler.toolchain import Toolchain
from zcc.job import Job, Manifest, encode_job, job_key

# Jobs that are remembered; their inputs are the scanner's own memory.
MAX_PREPARED = 8192

# Reasons by which a command is none that a farm could take; running it here is no fallback.
CHOICES = frozenset(
    (
        "not-a-compile",
        "preprocess-only",
        "no-source",
        "stdin-source",
        "output-to-stdout",
        "output-to-device",
        "syntax-only",
        "information",
        "other-action",
        "makes-pch",
        "conftest",
        "no-compiler",
        "missing-source",
        "wrapper",
    )
)


@dataclass(frozen=True, slots=True)
class Here:
    """The command runs on this machine. `reason` is machine-readable."""

    reason: str
    detail: str = ""

    @property
    def is_choice(self) -> bool:
        return self.reason in CHOICES


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job, ready to be looked up or submitted.

    `encoded` are its canonical bytes, empty for a job that was prepared before: most of those are hits.
    """

    job: Job
    key: Digest
    encoded: bytes
    closure: Closure
    way: str
    source: bytes
    build: str
    toolchain: Toolchain

    # Of a job that `compiler/relocation.py` has moved away from `base`: the one that was not.
    base: bytes = b""
    plain: Prepared | None = None

    def in_place(self) -> Prepared:
        """The same where the user has it."""
        return self.plain or self

    def frame(self) -> bytes:
        """The job's canonical bytes, compressed."""
        return compress(self.encoded or encode_job(self.job))


class JobMemo:
    """Jobs that were prepared before. Writing 500 inputs down and hashing them costs 0.5 ms."""

    def __init__(self) -> None:
        # By the job without its inputs, and the base that it was to be moved from.
        self._known: OrderedDict[tuple[Job, bytes], Prepared] = OrderedDict()
        self._unmovable: set[Job] = set()

    def prepared(
        self,
        *,
        command: Job,
        closure: Closure,
        way: str,
        source: bytes,
        root: bytes,
        toolchain: Toolchain,
        base: bytes,
    ) -> Prepared:
        """The job of this command (a job without inputs), moved away from `base` where that may be."""
        if command in self._unmovable:
            base = b""
        known = self._known.get((command, base))
        # The scanner gives the same object as long as nothing in it has changed.
        if known is not None and known.closure is closure:
            self._known.move_to_end((command, base))
            return known
        job = replace(command, manifest=closure.manifest, listed=closure.listed)
        encoded = encode_job(job)
        build = short(digest_of(root))
        made = Prepared(job, job_key(encoded), encoded, closure, way, source, build, toolchain)
        if base:
            made = _moved(made, base)
        if way == "scanned":  # what is listed has a closure of its own each time
            self._known[command, base] = replace(made, encoded=b"")
            if len(self._known) > MAX_PREPARED:
                self._known.popitem(last=False)
        return made

    def keep_in_place(self, prepared: Prepared) -> None:
        """This command came to nothing when it was moved."""
        if len(self._unmovable) >= MAX_PREPARED:
            self._unmovable.clear()
        self._unmovable.add(replace(prepared.in_place().job, manifest=Manifest(), listed=()))


def _moved(prepared: Prepared, base: bytes) -> Prepared:
    job = relocated(prepared.job, base)
    if job is None:
        return prepared
    encoded = encode_job(job)
    plain = replace(prepared, encoded=b"")
    return replace(prepared, job=job, key=job_key(encoded), encoded=encoded, base=base, plain=plain)
