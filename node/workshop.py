"""The node's disk and its sandboxes: inputs, toolchains, trees, running jobs.

Knows nothing of the broker; the shell tells it what to run and is told what came of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TypeVar, TypeVarTuple

from cache.blobs import BlobStore, Form
from cache.digest import Digest, digest_of
from cache.frame import compress
from node.errors import MissingInputError, SpoiledError, ToolchainError, WornTreeError
from node.faults import noted
from node.sandbox.command_line import Limits, Sandbox, view_toolchain
from node.sandbox.freshness import Freshness
from node.sandbox.inspection import Inspector
from node.sandbox.memory import Gauge, Holder
from node.sandbox.remains import RunFault, RunOutcome
from node.sandbox.remains import UnpackedToolchain as Unpacked
from node.sandbox.runner import JobRun, Runner
from node.sandbox.stock import Stock
from node.sandbox.trees import Tree, TreePool
from node.sandbox.wiping import wipe_later
from node.toolchains.store import SELF_TEST_SOURCE, ToolchainStore, self_test
from zcc.job import FileInput, Job, OutputFile, Result, encode_result
from zcc.messages import MAX_SENT_BYTES, Fault

logger = logging.getLogger(__name__)
Values = TypeVarTuple("Values")
Answer = TypeVar("Answer")

# Sizes on disk, in bytes, that a node keeps by default; `zcc-node serve --cache-size` sets their sum.
INPUTS_SHARE = 0.5
# How often it is looked whether jobs together have too much memory: twice as long as between two looks at each.
MEMORY_EVERY_S = 0.2
SELF_TEST_CLIENT = b"self-test"
# What a tree can bring about from which somebody has taken files: all that it is to hold is known to be named.
_MAY_BE_THE_TREES = frozenset((Fault.TOOLCHAIN, Fault.INPUT, Fault.SANDBOX))
# Toolchains whose contents are known by name; a node serves a few, and each takes a walk of some milliseconds.
_MAX_VIEWS = 16
_MAX_CONDEMNED = 64
# Of a toolchain's self-test, which takes some 50 ms: a slot is not held longer by one that hangs.
SELF_TEST_S = 30.0
_MOST_TOLD = 1000
# Toolchains known to work; beyond it each tests itself once more.
_MAX_TRIED = 10_000


@dataclass(frozen=True, slots=True)
class Finish:
    """A job's end: the packed result with its outputs' frames, or a fault; or none, because it has to be
    run again when `missing` is here (and its toolchain, where that is gone)."""

    body: bytes = b""
    outputs: tuple[tuple[Digest, bytes], ...] = ()
    fault: Fault | None = None
    detail: str = ""
    missing: frozenset[Digest] | None = None
    is_toolchain_here: bool = True
    used_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Hands:
    """Worker threads: for what a job waits for, for what takes seconds, and one for each job that runs."""

    quick: Executor
    slow: Executor
    jobs: Executor


@dataclass(frozen=True, slots=True)
class _Done:
    """What is told of a run that is over. `is_lamed`: its tree may be why it could not run."""

    finish: Finish
    outcome: RunOutcome | RunFault
    is_lamed: bool = False

    @classmethod
    def of_fault(cls, fault: RunFault, is_lamed: bool = False) -> _Done:
        finish = Finish(fault=fault.fault, detail=fault.detail, used_bytes=fault.peak_bytes)
        return cls(finish, fault, is_lamed)


@dataclass(slots=True)
class _Running:
    """A lease's job on its way: `run` while there is a sandbox, begun at `begun_s`."""

    run: JobRun | None = None
    is_killed: bool = False
    reserved_bytes: int = 0
    begun_s: float = 0.0


