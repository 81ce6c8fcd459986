"""Runs one job in a sandbox and tells what came of it, on an event loop.

bubblewrap is the node's child; its own child is the first process of the sandbox's pid namespace, and
the compiler a child of that. bubblewrap may end while the namespace still dies, so the node is a
subreaper: the first process becomes its child, and only when that is dead, which the kernel allows
after every other process of the namespace is, are outputs read.

What a job left (the log of its look-ups, its outputs) is judged on a worker thread (`node/remains.py`): it is
as much as the job likes.

Whatever is raised by what the loop calls ends the run (`_guarded`): `on_exit` is called once in any case.

Limits need no second exec: bubblewrap waits for its options on a pipe, is given its limits by prlimit and
its control group meanwhile, and hands them down.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import re
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

from node.cgroup import Group
from node.errors import SandboxError
from node.faults import noted
from node.priority import LOWEST, lower, lower_running, lower_session
from node.proof import LOG_BYTES, empty_log
from node.remains import Remains, RunFault, RunOutcome, Toolchain, judge
from node.sandbox import Limits, Mode, Sandbox
from node.trees import Tree
from node.watch import Watch
from node.wiping import wipe, wipe_later
from zcc.job import Job, Terminal, Usage
from zcc.messages import Fault
from zcc.terminal import open_terminal

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
# Descriptors as bubblewrap sees them, beside 0, 1 and 2.
_OPTIONS_FD, _SECCOMP_FD, _INFO_FD = 3, 4, 5
_MAX_INFO_BYTES = 4096
_CHILD_PID = re.compile(rb'"child-pid": *(\d+)\s*,')
# bubblewrap's exit status for a command that a signal ended, as a shell's. A compiler that exits with
# such a status by itself is taken for killed; either way it failed.
_SIGNALLED = 128


class Runner:
    """Starts jobs. One for each process: it makes the process a subreaper."""

    def __init__(
        self, sandbox: Sandbox, loop: asyncio.AbstractEventLoop, workers: Executor | None = None
    ) -> None:
        self.sandbox = sandbox
        self.loop = loop
        self.workers = workers
        # Its own: a job that is watched late takes more than it may, and the workers may be long at others'
        # outputs.
        self.watchers = ThreadPoolExecutor(1, "watch")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise SandboxError(f"prctl: {os.strerror(ctypes.get_errno())}")

    def start(
        self,
        job: Job,
        toolchain: Toolchain,
        tree: Tree,
        *,
        scratch: bytes,
        limits: Limits,
        on_exit: Callable[[RunOutcome | RunFault], None],
    ) -> Run:
        """Start the job's command over this tree, which must have been fitted to its manifest.

        `scratch` is a path that does not exist, absolute, outside toolchain and tree; it is gone when
        `on_exit` is called, which happens exactly once, from the loop, also after `Run.stop`.

        Raises:
            OSError: the process could not be started; `on_exit` is not called.
        """
        run = Run(self, job, toolchain, scratch=scratch, limits=limits, on_exit=on_exit)
        try:
            run._start(tree.root)
        except OSError:
            run._abandon()
            wipe(scratch)
            raise
        return run


class Run:
    """One job under way."""

    def __init__(
        self,
        runner: Runner,
        job: Job,
        toolchain: Toolchain,
        *,
        scratch: bytes,
        limits: Limits,
        on_exit: Callable[[RunOutcome | RunFault], None],
    ) -> None:
        self._sandbox = runner.sandbox
        self._loop = runner.loop
        self._workers = runner.workers
        self._watchers = runner.watchers
        self._job = job
        self._toolchain = toolchain
        self._scratch = scratch
        self._tree_root = b""
        self._limits = limits
        self._on_exit = on_exit
        self._pid = 0  # bubblewrap
        self._init_pid = 0  # the namespace's first process, once known
        self._status = 0
        self._cpu_s = 0.0
        self._started_at = 0.0
        self._fault: RunFault | None = None
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._group: Group | None = None
        self._watch = Watch(limits, scratch)
        self._nice = limits.nice
        self._is_session_lowered = not self._nice
        self._info: int = -1
        self._told = b""
        self._handles: list[int] = []
        self._readers: dict[int, bytearray] = {}
        self._stdout = bytearray()
        self._stderr = bytearray()

    def stop(self, fault: Fault = Fault.STOPPING, detail: str = "stopped") -> None:
        """Kill every process of the job; `on_exit` follows with this fault."""
        if self._fault is None:
            self._fault = RunFault(fault, detail)
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
        if self._nice >= LOWEST or not self._pid:
            return
        self._nice, self._is_session_lowered = LOWEST, False
        if self._init_pid:
            lower_running(self._init_pid)
        else:
            lower(self._pid, LOWEST)

    def _abandon(self) -> None:
        """Undo a start that failed half way."""
        if self._timer is not None:
            self._timer.cancel()
        self._close()
        if self._pid:
            # It had no options yet, so it has no children.
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        if self._group is not None:
            _remove(self._group, self._loop, _REMOVE_TRIES)

    # ---- starting ----------------------------------------------------------------------------------

    def _start(self, tree_root: bytes) -> None:
        self._tree_root = tree_root
        self._prepare_scratch()
        self._prepare_group()
        terminal = self._job.terminal
        # The sandbox's own: root's job could change the modes of the machine's through the descriptor.
        stdin = self._opened(os.open(self._sandbox.null, os.O_RDONLY | os.O_CLOEXEC))
        stdout = self._pipe(self._stdout)
        stderr = self._pipe(self._stderr) if terminal is None else self._terminal(terminal)
        self._info, info = (self._opened(handle) for handle in os.pipe())
        options, options_in = (self._opened(handle) for handle in os.pipe())
        os.set_blocking(self._info, False)
        places = [(stdin if terminal is None else stderr, 0), (stdout, 1), (stderr, 2)]
        places += [(options, _OPTIONS_FD), (info, _INFO_FD)]
        command = [os.fsencode(self._sandbox.bubblewrap), b"--args", b"%d" % _OPTIONS_FD]
        fixed = [b"--info-fd", b"%d" % _INFO_FD]
        if self._sandbox.mode is Mode.FULL:
            places.append((self._opened(os.open(self._sandbox.seccomp, os.O_RDONLY)), _SECCOMP_FD))
            fixed += [b"--seccomp", b"%d" % _SECCOMP_FD]
        command += [b"--", self._job.executable, *self._job.argv[1:]]
        self._spawn(command, places)
        for handle in (stdin, stdout, stderr, options, info, *(place[0] for place in places)):
            self._shut(handle)
        self._limit()
        self._tell(options_in, fixed + self._options(tree_root))

    def _prepare_scratch(self) -> None:
        for name in (b"", b"/upper", b"/work"):
            os.mkdir(self._scratch + name, 0o755)
        with open(self._scratch + b"/log", "wb") as log:
            log.write(empty_log())
            log.truncate(LOG_BYTES)

    def _prepare_group(self) -> None:
        if self._sandbox.cgroups is None or self._sandbox.mode is Mode.NONE:
            return
        self._group = self._sandbox.cgroups.make(self._limits.memory_bytes, self._limits.tasks)
        self._watch = Watch(self._limits, self._scratch, self._group)

    def _options(self, tree_root: bytes) -> list[bytes]:
        return self._sandbox.options(
            self._job, self._toolchain.root, tree_root, self._scratch, self._limits.tmp_bytes
        )

    def _spawn(self, command: list[bytes], places: list[tuple[int, int]]) -> None:
        # Moved out of the way first: a descriptor to be placed may have a target's number.
        high = [(self._opened(fcntl.fcntl(at, fcntl.F_DUPFD_CLOEXEC, 16)), to) for at, to in places]
        actions = [(os.POSIX_SPAWN_DUP2, at, to) for at, to in high]
        self._started_at = time.monotonic()
        umask = os.umask(0)
        try:
            self._pid = os.posix_spawn(
                command[0], command, {}, file_actions=actions, setpgroup=0,
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT), setsigmask=(),
            )  # fmt: skip
        finally:
            os.umask(umask)
            for at, _ in high:
                self._shut(at)
        self._await(self._pid, self._bubblewrap_ended)
        for handle in self._readers:
            self._loop.add_reader(handle, self._guarded, self._readable, handle)
        self._loop.add_reader(self._info, self._guarded, self._learn_init)
        self._timer = self._loop.call_later(WATCH_EVERY_S, self._guarded, self._look)

    def _limit(self) -> None:
        lower(self._pid, self._nice)
        if self._sandbox.mode is Mode.NONE:
            return
        if self._group is not None:
            self._group.admit(self._pid)
        for kind, value in self._limits.of_process():
            hard = resource.getrlimit(kind)[1]
            soft = value[0] if hard == resource.RLIM_INFINITY else min(value[0], hard)
            resource.prlimit(self._pid, kind, (soft, soft))

    def _tell(self, handle: int, options: list[bytes]) -> None:
        """Give bubblewrap its options; it reads them while they are written."""
        with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(handle), "wb") as pipe:
            pipe.write(b"".join([option + b"\0" for option in options]))
        self._shut(handle)

    def _pipe(self, into: bytearray) -> int:
        out, end = (self._opened(handle) for handle in os.pipe())
        os.set_blocking(out, False)
        self._readers[out] = into
        return end

    def _terminal(self, terminal: Terminal) -> int:
        master, slave = (self._opened(handle) for handle in open_terminal(terminal))
        self._readers[master] = self._stderr
        return slave

    # ---- while it runs -----------------------------------------------------------------------------

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
            self._loop.remove_reader(handle)
            self._shut(handle)
            del self._readers[handle]
        elif self._fault is None:
            into += piece
            if len(into) > self._limits.message_bytes:
                limit = self._limits.message_bytes
                self.stop(Fault.RESOURCES, f"more than {limit} bytes of messages")
        return bool(piece)

    def _look(self) -> None:
        """Hold the job to the limits that the kernel does not keep."""
        self._learn_init()
        running_s = time.monotonic() - self._started_at
        looking = self._loop.run_in_executor(self._watchers, self._look_closely, running_s)
        looking.add_done_callback(lambda done: self._guarded(self._looked, done))

    def _look_closely(self, running_s: float) -> tuple[Fault, str] | None:
        """What the job has too much of. On the watchers' thread."""
        if self._init_pid and not self._is_session_lowered:
            self._is_session_lowered = lower_session(self._init_pid, self._nice)
        return self._watch.excess(self._init_pid, running_s)

    def _looked(self, looking: asyncio.Future[tuple[Fault, str] | None]) -> None:
        error = None if looking.cancelled() else looking.exception()
        if looking.cancelled() or not self._pid:
            return  # the node ends at once, or the job has ended and perhaps its directory is gone
        if error is not None:
            raise error
        excess = looking.result()
        if excess is not None:
            self.stop(*excess)
        else:
            self._timer = self._loop.call_later(WATCH_EVERY_S, self._guarded, self._look)

    def _learn_init(self) -> None:
        if self._init_pid or self._info < 0:
            return
        # Written piece by piece; the first field is all that is needed.
        with contextlib.suppress(BlockingIOError):
            piece = os.read(self._info, _MAX_INFO_BYTES)
            self._told += piece
            found = _CHILD_PID.search(self._told)
            if found:
                self._init_pid = int(found[1])
                self._limit_tasks()
            if found or not piece:
                self._loop.remove_reader(self._info)

    def _limit_tasks(self) -> None:
        """Have the kernel bound the tasks of the sandbox's user namespace, before the command starts.

        Only now: of a process in this machine's own namespace all of the user's processes are counted, as of
        any before Linux 5.14. It binds no job of root's; the watch binds all.
        """
        if self._sandbox.mode is Mode.NONE or self._limits.tasks is None or not _COUNTS_APART:
            return
        most = _MOST_TASKS * self._limits.tasks
        # It may be over already, and its limit may be lower.
        with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
            resource.prlimit(self._init_pid, resource.RLIMIT_NPROC, (most, most))

    # ---- the end -----------------------------------------------------------------------------------

    def _guarded(self, act: Callable[..., object], *values: object) -> None:
        """What the loop calls: whatever it raises stops the run, whose end is then reported as any other's."""
        try:
            act(*values)
        except Exception as error:  # noqa: BLE001 - logged there
            self.stop(*noted(error, "a job's run broke"))

    def _await(self, pid: int, then: Callable[[], None]) -> None:
        handle = self._opened(os.pidfd_open(pid))

        def ended() -> None:
            self._loop.remove_reader(handle)
            self._shut(handle)
            try:
                then()
            except Exception as error:  # noqa: BLE001 - logged there
                self.stop(*noted(error, "a job's end broke"))
                self._end()  # nothing else would come

        self._loop.add_reader(handle, ended)

    def _bubblewrap_ended(self) -> None:
        pid, self._pid = self._pid, 0
        _, self._status, usage = os.wait4(pid, 0)
        self._count(usage)
        self._learn_init()
        if self._timer is not None:
            self._timer.cancel()
        if self._init_pid and not self._reap_init():
            self._await(self._init_pid, self._init_ended)
        else:
            self._finish()

    def _init_ended(self) -> None:
        self._reap_init()
        self._finish()

    def _reap_init(self) -> bool:
        """Whether the namespace is dead; if bubblewrap has reaped its first process, it is no child."""
        try:
            pid, _, usage = os.wait4(self._init_pid, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid:
            self._count(usage)
        return bool(pid)

    def _count(self, usage: resource.struct_rusage) -> None:
        self._cpu_s += usage.ru_utime + usage.ru_stime
        self._watch.peak_bytes = max(self._watch.peak_bytes, usage.ru_maxrss << 10)

    def _finish(self) -> None:
        for handle in list(self._readers):
            # Every writer is dead, so what is not there now will never be.
            while self._readable(handle):
                pass
        self._end()

    def _end(self) -> None:
        """Every process is dead: judge what they left, and report it; once."""
        if self._is_over:
            return
        self._is_over = True
        wall_s = time.monotonic() - self._started_at
        try:
            self._settle_group()
            self._close()
        except Exception as error:  # noqa: BLE001 - logged there
            self.stop(*noted(error, "a job's run could not be cleared away"))
        judging = self._loop.run_in_executor(self._workers, self._seen_through, wall_s)
        judging.add_done_callback(self._report)

    def _report(self, judging: asyncio.Future[RunOutcome | RunFault]) -> None:
        if judging.cancelled():
            return  # the node ends at once
        error = judging.exception()
        if error is None:
            self._on_exit(judging.result())
        else:
            self._on_exit(RunFault(*noted(error, "what a job left could not be read")))

    def _seen_through(self, wall_s: float) -> RunOutcome | RunFault:
        """What came of the job; its scratch is gone then. On a worker."""
        is_littered = True
        try:
            outcome, is_littered = self._judge(wall_s)
        finally:
            try:
                self._clear_away(is_littered)
            except OSError as error:
                logger.warning("a job's scratch could not be removed: %s", error)
        return outcome

    def _clear_away(self, is_littered: bool) -> None:
        if not is_littered:
            wipe(self._scratch)
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
        _remove(self._group, self._loop, _REMOVE_TRIES)
        self._group = None

    def _judge(self, wall_s: float) -> tuple[RunOutcome | RunFault, bool]:
        """What came of the job, and whether its scratch may be deep or large."""
        excess = self._watch.excess_of_files() if self._fault is None else None
        if excess is not None:
            self._fault = RunFault(*excess)
        if self._fault is not None:
            return replace(self._fault, peak_bytes=self._watch.peak_bytes), True
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

    # ---- descriptors -------------------------------------------------------------------------------

    def _opened(self, handle: int) -> int:
        self._handles.append(handle)
        return handle

    def _shut(self, handle: int) -> None:
        if handle in self._handles:
            self._handles.remove(handle)
            os.close(handle)

    def _close(self) -> None:
        self._readers.clear()
        for handle in list(self._handles):
            self._loop.remove_reader(handle)
            self._shut(handle)
        self._info = -1


def _remove(group: Group, loop: asyncio.AbstractEventLoop, tries: int) -> None:
    """What is left in the end is removed when the node starts anew."""
    if not group.remove() and tries:
        loop.call_later(_REMOVE_AGAIN_S, _remove, group, loop, tries - 1)


def _exit_status(wait_status: int) -> int:
    status = os.waitstatus_to_exitcode(wait_status)
    return _SIGNALLED - status if _SIGNALLED < status <= _SIGNALLED + 64 else status
