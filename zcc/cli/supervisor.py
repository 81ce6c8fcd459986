"""Work that nothing survives: `zcc up` and `zcc publish` run it in a second process, the supervisor.

    front        what the user started and may signal or kill; waits
      supervisor   in a process group of its own, so that no Ctrl-C, hang-up or kill of the group reaches it
        broker, nodes, agent, the command (in the front's group, where the terminal is)

The supervisor hears of the front's death from the kernel (PR_SET_PDEATHSIG), whatever the front died of.
Front and supervisor are both subreapers: what loses its parent below them becomes their child, and cannot
get lost by a double fork or a session of its own. So whichever of the two remains ends all the rest, and
removes the directory.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType

from cache.errors import CacheError
from zcc.errors import ZccError, told

# What is asked to end has so long for it.
GRACE_S = 3.0
# What is killed and does not go is another user's, or waits for a disk.
_KILL_TIMEOUT_S = 10.0
_LOOK_EVERY_S = 0.02
_SI_KERNEL = 0x80  # a signal's si_code: the terminal sent it
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Prctl(IntEnum):
    """Numbers of prctl(2)."""

    SET_PDEATHSIG = 1
    SET_CHILD_SUBREAPER = 36


class Ended(BaseException):
    """The work is to end now: its front was told to, or has died. No error, so nothing catches it by chance."""


@dataclass(frozen=True, slots=True)
class Work:
    """What runs under a supervisor.

    `run` gets the process group of the front and returns an exit status. `directory_prefix` is what the
    names of its temporary directories begin with (`make_directory`); empty: it has none. With `ends_all`
    nothing survives a work that has come to its own end either; else only one that was ended. What `spares`
    says yes to is left alone. Python's threads do not survive the fork: whoever calls has only one.
    """

    run: Callable[[int], int]
    has_terminal: bool
    directory_prefix: str = ""
    ends_all: bool = True
    spares: Callable[[int], bool] = lambda pid: False


def supervise(work: Work) -> int:
    """Run the work under a supervisor; its exit status. Ends by the signal that ended the work, if one did."""
    watched: set[signal.Signals] = {signal.SIGCHLD}
    watched |= {each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN}
    mask = {signal.Signals(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, watched)}
    _prctl(_Prctl.SET_CHILD_SUBREAPER, 1)
    sys.stdout.flush()
    sys.stderr.flush()
    front = os.getpid()
    supervisor = os.fork()
    if supervisor == 0:
        status = 1
        try:
            status = _supervise(work, front, mask)
        except Ended:  # it came between two lines of the end
            end_descendants(work.spares)
        finally:
            os._exit(status)
    status, ended_by = _wait_for(supervisor, watched, work.has_terminal)
    if os.WIFSIGNALED(status):  # it cleans up unless it was killed
        end_descendants(work.spares)
        _remove_directories(work.directory_prefix, supervisor)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if ended_by is not None:
        signal.signal(ended_by, signal.SIG_DFL)
        os.kill(front, ended_by)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def make_directory(prefix: str) -> str:
    """A temporary directory that is gone when the supervisor, which this is, has ended."""
    return tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-")


@contextmanager
def not_ended() -> Iterator[set[signal.Signals]]:
    """Within, nothing ends the work: what is begun and noted there is ended or noted. Gives the signal mask
    that was, for a child."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield {signal.Signals(each) for each in mask}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def die_with_parent() -> None:
    """For a child between fork and exec: end when the parent, a supervisor, has been killed."""
    _prctl(_Prctl.SET_PDEATHSIG, signal.SIGTERM)


