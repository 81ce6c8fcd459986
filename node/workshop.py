"""The node's disk and its sandboxes: inputs, toolchains, trees, running jobs.

Knows nothing of the broker; the shell tells it what to run and is told what came of it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from cache.blobs import BlobStore, Form, compress
from cache.digest import Digest, digest_of
from node.errors import MissingInputError, NodeError
from node.runner import Run, RunFault, Runner, RunOutcome
from node.runner import Toolchain as Unpacked
from node.sandbox import Limits, Sandbox, view_toolchain
from node.toolchains import SELF_TEST_SOURCE, ToolchainStore, self_test
from node.trees import Tree, TreePool
from zcc.job import FileInput, Job, OutputFile, Result, encode_result
from zcc.messages import Fault

# Sizes on disk, in bytes, that a node keeps by default; `zcc-node serve --cache-size` sets their sum.
INPUTS_SHARE = 0.5
SELF_TEST_CLIENT = b"self-test"


@dataclass(frozen=True, slots=True)
class Finish:
    """A job's end: the packed result with its outputs' frames, or a fault."""

    body: bytes = b""
    outputs: tuple[tuple[Digest, bytes], ...] = ()
    fault: Fault | None = None
    detail: str = ""


@dataclass(slots=True)
class _Running:
    job: Job
    run: Run
    tree: Tree
    client: bytes
    is_last: bool


class Workshop:
    """Everything below one state directory. `report(lease, finish)` is called once for each start."""

    def __init__(
        self,
        directory: str,
        name: str,
        sandbox: Sandbox,
        limit_bytes: int,
        limits: Limits,
        executor: Executor,
        report: Callable[[bytes, Finish], None],
    ) -> None:
        inputs_bytes = int(limit_bytes * INPUTS_SHARE)
        self.inputs = BlobStore(os.path.join(directory, "inputs"), inputs_bytes, Form.PLAIN)
        self.frames = BlobStore(os.path.join(directory, "frames"), limit_bytes)
        self.toolchains = ToolchainStore(
            os.path.join(directory, "toolchains"), limit_bytes - inputs_bytes
        )
        self._trees = TreePool(os.path.join(directory, "trees"), self.inputs)
        self._scratch = os.path.join(directory, "scratch")
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        self._name = name
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._runner = Runner(sandbox, self._loop)
        self._executor = executor
        self._report = report
        self._unpacked: dict[Digest, Unpacked] = {}
        self._running: dict[bytes, _Running] = {}
        self._runs = 0

    def start(self, lease: bytes, job: Job, client: bytes) -> None:
        """Run the job; inputs and toolchain must be here."""
        try:
            self._toolchain(job.toolchain)
            self.toolchains.acquire(job.toolchain)
        except (OSError, NodeError) as error:
            self._report(lease, Finish(fault=Fault.TOOLCHAIN, detail=str(error)))
            return
        self._launch(lease, job, client, is_last=False)

    def _launch(self, lease: bytes, job: Job, client: bytes, is_last: bool) -> None:
        """The toolchain is acquired."""
        tree = self._trees.acquire(client)
        try:
            tree.fit(job.manifest)
            tree.make_way(job)
            run = self._runner.start(
                job,
                self._toolchain(job.toolchain),
                tree,
                scratch=self._scratch_path(),
                limits=self._limits,
                on_exit=lambda outcome: self._ended(lease, outcome),
            )
        except (OSError, NodeError) as error:
            self._trees.discard(tree)
            self.toolchains.release(job.toolchain)
            fault = Fault.INPUT if isinstance(error, NodeError) else Fault.INTERNAL
            if isinstance(error, MissingInputError):
                self.inputs.remove(error.digest)
            self._report(lease, Finish(fault=fault, detail=str(error)))
            return
        self._running[lease] = _Running(job, run, tree, client, is_last)

    def kill(self, lease: bytes) -> None:
        running = self._running.get(lease)
        if running is not None:
            running.run.stop()

    def stop(self) -> None:
        """Kill every sandbox."""
        for running in self._running.values():
            running.run.stop()

    def sweep(self) -> None:
        """Keep the stores within their limits."""
        self.inputs.sweep()
        self.frames.sweep()

    async def install(self, digest: Digest) -> None:
        """Unpack a toolchain whose frame is here and compile one line with it.

        Raises:
            NodeError: it cannot be used; it is removed again.
        """
        try:
            await self._loop.run_in_executor(
                self._executor, self.toolchains.install, digest, self.frames.path_of(digest)
            )
            self.frames.remove(digest)
            await self._try_out(digest)
        except (OSError, NodeError) as error:
            self._unpacked.pop(digest, None)
            self.toolchains.remove(digest)
            raise NodeError(f"the toolchain cannot be used: {error}") from error

    async def _try_out(self, digest: Digest) -> None:
        """Compile one line, as the toolchain's first and known-answer job."""
        self.inputs.put(SELF_TEST_SOURCE)
        job = self_test(digest, self.toolchains.about(digest)).job
        ended: asyncio.Future[RunOutcome | RunFault] = self._loop.create_future()
        tree = self._trees.acquire(SELF_TEST_CLIENT)
        tree.fit(job.manifest)
        self._runner.start(
            job,
            self._toolchain(digest),
            tree,
            scratch=self._scratch_path(),
            limits=self._limits,
            on_exit=ended.set_result,
        )
        outcome = await ended
        self._trees.release(SELF_TEST_CLIENT, tree)
        if isinstance(outcome, RunFault):
            raise NodeError(f"{outcome.fault.value}: {outcome.detail}")
        if outcome.exit_status or not outcome.outputs or outcome.lookups.flaw:
            why = outcome.stderr.decode(errors="replace") or outcome.lookups.flaw
            raise NodeError(f"it does not compile one line (exit {outcome.exit_status}): {why}")

    def _toolchain(self, digest: Digest) -> Unpacked:
        unpacked = self._unpacked.get(digest)
        if unpacked is None or not os.path.isdir(unpacked.root):
            root = self.toolchains.root_of(digest)
            unpacked = self._unpacked[digest] = Unpacked(root, view_toolchain(root))
        return unpacked

    def _scratch_path(self) -> bytes:
        self._runs += 1
        return os.fsencode(os.path.join(self._scratch, f"{os.getpid()}-{self._runs}"))

    def _ended(self, lease: bytes, outcome: RunOutcome | RunFault) -> None:
        running = self._running.pop(lease)
        job = running.job
        is_misled = isinstance(outcome, RunOutcome) and bool(outcome.lookups.undeclared)
        if is_misled and not running.is_last:
            # It found what an earlier job has left in the tree, such as a header that is gone since: the
            # result would prove nothing. Only what the job declares lies in a new tree.
            self._trees.discard(running.tree)
            self._trees.forget(running.client)
            self._launch(lease, job, running.client, is_last=True)
            return
        self._trees.release(running.client, running.tree)
        self.toolchains.release(job.toolchain)
        if isinstance(outcome, RunFault):
            self._report(lease, Finish(fault=outcome.fault, detail=outcome.detail))
            return
        self._report(lease, self._packed(outcome))

    def _packed(self, outcome: RunOutcome) -> Finish:
        outputs = []
        frames = []
        for file in outcome.outputs:
            digest = digest_of(file.data)
            outputs.append(OutputFile(file.path, digest, len(file.data), file.mode))
            frames.append((digest, compress(file.data)))
        result = Result(
            exit_status=outcome.exit_status,
            stdout=outcome.stdout,
            stderr=outcome.stderr,
            outputs=tuple(outputs),
            usage=outcome.usage,
            lookups=outcome.lookups,
            node=self._name,
        )
        return Finish(body=compress(encode_result(result)), outputs=tuple(frames))


def digests_of(files: tuple[FileInput, ...]) -> set[Digest]:
    """The contents that these inputs need."""
    return {file.digest for file in files}
