"""Runs one job in a sandbox and tells what came of it, on a thread that is the job's while it lasts.

bubblewrap is the node's child; its own child is the first process of the sandbox's pid namespace, and
the compiler a child of that. bubblewrap may end while the namespace still dies, so the node is a
subreaper: the first process becomes its child, and only when that is dead, which the kernel allows
after every other process of the namespace is, are outputs read.

The thread waits, looks after the limits that the kernel does not keep, and judges what the job left
(`node/sandbox/remains.py`); on a loop, each of these would be a hand-over of its own. Whatever is raised on its
way stops the job, and is told as any other fault (`_guarded`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from node.errors import SandboxError
from node.faults import noted
from node.sandbox.cgroup import Group
from node.sandbox.collect import Written
from node.sandbox.command_line import Limits, Sandbox, SandboxMode, why_not_begin
from node.sandbox.disk import JobDisk
from node.sandbox.priority import LOWEST, lower, lower_running, lower_session
from node.sandbox.proof import LOG_BYTES, empty_log
from node.sandbox.remains import Remains, RunFault, RunOutcome, UnpackedToolchain, judge
from node.sandbox.seats import has_own_network
from node.sandbox.spawning import Handles, Start, first_process_in
from node.sandbox.watch import SandboxWatch, Searches
from node.sandbox.wiping import clear, wipe, wipe_later
from zcc.job import Job, Usage
from zcc.messages import Fault

logger = logging.getLogger(__name__)

# What the kernel does not keep is looked at this often: within it, a job may exceed its limit of memory by
# what a core can write, about 0.2 GB.
WATCH_EVERY_S = 0.1
# The kernel's own bound on tasks, where no control group keeps it: so far above the watched one that the job
# is stopped and told of, and not just refused a process.
_MOST_TASKS = 2
# Since Linux 5.14 a user's tasks are counted for each user namespace by itself.
_COUNTS_APART = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (5, 14)
# A group can be removed when the kernel has buried the last process, which is a matter of milliseconds.
_REMOVE_AGAIN_S = 0.05
_REMOVE_TRIES = 40
_PR_SET_CHILD_SUBREAPER = 36
_READ_BYTES = 1 << 16
_MAX_INFO_BYTES = 4096
# bubblewrap's exit status for a command that a signal ended, as a shell's. A compiler that exits with
# such a status by itself is taken for killed; either way it failed.
_SIGNALLED = 128
# Jobs that are prepared or judged at a time: Python runs one thread at a time, and the loop waits for its turn
# behind all that want one.
MAX_TURNS = 8


class Runner:
    """Makes runs. One for each process: it makes the process a subreaper."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.turns = threading.BoundedSemaphore(MAX_TURNS)
        self.searches = Searches()
        self.disk = JobDisk()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise SandboxError(f"prctl: {os.strerror(ctypes.get_errno())}")

    def prepare(
        self,
        job: Job,
        toolchain: UnpackedToolchain,
        tree_root: bytes,
        *,
        scratch: bytes,
        limits: Limits,
    ) -> JobRun:
        """A run of this job's command over this tree, which must be fitted to its manifest when it is begun.

        `scratch` is a path that does not exist, absolute, outside toolchain and tree.
        """
        return JobRun(self, job, toolchain, tree_root, scratch=scratch, limits=limits)