def join_front(group: int, mask: set[signal.Signals]) -> None:
    """The same, for the command: it has the terminal, and takes Ctrl-C, as if the front had started it."""
    os.setpgid(0, group)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number in (signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent()


def ask_to_end(pid: int) -> None:
    """Send SIGTERM to this process and all below it, and wait until they are gone or GRACE_S has passed."""
    asked = _below(pid)
    for each in asked:
        _signal(each, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while any(_is_alive(each) for each in asked) and time.monotonic() < deadline:
        _reap()
        time.sleep(_LOOK_EVERY_S)


def end_descendants(spares: Callable[[int], bool]) -> None:
    """Kill whatever is below this process, but for what is spared and what is below that."""
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while time.monotonic() < deadline:
        _reap()
        left = _below(os.getpid(), spares) - {os.getpid()}
        if not left:
            return
        for each in left:
            _signal(each, signal.SIGKILL)
        time.sleep(_LOOK_EVERY_S)


def _supervise(work: Work, front: int, mask: set[signal.Signals]) -> int:
    """The supervisor's life; its exit status."""
    group = os.getpgrp()
    was_ended = False
    status = 1
    try:
        os.setpgid(0, 0)
        _prctl(_Prctl.SET_CHILD_SUBREAPER, 1)
        _listen()
        die_with_parent()
        if os.getppid() != front:
            raise Ended
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = work.run(group)
    except Ended:
        was_ended, status = True, 128 + signal.SIGTERM
    except (ZccError, CacheError, OSError) as error:
        print(f"zcc: {told(error)}", file=sys.stderr)
    finally:
        _listen_no_more()
        if was_ended or work.ends_all:
            end_descendants(work.spares)
        _remove_directories(work.directory_prefix, os.getpid())
        sys.stdout.flush()
        sys.stderr.flush()
    return status


def _listen() -> None:
    for number in (signal.SIGTTOU, signal.SIGTTIN):  # it may say a word on the terminal
        signal.signal(number, signal.SIG_IGN)
    for number in _ENDING:
        # What nohup, or a shell in the background, has switched off stays so for the command.
        if signal.getsignal(number) is not signal.SIG_IGN or number is signal.SIGTERM:
            signal.signal(number, _on_ending)


def _listen_no_more() -> None:
    """Once is enough, and the end must come to its own end."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _on_ending(number: int, frame: FrameType | None) -> None:
    _listen_no_more()
    raise Ended


def _wait_for(
    supervisor: int, watched: set[signal.Signals], has_terminal: bool
) -> tuple[int, signal.Signals | None]:
    """The supervisor's wait status, and the signal that was to end it."""
    ended_by = None
    while True:
        pid, status = os.waitpid(supervisor, os.WNOHANG)
        if pid:
            return status, ended_by
        came = signal.sigwaitinfo(watched)
        number = signal.Signals(came.si_signo)
        if number is signal.SIGCHLD:
            continue
        if has_terminal and number in _FROM_KEYBOARD and came.si_code == _SI_KERNEL:
            continue  # the command has got it as well, and says what it means
        ended_by = number
        os.kill(supervisor, signal.SIGTERM)


def _remove_directories(prefix: str, supervisor: int) -> None:
    if not prefix:
        return
    place = tempfile.gettempdir()
    for name in os.listdir(place):
        path = os.path.join(place, name)
        if name.startswith(f"{prefix}{supervisor}-") and os.lstat(path).st_uid == os.geteuid():
            _remove(path)


def _remove(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if not os.path.lexists(path):
        return
    for directory, _, _ in os.walk(path):  # of a node's trees, some let nobody in
        for name in os.listdir(directory):
            each = os.path.join(directory, name)
            if os.path.isdir(each) and not os.path.islink(each):
                os.chmod(each, 0o700)
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        print(f"zcc: cannot remove {path}", file=sys.stderr)


def is_agent(pid: int) -> bool:
    """Whether this is a user's agent: it serves all his builds, whichever one started it."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return False
    return any(os.path.basename(word) == b"zcc-agent" for word in words[:2])


# ---- processes -----------------------------------------------------------------------------------


def _prctl(option: _Prctl, value: int) -> None:
    if _LIBC.prctl(int(option), value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option.name}: {os.strerror(number)}")


def _parents() -> dict[int, int]:
    """Of each process that this one sees, the parent."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # pid (name) state parent: the name may hold anything.
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue
    return parents


def _below(pid: int, spares: Callable[[int], bool] = lambda pid: False) -> set[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents().items():
        children.setdefault(parent, []).append(child)
    found: set[int] = set()
    to_see = [pid]
    while to_see:
        each = to_see.pop()
        if each not in found and not spares(each):
            found.add(each)
            to_see += children.get(each, [])
    return found


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # gone by itself; or another user's, which only he can end


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