class Workshop:
    """Everything below one state directory. `report(lease, finish)` is called once for each start.

    A job is one coroutine (`_see_through`), so whatever is raised on its way ends it, and what it holds (tree,
    toolchain, sandbox) is given back. What grows with what a job names happens on the `hands`, beside the loop.
    """

    def __init__(
        self,
        directory: str,
        name: str,
        sandbox: Sandbox,
        limit_bytes: int,
        limits: Limits,
        hands: Hands,
        freshness: Freshness,
        report: Callable[[bytes, Finish], None],
        *,
        gauge: Gauge | None = None,
    ) -> None:
        inputs_bytes = int(limit_bytes * INPUTS_SHARE)
        self.inputs = BlobStore(os.path.join(directory, "inputs"), inputs_bytes, Form.PLAIN)
        self.stock = Stock(self.inputs)
        self.frames = BlobStore(os.path.join(directory, "frames"), limit_bytes)
        self.toolchains = ToolchainStore(
            os.path.join(directory, "toolchains"), limit_bytes - inputs_bytes
        )
        # Toolchains that were found rotten while others may have been running with them.
        self._condemned: deque[Unpacked] = deque(maxlen=_MAX_CONDEMNED)
        self._hands = hands
        self._trees = TreePool(
            os.path.join(directory, "trees"), self.inputs, freshness, discard=self._bin
        )
        self._scratch = os.path.join(directory, "scratch")
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        for left in os.listdir(self._scratch):
            self._bin(os.fsencode(os.path.join(self._scratch, left)))
        self._name = name
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._runner = Runner(sandbox)
        self._inspector = Inspector(freshness, self.inputs, self._runner.turns)
        self._gauge = gauge or Gauge()
        self._watching: asyncio.TimerHandle | None = None
        self._report = report
        self._unpacked: OrderedDict[Digest, Unpacked] = OrderedDict()
        self._tried: set[Digest] = set()  # those that have passed their self-tests since this start
        self._running: dict[bytes, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs = 0
        self._installing = 0  # frames that are being unpacked

    def start(self, lease: bytes, job: Job, client: bytes, reserved_bytes: int = 0) -> None:
        """Run the job, for which so much memory is reserved; inputs and toolchain must be here."""
        running = self._running[lease] = _Running(reserved_bytes=reserved_bytes)
        if self._watching is None:
            self._watching = self._loop.call_later(MEMORY_EVERY_S, self._watch_memory)
        task = self._loop.create_task(self._see_through(lease, running, job, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def kill(self, lease: bytes) -> None:
        running = self._running.get(lease)
        if running is not None:
            _kill(running)

    def step_back(self, lease: bytes) -> None:
        """Let this job give way to everybody else's processes."""
        running = self._running.get(lease)
        if running is not None and running.run is not None:
            running.run.step_back()

    def holders(self) -> list[Holder]:
        """The runs that are alive, with what they have."""
        return [
            Holder(lease, each.begun_s, each.run.used_bytes, each.reserved_bytes)
            for lease, each in self._running.items()
            if each.run is not None and not each.is_killed
        ]

    def _watch_memory(self) -> None:
        """Where memory is short, a job goes; it may run where there is more."""
        self._watching = None
        if not self._running:
            return
        self._watching = self._loop.call_later(MEMORY_EVERY_S, self._watch_memory)
        victim = self._gauge.victim(self.holders(), self._loop.time())
        running = self._running.get(victim.lease) if victim is not None else None
        if victim is not None and running is not None and running.run is not None:
            logger.warning("memory is short: a job with %d MiB goes", victim.used_bytes >> 20)
            running.run.stop(Fault.MEMORY, "this machine was short of memory")

    def sandboxes(self) -> list[int]:
        """The first processes of those that are alive."""
        runs = [each.run for each in self._running.values() if each.run is not None]
        return [run.first_process for run in runs if run.first_process]

    def stop(self) -> None:
        """Kill every sandbox."""
        if self._watching is not None:
            self._watching.cancel()
        for running in self._running.values():
            _kill(running)

    def sweep(self) -> None:
        """Keep the stores within their limits."""
        if self.inputs.sweep():
            self.stock.forget()
        if not self._installing:
            self.frames.sweep()

    # ---- a job ---------------------------------------------------------------------------------

    async def _see_through(self, lease: bytes, running: _Running, job: Job, client: bytes) -> None:
        """From start to report: the one place where a lease's job ends, whatever was raised."""
        try:
            finish = await self._perform(running, job, client)
        except (SpoiledError, MissingInputError) as error:
            finish = await self._begin_anew(job, error)
        except Exception as error:  # noqa: BLE001 - logged there
            fault, detail = noted(error, f"the job of lease {lease.hex()} broke")
            finish = Finish(fault=fault, detail=detail)
        finally:
            self._running.pop(lease, None)
        self._report(lease, finish)

    async def _begin_anew(self, job: Job, error: SpoiledError | MissingInputError) -> Finish:
        """What the job has read, or was to read, is rotten or gone: it is fetched, and the job run again."""
        logger.warning("%s: a job runs again", error)
        # Other clients' trees may have the same rotten files, by their links or of the same disk.
        self._trees.forget_all()
        if isinstance(error, MissingInputError):
            self.inputs.remove(error.digest)
        self.stock.forget()
        missing = await self._beside(self.stock.missing, digests_of(job.manifest.files))
        return Finish(
            detail=str(error),
            missing=frozenset(missing),
            is_toolchain_here=self.toolchains.has(job.toolchain),
        )

    def _condemn(self, digest: Digest, unpacked: Unpacked) -> None:
        """Take a rotten toolchain away, unless another has come in its place meanwhile."""
        if not self._is_condemned(unpacked):
            self._condemned.append(unpacked)
        if self._unpacked.get(digest, unpacked) is unpacked:
            self._unpacked.pop(digest, None)
            self.toolchains.condemn(digest)

    def _is_condemned(self, unpacked: Unpacked) -> bool:
        return any(each is unpacked for each in self._condemned)

    async def _perform(self, running: _Running, job: Job, client: bytes) -> Finish:
        if not self.toolchains.has(job.toolchain):
            raise SpoiledError("the toolchain is not here any more", True)
        with self.toolchains.lease(job.toolchain):
            unpacked = await self._toolchain(job.toolchain)
            if job.toolchain not in self._tried:
                useless = await self._try_out(running, job.toolchain, unpacked)
                if useless is not None:
                    return useless
            done = await self._run(running, job, client, unpacked, is_last=False)
            if done is None:
                self._trees.forget(client)  # so that the next one is new
                done = await self._run(running, job, client, unpacked, is_last=True)
            assert done is not None
            return done.finish

    async def _run(
        self,
        running: _Running,
        job: Job,
        client: bytes,
        unpacked: Unpacked,
        is_last: bool,
        wall_s: float | None = None,
    ) -> _Done | None:
        """Run it over a tree of this client's, for `wall_s` if a job may take longer. None: the tree is not as
        it is known to be, or will not do: a new one may.
        """
        tree = self._trees.acquire(client)
        is_last = is_last or tree.is_new
        done: _Done | None = None
        is_good = False
        try:
            if running.is_killed:
                return _Done.of_fault(RunFault(Fault.STOPPING, "stopped"))
            limits = replace(
                self._limits,
                memory_bytes=self._gauge.limit_of(running.reserved_bytes),
                wall_s=min(filter(None, (wall_s, self._limits.wall_s)), default=None),
            )
            running.run = self._runner.prepare(
                job, unpacked, tree.root, scratch=self._scratch_path(), limits=limits
            )
            running.begun_s = self._loop.time()
            carrying = self._loop.run_in_executor(
                self._hands.jobs, self._carry_out, running, job, tree, unpacked, is_last
            )
            done = await carrying
            if done is not None and not running.is_killed and self._is_condemned(unpacked):
                raise SpoiledError("the toolchain was found rotten meanwhile", True)
            is_good = done is not None and not done.is_lamed
            return done
        except ToolchainError as error:
            self._condemn(job.toolchain, unpacked)
            raise SpoiledError(str(error), True) from error
        except SpoiledError as error:
            if error.is_toolchain:
                self._condemn(job.toolchain, unpacked)
            raise
        except (WornTreeError, OSError) as error:
            if is_last:
                raise
            logger.info("a new input tree, since the old one would not do: %s", error)
            return None
        finally:
            running.run = None
            if is_good:
                self._trees.release(client, tree)
            else:
                self._trees.discard(tree)

    def _carry_out(
        self, running: _Running, job: Job, tree: Tree, unpacked: Unpacked, is_last: bool
    ) -> _Done | None:
        """From the tree to the packed result, on a thread of the job's own; None: a new tree may do.

        Raises:
            SpoiledError, ToolchainError: the run has read what is rotten.
        """
        run = running.run
        assert run is not None
        with self._runner.turns:
            tree.fit(job.manifest)
        outcome = run.carry_out()
        if not running.is_killed:
            members = self.toolchains.members(job.toolchain)
            self._inspector.inspect(job, tree, unpacked.root, members)
        with self._runner.turns:
            if isinstance(outcome, RunFault):
                is_lamed = outcome.fault in _MAY_BE_THE_TREES
                return None if is_lamed and not is_last else _Done.of_fault(outcome, is_lamed)
            return _Done(self._packed(outcome), outcome)

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
        body = compress(encode_result(result))
        if len(body) > MAX_SENT_BYTES:
            return Finish(fault=Fault.RESOURCES, detail="its messages are too much to be sent")
        return Finish(body=body, outputs=tuple(frames))

    # ---- toolchains ----------------------------------------------------------------------------

    async def install(self, digest: Digest) -> None:
        """Unpack a toolchain whose frame is here. Nothing of it runs: that is for a job.

        Raises:
            NodeError, OSError: it cannot be used; nothing is left of it.
        """
        self._installing += 1
        try:
            place = self.frames.path_of(digest)
            await self._loop.run_in_executor(
                self._hands.slow, self.toolchains.install, digest, place
            )
            self._tried.discard(digest)
        finally:
            self._installing -= 1
            self.frames.remove(digest)

    async def _try_out(
        self, running: _Running, digest: Digest, unpacked: Unpacked
    ) -> Finish | None:
        """Compile one line, the known answer, before the first job that wants this toolchain; what ends the
        job if that fails.

        As a part of the job: an uploaded toolchain is foreign code, which runs in a slot and under a lease
        only, is killed with it, and counts as what the job uses. Jobs that begin together each try for
        themselves, so that none waits for another's.

        Raises:
            SpoiledError: what it says of itself is rotten.
        """
        self.inputs.put(SELF_TEST_SOURCE)
        self._trees.forget(SELF_TEST_CLIENT)  # the last one may be why it is tried again
        try:
            job = self_test(digest, self.toolchains.about(digest)).job
        except ToolchainError as error:
            self._condemn(digest, unpacked)
            raise SpoiledError(str(error), True) from error
        done = await self._run(
            running, job, SELF_TEST_CLIENT, unpacked, is_last=True, wall_s=SELF_TEST_S
        )
        assert done is not None
        outcome = done.outcome
        if isinstance(outcome, RunFault):
            return replace(done.finish, detail=f"its toolchain's self-test: {outcome.detail}")
        if outcome.exit_status or not outcome.outputs or outcome.lookups.flaw:
            why = outcome.stderr[:_MOST_TOLD].decode(errors="replace") or outcome.lookups.flaw
            detail = (
                "the toolchain cannot be used: it does not compile one line"
                f" (exit {outcome.exit_status}): {why}"
            )
            return Finish(fault=Fault.TOOLCHAIN, detail=detail)
        if len(self._tried) >= _MAX_TRIED:
            self._tried.clear()
        self._tried.add(digest)
        return None

    async def _toolchain(self, digest: Digest) -> Unpacked:
        unpacked = self._unpacked.get(digest)
        if unpacked is None or not os.path.isdir(unpacked.root):
            root = self.toolchains.root_of(digest)
            view = await self._beside(view_toolchain, root)
            unpacked = self._unpacked[digest] = Unpacked(root, view)
            if len(self._unpacked) > _MAX_VIEWS:
                self._unpacked.popitem(last=False)
        self._unpacked.move_to_end(digest)
        return unpacked

    # ---- places --------------------------------------------------------------------------------

    def _scratch_path(self) -> bytes:
        self._runs += 1
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)  # whoever cleans up may have taken it
        return os.fsencode(os.path.join(self._scratch, f"{os.getpid()}-{self._runs}"))

    def _bin(self, path: bytes) -> None:
        # Of a node that ends no hand is left: the next one begins with wiping.
        with contextlib.suppress(RuntimeError):
            self._hands.slow.submit(wipe_later, path)

    async def _beside(self, act: Callable[[*Values], Answer], *values: *Values) -> Answer:
        """What `act` answers, on one of the hands."""
        return await self._loop.run_in_executor(self._hands.quick, act, *values)


def _kill(running: _Running) -> None:
    running.is_killed = True
    if running.run is not None:
        running.run.stop()


def digests_of(files: tuple[FileInput, ...]) -> set[Digest]:
    """The contents that these inputs need."""
    return {file.digest for file in files}
