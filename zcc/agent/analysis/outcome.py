"""What becomes of a request: a job, or the reason why it runs here; and the jobs written down before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cache.digest import Digest, digest_of, short
from cache.frame import compress
from zcc.agent.analysis.output_places import Outputs
from zcc.bounded import Bounded
from zcc.compiler.neutral.relocation import relocated
from zcc.compiler.neutral.renaming import Renaming, renamed, with_directories
from zcc.compiler.scan.closure import Closure, NotBounded
from zcc.compiler.toolchain.index import Toolchain
from zcc.job import Job, Manifest, encode_job, job_key, why_no_job
from zcc.reasons import Reason
from zcc.traits import Traits, traits_of

# Commands that are known to come to nothing elsewhere.
MAX_UNMOVABLE = 8192
# Of a job, and of each input that it names in a manifest of its own; measured.
_JOB_BYTES = 1500
_INPUT_BYTES = 110


@dataclass(frozen=True, slots=True)
class Here:
    """The command runs on this machine; `detail` is what is special about this one."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job, ready to be looked up or submitted.

    `encoded` are its canonical bytes, empty for a job that was prepared before: most of those are hits.
    `unbounded` is why the compiler was asked for the inputs, None where they were scanned.
    """

    job: Job
    key: Digest
    encoded: bytes
    closure: Closure
    unbounded: NotBounded | None
    source: bytes
    build: str
    toolchain: Toolchain
    traits: Traits | None = None

    # Of a job that `compiler/neutral/relocation.py` has moved away from `base`, whose outputs
    # `compiler/neutral/renaming.py` has renamed, or both: how it was.
    base: bytes = b""
    renaming: Renaming | None = None
    plain: Job | None = None
    # Where its outputs go here, which is the call's own; what is remembered of a job has none.
    outputs: Outputs | None = None

    @property
    def cost_key(self) -> tuple[bytes, int]:
        """What tells apart how long compiles take: the source, and the words of the command."""
        return self.source, hash(self.job_in_place.argv)

    @property
    def way(self) -> str:
        """How the inputs were found: `scanned`, or `listed: ` and the cause."""
        return "scanned" if self.unbounded is None else f"listed: {self.unbounded.reason}"

    @property
    def written_into(self) -> frozenset[bytes]:
        """Outputs that exist and are not to be replaced, by their paths here."""
        return frozenset() if self.outputs is None else self.outputs.files.written_into

    @property
    def is_moved(self) -> bool:
        """Whether it is another command than the user's."""
        return self.plain is not None

    @property
    def job_in_place(self) -> Job:
        """The job as the user has it."""
        return self.plain or self.job

    @property
    def job_compared(self) -> Job:
        """The job as the user has it, but for names of outputs that do not count."""
        here = self.job_in_place
        if self.renaming is None:
            return here
        return renamed(replace(here, manifest=self.closure.manifest), self.renaming)

    def in_place(self) -> Prepared:
        """The same where the user has it, and under his names."""
        if self.plain is None:
            return self
        encoded = encode_job(self.plain)
        return replace(
            self,
            job=self.plain,
            key=job_key(encoded),
            encoded=encoded,
            base=b"",
            renaming=None,
            plain=None,
        )

    def frame(self) -> bytes:
        """The job's canonical bytes, compressed."""
        return compress(self.encoded or encode_job(self.job))


class JobMemo:
    """Jobs that were prepared before. Writing 500 inputs down and hashing them costs 0.5 ms."""

    def __init__(self, limit_bytes: int) -> None:
        # By the job without its inputs, the base that it was to be moved from, and whether its outputs are
        # renamed.
        self.known: Bounded[tuple[Job, bytes, bool], Prepared] = Bounded(limit_bytes, _bytes_of)
        self._unmovable: set[Job] = set()

    def prepared(
        self,
        *,
        command: Job,
        closure: Closure,
        unbounded: NotBounded | None,
        source: bytes,
        root: bytes,
        toolchain: Toolchain,
        base: bytes,
        renaming: Renaming | None,
    ) -> Prepared | Here:
        """The job of this command (a job without inputs), moved away from `base` where that may be.

        With a `renaming` the closure was found without the outputs' directories. What no broker would take
        runs here, and what reads what it writes; a command that only looks for its output keeps the name.
        """
        shown = renaming.directories if renaming is not None else ()
        if command in self._unmovable:
            base, renaming = b"", None
        place = (command, base, renaming is not None)
        known = self.known.get(place)
        # The scanner gives the same object as long as nothing in it has changed.
        if known is not None and known.closure is closure:
            return known
        if read := _first_read(closure, command.outputs):
            return Here(Reason.OUTPUT_IS_INPUT, os.fsdecode(read))
        if renaming is not None and _looks_for_any(closure, command.outputs):
            renaming = None
        plain = replace(
            command, manifest=with_directories(closure.manifest, shown), listed=closure.listed
        )
        bare = replace(plain, manifest=closure.manifest)
        job, base = _moved(plain, bare, base, renaming)
        why = why_no_job(job) or (why_no_job(plain) if job is not plain else "")
        if why:
            return Here(Reason.OUT_OF_BOUNDS, why)
        encoded = encode_job(job)
        made = Prepared(
            job=job,
            key=job_key(encoded),
            encoded=encoded,
            closure=closure,
            unbounded=unbounded,
            source=source,
            build=short(digest_of(root)),
            toolchain=toolchain,
            traits=traits_of(command.argv, source, root, closure.size_bytes),
            base=base,
            renaming=renaming,
            plain=None if job is plain else plain,
        )
        if unbounded is None:  # what is listed has a closure of its own each time
            self.known.put(place, replace(made, encoded=b""))
        return made

    def keep_in_place(self, prepared: Prepared) -> None:
        """This command came to nothing when it was moved."""
        if len(self._unmovable) >= MAX_UNMOVABLE:
            self._unmovable.clear()
        self._unmovable.add(replace(prepared.job_in_place, manifest=Manifest(), listed=()))


def _first_read(closure: Closure, outputs: Sequence[bytes]) -> bytes:
    """An output that the compile may read; empty where none is. gcc empties assembly, and its assembler an
    object, before it reads anything, and on a node inputs are nobody's to write."""
    manifest = closure.manifest
    links = {path for path, _ in (*manifest.symlinks, *manifest.hard_links)}
    own = set(outputs)
    files = (file.path for file in manifest.files if file.path in own)
    return next(files, min(own & links, default=b""))


def _looks_for_any(closure: Closure, outputs: Sequence[bytes]) -> bool:
    """Whether the scan has looked for an output in vain, or found one that it does not show: with gcc it is
    there before anything is read."""
    places = (path.rpartition(b"/") for path in outputs)
    is_missed = any(name in closure.misses.get(at or b"/", ()) for at, _, name in places)
    return is_missed or not set(outputs).isdisjoint(closure.withheld)


def _bytes_of(place: tuple[Job, bytes, bool], made: Prepared) -> int:
    """Inputs that lie where the scanner found them are its own."""
    return _JOB_BYTES + (_INPUT_BYTES * len(made.job.manifest.files) if made.base else 0)


def _moved(plain: Job, bare: Job, base: bytes, renaming: Renaming | None) -> tuple[Job, bytes]:
    """The job under neutral names and away from `base`, as far as either may be, and the base it was moved
    from. `bare` is `plain` without its outputs' directories."""
    job = plain if renaming is None else renamed(bare, renaming)
    moved = relocated(job, base) if base else None
    return (job, b"") if moved is None else (moved, base)
