"""A job of the farm's, compiled on this machine as well, beside the user's files.

Owns the compilers that run so, and the directory that they write to. The command is the user's own, in its
place and with its environment, but for the names of its outputs: only commands of which these reach no byte
(`compiler/neutral/renaming.py`) are taken. So it touches nothing of the user's. Whichever result is first is
placed by the launcher like any other, whole and once, and the other is dropped.

A compiler that is stopped is killed with all that it started, and its slot is free when they are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from glob import escape as glob_escape
from glob import glob

from zcc.agent.analysis.outcome import Prepared
from zcc.agent.launchers.compiler_name import name_here
from zcc.agent.launchers.wire import INTO, Request
from zcc.agent.results.part import Part
from zcc.agent.results.restore import Files
from zcc.compiler.neutral.dependency_file import retargeted
from zcc.compiler.neutral.renaming import DROPPED, NEUTRAL_DEPENDENCIES, NEUTRAL_OBJECT, Renaming
from zcc.job import Job
from zcc.terminal import open_terminal

logger = logging.getLogger(__name__)

DIRECTORY_NAME = "beside"
# A name in a dependency file's rule as it is; see renaming.py.
_PLAIN = re.compile(rb"[A-Za-z0-9_./@+,=-]+")
# The launcher takes the caller's umask from it.
_MODE = 0o666
_READ_BYTES = 1 << 16
# As of a node.
_MAX_MESSAGE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Aside:
    """What a compile wrote: (path, mode, content) where it belongs, the main output last."""

    files: Files
    stdout: bytes = b""
    stderr: bytes = b""


class Unusable(Exception):
    """It failed, or its outputs are not what the user's own command would write, or could not be had.

    A failure is no verdict: it may lie in what is different about a compile aside. What the farm says counts.
    """


class Races:
    """The compiles that run beside, below `state_dir`; each is named by its call's number.

    `ended` is told of each that is not stopped: what it gave, None where that is of no use.
    """

    def __init__(self, state_dir: str, ended: Callable[[int, Aside | None], None]) -> None:
        # One agent may be in the place of another that has not gone yet, and machines may share a home.
        stem = os.path.join(state_dir, f"{DIRECTORY_NAME}.{os.uname().nodename}")
        _clear_up(stem)
        self._directory = f"{stem}.{os.getpid()}"
        self._ended = ended
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    def can_race(self, parts: list[Part]) -> bool:
        """Whether this call's compile can be done beside."""
        if len(parts) != 1 or not _PLAIN.fullmatch(os.fsencode(self._directory)):
            return False
        if parts[0].prepared.closure.doubts:
            return False  # it may look for its own output, which has another name here
        renaming = parts[0].prepared.renaming
        return renaming is not None and renaming.main != DROPPED

    def start(self, number: int, prepared: Prepared, request: Request, cwd: bytes) -> None:
        """`cwd` leads to the directory that the caller stands in."""
        task = asyncio.get_running_loop().create_task(self._race(number, prepared, request, cwd))
        self._tasks[number] = task

    def stop(self, number: int) -> None:
        """Kill it; nothing is told of it any more."""
        task = self._tasks.pop(number, None)
        if task is not None:
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
            task.cancel()

    async def close(self) -> None:
        """Kill all that runs, and return when it is gone."""
        for number in list(self._tasks):
            self.stop(number)
        await asyncio.gather(*self._stopping, return_exceptions=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _race(self, number: int, prepared: Prepared, request: Request, cwd: bytes) -> None:
        aside: Aside | None = None
        try:
            aside = await compile_aside(prepared, request, cwd, self._directory)
        except (Unusable, OSError) as error:
            logger.debug("a compile beside the farm came to nothing: %s", error)
        except Exception:  # a bug of ours must not cost more than the race
            logger.exception("compiling %r beside the farm", prepared.source)
        if self._tasks.pop(number, None) is not None:
            self._ended(number, aside)


def _clear_up(stem: str) -> None:
    """Remove what agents have left that were killed."""
    for path in glob(f"{glob_escape(stem)}.*"):
        process = path.rpartition(".")[2]
        if process.isdigit() and not os.path.exists(f"/proc/{process}"):
            shutil.rmtree(path, ignore_errors=True)


async def compile_aside(prepared: Prepared, request: Request, cwd: bytes, directory: str) -> Aside:
    """Run the job's command here, in `cwd`, with its outputs below `directory`.

    Raises:
        Unusable: as its docstring says.
        OSError: there is no room, or no such compiler.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    # What is being killed may still make a file there.
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as place:
        return await _compile_in(os.fsencode(place), prepared, request, cwd)


async def _compile_in(place: bytes, prepared: Prepared, request: Request, cwd: bytes) -> Aside:
    renaming, job = prepared.renaming, prepared.job_compared
    assert renaming is not None
    # As long as the neutral names: the rule of a dependency file is broken into lines as by these.
    names = {
        neutral: os.path.join(place, os.path.basename(neutral))
        for neutral in (NEUTRAL_OBJECT, NEUTRAL_DEPENDENCIES)
    }
    arguments = [name_here(request), *(names.get(word, word) for word in job.argv[1:])]
    # Temporary files go with the directory, however the compiler ends.
    environment = {
        **request.environment,
        b"ZCC_GUARD": b"%d" % (request.depth + 1),
        b"TMPDIR": place,
    }
    status, stdout, stderr = await _run(arguments, job, cwd, environment)
    if status != 0:
        raise Unusable(f"exit status {status}: {os.fsdecode(stderr[:200])}")
    if len(stdout) + len(stderr) > _MAX_MESSAGE_BYTES:
        raise Unusable("too many messages")
    if place in stdout or place in stderr:
        raise Unusable("a message names the output")
    return Aside(_files(names, renaming, prepared.written_into), stdout, stderr)


def _files(
    names: Mapping[bytes, bytes], renaming: Renaming, written_into: frozenset[bytes]
) -> Files:
    """What was written, under the names that it has here.

    Raises:
        Unusable, OSError: something is not there, or holds the name that it was written under.
    """
    found: list[tuple[bytes, bytes]] = []
    if renaming.dependencies is not None:
        rule = retargeted(
            _read(names[NEUTRAL_DEPENDENCIES]),
            renaming.family,
            names[NEUTRAL_OBJECT],
            renaming.target,
            lambda name: name,
        )
        if rule is None:
            raise Unusable("its dependency file has no rule that can be written anew")
        found.append((renaming.dependencies, rule))
    found.append((renaming.main, _read(names[NEUTRAL_OBJECT])))
    place = os.path.dirname(names[NEUTRAL_OBJECT])
    for path, content in found:
        if place in content:
            raise Unusable(f"{os.fsdecode(path)} holds the name that it was written under")
    return [
        (path, _MODE | (INTO if path in written_into else 0), content) for path, content in found
    ]


def _read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


async def _run(
    arguments: list[bytes], job: Job, cwd: bytes, environment: Mapping[bytes, bytes]
) -> tuple[int, bytes, bytes]:
    """Exit status, standard output and standard error; a run that is cancelled leaves no process behind."""
    with contextlib.ExitStack() as handles:
        stdin, stderr, master = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE, -1
        if job.terminal is not None:
            master, slave = open_terminal(job.terminal)
            handles.callback(os.close, master)
            stdin = stderr = slave
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                executable=job.executable,
                cwd=cwd,
                env=environment,
                stdin=stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        finally:
            if master >= 0:
                os.close(slave)
        try:
            if master < 0:
                stdout, said = await process.communicate()
            else:
                said, (stdout, _) = await asyncio.gather(_drain(master), process.communicate())
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return process.returncode, stdout, said


async def _drain(master: int) -> bytes:
    """All that is written to a terminal until nobody has it open any more."""
    loop, said, done = asyncio.get_running_loop(), bytearray(), asyncio.Event()

    def take() -> None:
        try:
            piece = os.read(master, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last one has closed it
            piece = b""
        if piece:
            said.extend(piece)
        else:
            done.set()

    loop.add_reader(master, take)
    try:
        await done.wait()
    finally:
        loop.remove_reader(master)
    return bytes(said)
