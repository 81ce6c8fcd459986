"""Starts bubblewrap for one job: the descriptors that it is given, its limits, its options.

Limits need no second exec: bubblewrap waits for its options on a pipe, is given its limits by prlimit and
its control group meanwhile, and hands them down.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import signal

from node.sandbox import bubblewrap
from node.sandbox.cgroup import Group
from node.sandbox.command_line import Limits, Sandbox, SandboxMode
from node.sandbox.keeper import MARK
from node.sandbox.priority import lower
from zcc.job import Job, Terminal
from zcc.terminal import open_terminal

# Descriptors as bubblewrap sees them, beside 0, 1 and 2.
_OPTIONS_FD, _SECCOMP_FD, _INFO_FD = 3, 4, 5
_STANDARD_FDS, _FIRST_FREE_FD = 2, 16
_CHILD_PID = re.compile(rb'"child-pid": *(\d+)\s*,')


def first_process_in(told: bytes) -> int:
    """The number, here, of a sandbox's first process, by what bubblewrap has said of it; 0: not yet."""
    found = _CHILD_PID.search(told)
    return int(found[1]) if found else 0


def keep_descriptors() -> None:
    """What this process was started with, beside standard input and outputs, is for no job."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > _STANDARD_FDS:
            with contextlib.suppress(OSError):  # the directory's own
                os.set_inheritable(int(name), False)


class Handles:
    """Descriptors that are open for one job."""

    def __init__(self) -> None:
        self._open: list[int] = []

    def add(self, handle: int) -> int:
        self._open.append(handle)
        return handle

    def pipe(self) -> tuple[int, int]:
        out, into = os.pipe2(os.O_CLOEXEC)
        return self.add(out), self.add(into)

    def shut(self, handle: int) -> None:
        if handle in self._open:
            self._open.remove(handle)
            os.close(handle)

    def close(self) -> None:
        for handle in list(self._open):
            self.shut(handle)


class Start:
    """One job's bubblewrap on its way: `spawn`, then `limit`, then `tell`, after which it runs."""

    def __init__(self, sandbox: Sandbox, job: Job, handles: Handles) -> None:
        self._sandbox = sandbox
        self._job = job
        self._handles = handles
        self._given: list[int] = []  # ends that are bubblewrap's alone
        self._options_in = -1
        self.info = -1
        # What the job says, by the descriptor to read it from.
        self.stdout = self.stderr = -1

    def spawn(self) -> int:
        """Start bubblewrap, which then waits for its options; its number.

        Raises:
            OSError: it cannot be started.
        """
        sandbox, job, handles = self._sandbox, self._job, self._handles
        self.stdout, stdout = handles.pipe()
        if job.terminal is None:
            self.stderr, stderr = handles.pipe()
            # The sandbox's own: root's job could change the modes of the machine's through the descriptor.
            stdin = handles.add(os.open(sandbox.null, os.O_RDONLY | os.O_CLOEXEC))
        else:
            stdin = stderr = self._terminal(job.terminal)
        self.info, info = handles.pipe()
        options, self._options_in = handles.pipe()
        places = [(stdin, 0), (stdout, 1), (stderr, 2), (options, _OPTIONS_FD), (info, _INFO_FD)]
        if sandbox.mode is SandboxMode.FULL:
            flags = os.O_RDONLY | os.O_CLOEXEC
            places.append((handles.add(os.open(sandbox.seccomp, flags)), _SECCOMP_FD))
        self._given = list(dict.fromkeys(at for at, _ in places))
        command = [os.fsencode(sandbox.bubblewrap), b"--args", b"%d" % _OPTIONS_FD]
        return self._spawn([*command, b"--", job.executable, *job.argv[1:]], places)

    def limit(self, pid: int, limits: Limits, group: Group | None) -> None:
        """
        Raises:
            OSError: it takes no limits, or its group does not take it.
        """
        lower(pid, limits.nice)
        if self._sandbox.mode is SandboxMode.NONE:
            return
        if group is not None:
            group.admit(pid)
        for kind, value in limits.of_process():
            hard = resource.getrlimit(kind)[1]
            soft = value[0] if hard == resource.RLIM_INFINITY else min(value[0], hard)
            resource.prlimit(pid, kind, (soft, soft))

    def tell(self, options: list[bytes]) -> None:
        """Give bubblewrap its options; it reads them while they are written."""
        fixed = [b"--info-fd", b"%d" % _INFO_FD]
        if self._sandbox.mode is SandboxMode.FULL:
            fixed += [b"--seccomp", b"%d" % _SECCOMP_FD]
        left = memoryview(b"\0".join([*fixed, *options, b""]))
        with contextlib.suppress(BrokenPipeError):
            while left:
                left = left[os.write(self._options_in, left) :]
        self._handles.shut(self._options_in)

    def _terminal(self, terminal: Terminal) -> int:
        master, slave = (self._handles.add(handle) for handle in open_terminal(terminal))
        self.stderr = master
        return slave

    def _spawn(self, command: list[bytes], places: list[tuple[int, int]]) -> int:
        handles = self._handles
        # Moved out of the way first: a descriptor to be placed may have a target's number.
        moved: list[tuple[int, int, int]] = []
        for at, to in places:
            if at < _FIRST_FREE_FD:
                at = handles.add(fcntl.fcntl(at, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD))
                self._given.append(at)
            moved.append((os.POSIX_SPAWN_DUP2, at, to))
        program, environment = command[0], {MARK: self._sandbox.mark}
        if bubblewrap.is_changeable(self._sandbox.bubblewrap):
            copy = handles.add(bubblewrap.open_copy(self._sandbox.bubblewrap))
            if copy < _FIRST_FREE_FD:
                copy = handles.add(fcntl.fcntl(copy, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD))
            self._given.append(copy)
            program = b"/proc/self/fd/%d" % copy
            environment |= bubblewrap.library_path(self._sandbox.bubblewrap)
        pid = os.posix_spawn(
            program, command, environment, file_actions=moved, setpgroup=0,
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT), setsigmask=(),
        )  # fmt: skip
        for handle in self._given:
            handles.shut(handle)
        return pid
