"""The bytes of the jobs whose results are remembered: what is needed to run one of them again.

Owns their store, and what a job is asked for anew with. They are written down behind the loop's back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from broker.core.events import RerunAsked
from broker.core.limits import JOBS_KEPT_SHARE
from broker.state import put_aside
from broker.transport.heads import read_job, split_digests
from cache.blobs import BlobStore
from cache.digest import Digest
from cache.record import Record
from cache.writer import Writer
from zcc.errors import ProtocolError

logger = logging.getLogger(__name__)

# Bytes of jobs that wait to be written down; beyond it they are not, and their results cannot be audited.
_MAX_BEHIND_BYTES = 16 << 20


class KeptJobs:
    """In `directory`, for results of `limit_bytes` at the most."""

    def __init__(
        self, directory: str, limit_bytes: int, has_blob: Callable[[Digest], bool]
    ) -> None:
        jobs = os.path.join(directory, "jobs")
        put_aside(directory, jobs)
        self._jobs = BlobStore(jobs, int(limit_bytes * JOBS_KEPT_SHARE))
        self._has_blob = has_blob
        self._writer: Writer[tuple[Digest, bytes]] = Writer(
            "audit's writer", self._write, _MAX_BEHIND_BYTES
        )
        self._unwritten: list[tuple[tuple[Digest, bytes], int]] = []

    def close(self) -> None:
        self.write_down()
        self._writer.close()

    def keep(self, key: Digest, frame: bytes) -> None:
        self._unwritten.append(((key, frame), len(frame)))

    def has(self, key: Digest) -> bool:
        """Whether this job's bytes are written down. Safe in a thread."""
        return self._jobs.has(key)

    def write_down(self) -> None:
        """Have the jobs that came since the last call written, behind the loop's back."""
        if self._unwritten:
            unwritten, self._unwritten = self._unwritten, []
            self._writer.put_all(unwritten)

    def asked_again(
        self,
        record: Record,
        avoid: frozenset[str],
        *,
        name: Digest | None = None,
        only: bytes = b"",
    ) -> RerunAsked | str:
        """What has this result's job run again, by no node of the keys `avoid`; else why it cannot be.

        `name` is what it is called in the core's books, where nobody else is to be served by it; `only` is the
        session of a node on trial.
        """
        key = record.key
        try:
            frame = self._jobs.read_stored(key)
            head = read_job(frame, key)
        except (OSError, ProtocolError):
            self._jobs.remove(key)
            return "job-not-kept"
        inputs = tuple(split_digests(head.inputs))
        toolchain = Digest(head.toolchain)
        if not all(map(self._has_blob, (toolchain, *inputs))):
            return "inputs-gone"
        return RerunAsked(
            key=name or key,
            toolchain=toolchain,
            inputs=inputs,
            machine_class=head.machine_class,
            most_outputs=head.most_outputs,
            client=record.source.user,
            avoid=avoid,
            body=frame,
            job=key,
            only=only,
            declared=head.declared,
        )

    def _write(self, jobs: list[tuple[Digest, bytes]]) -> None:
        for key, frame in jobs:
            try:
                self._jobs.adopt(key, frame)
                self._jobs.sweep()
            except OSError as error:
                logger.warning("cannot keep a job for audits: %s", error.strerror)