class JobRun:
    """One job's run. `carry_out` is for a seat (`node/sandbox/seats.py`); all else may be called from any
    thread."""

    def __init__(
        self,
        runner: Runner,
        job: Job,
        toolchain: UnpackedToolchain,
        tree_root: bytes,
        *,
        scratch: bytes,
        limits: Limits,
    ) -> None:
        self._sandbox = runner.sandbox
        self._turns = runner.turns
        self._searches = runner.searches
        self._disk = runner.disk
        self._job = job
        self._toolchain = toolchain
        self._scratch = scratch
        self._tree_root = tree_root
        self._limits = limits
        # Held to signal a process and to bury it, so that no signal goes to a number that is another's by now.
        self._lock = threading.Lock()
        self._pid = 0  # bubblewrap
        self._init_pid = 0  # the namespace's first process, once known
        self._status = 0
        self._cpu_s = 0.0
        self._started_at = 0.0
        self._fault: RunFault | None = None
        self._group: Group | None = None
        self._watch = SandboxWatch(limits, scratch, self._disk, self._searches)
        self._nice = limits.nice
        self._is_session_lowered = not self._nice
        self._is_stepping_back = False
        self._told = b""  # what bubblewrap says of its child
        self._is_told = False
        self._handles = Handles()
        self._poll = select.poll()
        self._info = -1
        self._readers: dict[int, bytearray] = {}
        self._stdout = bytearray()
        self._stderr = bytearray()

    def stop(self, fault: Fault = Fault.STOPPING, detail: str = "stopped") -> None:
        """Kill every process of the job, which then ends with this fault; if it has not begun, it will not."""
        if self._fault is None:
            self._fault = RunFault(fault, detail)
        with self._lock:
            self._kill()

    def _kill(self) -> None:
        if not self._pid:
            return
        if self._group is not None:
            self._group.kill()
        self._learn_init()
        if self._init_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init_pid, signal.SIGKILL)
        # The group, not the process: bubblewrap's child is bound to its parent's life only when it has
        # got so far, and before that it waits for ever for a parent that is dead.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    @property
    def used_bytes(self) -> int:
        """The memory that it had a moment ago."""
        return self._watch.used_bytes

    @property
    def first_process(self) -> int:
        """The sandbox's, as this machine numbers it; 0 while it is not known."""
        return self._init_pid

    def step_back(self) -> None:
        """Give way to all others from now on: the machine's owner wants this slot back."""
        with self._lock:
            if self._nice >= LOWEST or not self._pid:
                return
            self._nice, self._is_session_lowered = LOWEST, False
            self._is_stepping_back = True
            lower(self._pid, LOWEST)
            self._lower_groups()

    def _lower_groups(self) -> None:
        """bubblewrap's, and that of the sandbox's first process, which leaves it; with the lock held."""
        for leader in filter(None, (self._pid, self._init_pid)):
            lower_running(leader)

    def carry_out(self) -> RunOutcome | RunFault:
        """Run the command to its end; what came of it. No process and no scratch of it is left then.

        Raises:
            OSError: the process could not be started.
        """
        if self._fault is not None:
            return self._fault
        if why := why_not_begin(self._job.cwd, (self._tree_root, self._toolchain.root)):
            return RunFault(Fault.REFUSED, why)
        try:
            self._start()
        except Exception:
            self._abandon()
            wipe(self._scratch)
            raise
        self._attend()
        wall_s = time.monotonic() - self._started_at
        with self._guarded("a job's run could not be cleared away"):
            self._settle_group()
        self._close()
        try:
            with self._turns:
                return self._seen_through(wall_s)
        except Exception as error:  # noqa: BLE001 - logged there
            return RunFault(*noted(error, "what a job left could not be read"))

    def _abandon(self) -> None:
        """Undo a start that failed half way."""
        self._close()
        with self._lock:
            if self._pid:
                # It had no options yet, so it has no children.
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                self._pid = 0
        if self._group is not None:
            _remove(self._group)

    # ---- starting ----------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._turns:
            self._prepare_scratch()
            self._prepare_group()
            start = Start(self._sandbox, self._job, self._handles)
            self._started_at = time.monotonic()
            with self._lock:
                self._pid = start.spawn()
            self._readers = {start.stdout: self._stdout, start.stderr: self._stderr}
            self._info = start.info
            for handle in (*self._readers, self._info):
                os.set_blocking(handle, False)
                self._poll.register(handle, select.POLLIN)
            start.limit(self._pid, self._limits, self._group)
            start.tell(self._options())
        if self._fault is not None:  # stopped meanwhile
            with self._lock:
                self._kill()

    def _prepare_scratch(self) -> None:
        for name in (b"", b"/upper", b"/work"):
            os.mkdir(self._scratch + name, 0o755)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        log = os.open(self._scratch + b"/log", flags, 0o644)
        try:
            os.write(log, empty_log())
            os.ftruncate(log, LOG_BYTES)
        finally:
            os.close(log)

    def _prepare_group(self) -> None:
        if self._sandbox.cgroups is None or self._sandbox.mode is SandboxMode.NONE:
            return
        self._group = self._sandbox.cgroups.make(self._limits.memory_bytes, self._limits.tasks)
        self._watch = SandboxWatch(
            self._limits, self._scratch, self._disk, self._searches, self._group
        )

    def _options(self) -> list[bytes]:
        return self._sandbox.options(
            self._job,
            self._toolchain.root,
            self._tree_root,
            self._scratch,
            self._limits.tmp_bytes,
            has_own_network(),
        )

    # ---- while it runs -----------------------------------------------------------------------------

    def _attend(self) -> None:
        """Look after the job until every process is dead and all that it said is read."""
        ending = self._handles.add(os.pidfd_open(self._pid))
        self._poll.register(ending, select.POLLIN)
        with self._guarded("a job's run broke"), self._disk.written_by(self._watch):
            self._wait(ending)
        # At once, unless that broke: then it dies of having been stopped.
        os.waitid(os.P_PIDFD, ending, os.WEXITED | os.WNOWAIT)
        with self._guarded("a job's end broke"):
            self._bury()
        with self._guarded("a job's end broke"):
            self._finish()

    def _wait(self, ending: int) -> None:
        """Hear the job, and hold it to its limits, until bubblewrap has ended."""
        look_at = self._started_at + WATCH_EVERY_S
        while True:
            left_s = look_at - time.monotonic()
            if left_s <= 0:
                look_at = time.monotonic() + WATCH_EVERY_S
                self._look()
                continue
            for handle, _ in self._poll.poll(1e3 * left_s):
                if handle == ending:
                    return
                if handle == self._info:
                    self._hear()
                else:
                    self._readable(handle)

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Whatever is raised within stops the job, whose end is then told as any other's."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - logged there
            self.stop(*noted(error, what))

    def _readable(self, handle: int) -> bool:
        """Take what is there; whether there may be more."""
        into = self._readers[handle]
        try:
            piece = os.read(handle, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal that nobody has open any more
                raise
            piece = b""
        if not piece:
            self._poll.unregister(handle)
            self._handles.shut(handle)
            del self._readers[handle]
        elif self._fault is None:
            into += piece
            if len(into) > self._limits.message_bytes:
                limit = self._limits.message_bytes
                self.stop(Fault.RESOURCES, f"more than {limit} bytes of messages")
        return bool(piece)

    def _look(self) -> None:
        """Hold the job to the limits that the kernel does not keep."""
        if self._fault is not None:
            return  # it dies
        if self._init_pid and not self._is_session_lowered:
            self._is_session_lowered = lower_session(self._init_pid, self._nice)
        if self._is_stepping_back:
            # Who was being born when the others were lowered is not yet.
            with self._lock:
                self._lower_groups()
        excess = self._watch.excess(self._init_pid, time.monotonic() - self._started_at)
        if excess is not None:
            self.stop(*excess)

    def _learn_init(self) -> None:
        """Read what bubblewrap has said of its child. With the lock held."""
        if self._is_told or self._info < 0:
            return
        # Written piece by piece; the first field is all that is needed.
        with contextlib.suppress(BlockingIOError):
            piece = os.read(self._info, _MAX_INFO_BYTES)
            self._told += piece
            found = first_process_in(self._told)
            self._is_told = not piece or bool(found)
            if found:
                self._init_pid = found
                self._limit_tasks()

    def _hear(self) -> None:
        with self._lock:
            self._learn_init()
            if self._is_told and self._info >= 0:
                # It stays open: bubblewrap has more to say, and dies of a pipe that nobody has.
                self._poll.unregister(self._info)
                self._info = -1

    def _limit_tasks(self) -> None:
        """Have the kernel bound the tasks of the sandbox's user namespace, before the command starts.

        Only now: of a process in this machine's own namespace all of the user's processes are counted, as of
        any before Linux 5.14. It binds no job of root's; the watch binds all.
        """
        if (
            self._sandbox.mode is SandboxMode.NONE
            or self._limits.tasks is None
            or not _COUNTS_APART
        ):
            return
        most = _MOST_TASKS * self._limits.tasks
        # It may be over already, and its limit may be lower.
        with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
            resource.prlimit(self._init_pid, resource.RLIMIT_NPROC, (most, most))

    # ---- the end -----------------------------------------------------------------------------------

    def _bury(self) -> None:
        """bubblewrap has ended: count it, and what it leaves to us when that is dead too."""
        with self._lock:
            pid, self._pid = self._pid, 0
            # A child that it has not told of yet is in its group still, and may wait for it for ever.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _, self._status, usage = os.wait4(pid, 0)
            self._count(usage)
            self._learn_init()
        # Whom bubblewrap has reaped is no child.
        with contextlib.suppress(ChildProcessError):
            while True:
                _, _, usage = os.wait4(-pid, 0)
                self._count(usage)
        with contextlib.suppress(ChildProcessError):
            if self._init_pid:
                _, _, usage = os.wait4(self._init_pid, 0)
                self._count(usage)

    def _count(self, usage: resource.struct_rusage) -> None:
        self._cpu_s += usage.ru_utime + usage.ru_stime
        self._watch.peak_bytes = max(self._watch.peak_bytes, usage.ru_maxrss << 10)

    def _finish(self) -> None:
        for handle in list(self._readers):
            # Every writer is dead, so what is not there now will never be.
            while self._readable(handle):
                pass

    def _seen_through(self, wall_s: float) -> RunOutcome | RunFault:
        """What came of the job; its scratch is gone then."""
        written: Written | None = None
        try:
            outcome, written = self._judge(wall_s)
        finally:
            try:
                self._clear_away(written)
            except OSError as error:
                logger.warning("a job's scratch could not be removed: %s", error)
        return outcome

    def _clear_away(self, written: Written | None) -> None:
        if written is not None:
            clear(self._scratch, written)
            return
        trash = self._scratch + b".trash-%d" % time.monotonic_ns()
        os.rename(self._scratch, trash)
        wipe_later(trash)

    def _settle_group(self) -> None:
        """Ask the group what there was, and remove it."""
        if self._group is None:
            return
        self._watch.peak_bytes = self._group.peak_bytes() or self._watch.peak_bytes
        excess = self._group.excess()
        if excess and self._fault is None:
            self._fault = RunFault(*excess)
        _remove(self._group)
        self._group = None

    def _judge(self, wall_s: float) -> tuple[RunOutcome | RunFault, Written | None]:
        """What came of the job, and all that it wrote; None where that may be deep or large."""
        excess = self._watch.excess_of_files() if self._fault is None else None
        if excess is not None:
            self._fault = RunFault(*excess)
        if self._fault is not None:
            return replace(self._fault, peak_bytes=self._watch.peak_bytes), None
        remains = Remains(
            job=self._job,
            toolchain=self._toolchain,
            tree_root=self._tree_root,
            scratch=self._scratch,
            exit_status=_exit_status(self._status),
            stdout=bytes(self._stdout),
            stderr=bytes(self._stderr),
            usage=Usage(self._cpu_s, wall_s, self._watch.peak_bytes),
        )
        return judge(remains, self._limits.outputs_bytes)

    def _close(self) -> None:
        self._watch.close()
        self._readers.clear()
        self._info = -1
        self._handles.close()


def _remove(group: Group, tries: int = _REMOVE_TRIES) -> None:
    """What is left in the end is removed when the node starts anew."""
    if not group.remove() and tries:
        again = threading.Timer(_REMOVE_AGAIN_S, _remove, (group, tries - 1))
        again.daemon = True
        again.start()


def _exit_status(wait_status: int) -> int:
    status = os.waitstatus_to_exitcode(wait_status)
    return _SIGNALLED - status if _SIGNALLED < status <= _SIGNALLED + 64 else status
