"""What a job left when its last process was dead, and what that says of it.

The log of its look-ups, its outputs and its messages; reads the disk, and knows nothing of processes or loops.
"""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass, replace

from node.sandbox.collect import (
    Collected,
    CollectedFile,
    Written,
    collect,
    find_dumps,
    find_unlisted,
)
from node.sandbox.proof import (
    HEADER_BYTES,
    ToolchainView,
    World,
    empty_log,
    is_started,
    leads_to,
    log_end,
    read_lookups,
)
from zcc.job import MAX_UNDECLARED, Job, Lookups, Usage
from zcc.messages import Fault

# Of bubblewrap's words, in characters: it names what the job named.
_TOLD = 500


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The command ran to its end. A negative exit status is a signal's number."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    outputs: tuple[CollectedFile, ...]
    usage: Usage
    lookups: Lookups


@dataclass(frozen=True, slots=True)
class RunFault:
    """There is no verdict on the command."""

    fault: Fault
    detail: str
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class UnpackedToolchain:
    """An unpacked toolchain: its directory on the host, and what it holds."""

    root: bytes
    view: ToolchainView


@dataclass(frozen=True, slots=True)
class Remains:
    """A job that is over: how it ended, and where what it wrote lies: in `scratch`, over `tree_root`."""

    job: Job
    toolchain: UnpackedToolchain
    tree_root: bytes
    scratch: bytes
    exit_status: int
    stdout: bytes
    stderr: bytes
    usage: Usage


def judge(remains: Remains, outputs_bytes: int) -> tuple[RunOutcome | RunFault, Written | None]:
    """What came of the job, and all that it wrote, None if that is much; outputs are of at most so many bytes.

    Raises:
        NodeError: its outputs are larger.
        OSError: what it left cannot be read.
    """
    job = remains.job
    log = _read_log(remains.scratch)
    world = World(job.manifest, remains.toolchain.view)
    if not is_started(log) and remains.exit_status:
        return _never_started(remains, world), []
    upper = remains.scratch + b"/upper"
    outputs = dict.fromkeys((*job.outputs, *find_dumps(upper, job.dumps)))
    collected = collect(upper, outputs, world, outputs_bytes)
    outcome = RunOutcome(
        exit_status=remains.exit_status,
        stdout=remains.stdout,
        stderr=remains.stderr,
        outputs=collected.files,
        usage=remains.usage,
        lookups=_lookups(remains, log, collected, world),
    )
    return outcome, collected.written


def _lookups(remains: Remains, log: bytes, collected: Collected, world: World) -> Lookups:
    lookups = read_lookups(log, remains.job, remains.toolchain.view, world)
    unlisted = find_unlisted(remains.job, (remains.tree_root, remains.toolchain.root))
    if unlisted:
        unlisted.update(lookups.undeclared)
        undeclared = tuple(heapq.nsmallest(MAX_UNDECLARED, unlisted))
        lookups = replace(lookups, undeclared=undeclared)
    if collected.flaw and not lookups.flaw:
        return Lookups(lookups.misses, lookups.undeclared, collected.flaw)
    return lookups


def _read_log(scratch: bytes) -> bytes:
    # Read, not mapped: a truncated mapping would kill the reader.
    handle = os.open(scratch + b"/log", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return empty_log()
        return header + file.read(log_end(header) - HEADER_BYTES)


def _never_started(remains: Remains, world: World) -> RunFault:
    """No process was logged: bubblewrap failed, or the program could not be loaded."""
    status = remains.exit_status
    message = remains.stderr.decode(errors="replace").strip()
    detail = f"status {status}: {message[:200]} ... {message[-200:]}"
    if len(message) <= _TOLD:
        detail = f"status {status}: {message}"
    if world.covers_toolchain and not message.startswith("bwrap: Can't"):
        return RunFault(Fault.REFUSED, f"{detail}; the job covers up parts of its toolchain")
    if not message.startswith("bwrap: "):
        return RunFault(Fault.TOOLCHAIN, detail)
    # The job names what is not there, or is not what it should be; unless it is known to be there.
    is_missing = message.endswith("No such file or directory")
    if message.startswith("bwrap: execvp"):
        is_lost = is_missing and leads_to(world, remains.job.executable)
        return RunFault(Fault.TOOLCHAIN if is_lost else Fault.REFUSED, detail)
    if "chdir" in message:
        is_lost = is_missing and leads_to(world, remains.job.cwd)
        return RunFault(Fault.INPUT if is_lost else Fault.REFUSED, detail)
    return RunFault(Fault.SANDBOX, detail)
