"""What a result that comes back is worth: whether it is taken, and as what.

Owns the order of the questions that every result has to stand, and the last ones for what was remembered.
Must not know calls, tickets or sockets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cache.digest import Digest
from zcc.agent.analysis.helpers_on_path import first_hidden
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.analysis.output_places import physical
from zcc.agent.core.discrepancy import RECENT_S
from zcc.agent.launchers.wire import Request
from zcc.agent.results.assembler_listings import has_listing, temporary_directory, told_here
from zcc.agent.results.local_cache import LocalResult, Missed
from zcc.agent.results.part import names_inode, names_sandbox
from zcc.agent.results.restore import Files, contents, restored
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.signatures import may_be_newer
from zcc.compiler.neutral.renaming import DROPPED
from zcc.compiler.proof.misses import check, check_misses, first_set
from zcc.job import Manifest, Result
from zcc.reasons import Reason


@dataclass(frozen=True, slots=True)
class Taken:
    """A result that holds here, and what it places."""

    result: Result
    files: Files


@dataclass(frozen=True, slots=True)
class ProvenFailure:
    """The compile failed, and nothing speaks against its having seen the right files."""

    exit_status: int
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Unproven:
    """A result that proves nothing."""

    reason: Reason
    detail: str


def judge(
    came: Result,
    frames: Mapping[Digest, bytes],
    prepared: Prepared,
    request: Request,
    disk: Disk,
) -> Taken | ProvenFailure | Unproven:
    """What a node's or the broker's result is worth. `disk.begin` has to have been called.

    Raises:
        ProtocolError, CacheError: its outputs did not come whole.
    """
    if changed := _changed(prepared, disk):
        return changed
    result = restored(came, prepared)
    verdict = check(result.lookups, disk, request.environment)
    if sought := _sought_output(result, prepared):
        return Unproven(Reason.OUTPUT_IS_INPUT, os.fsdecode(sought))
    if result.exit_status != 0 and not verdict.saw_other_files:
        return ProvenFailure(result.exit_status, result.stderr)
    if not verdict.is_accepted:
        return Unproven(Reason.PROOF, os.fsdecode(verdict.path))
    job = prepared.job_in_place
    if hidden := first_hidden(result.lookups.misses, job, request):
        return Unproven(Reason.ENVIRONMENT, f"PATH: {os.fsdecode(hidden)}")
    produced = [output.path for output in result.outputs]
    if job.outputs[0] not in produced or not all(map(job.declares, produced)):
        return Unproven(Reason.OUTPUT_MISSING, os.fsdecode(job.outputs[0]))
    files, result = _told(contents(came, frames, prepared), result, prepared, request)
    if output := names_sandbox(files, result):
        return Unproven(Reason.TEMPORARY_NAME, output)
    if output := names_inode(files):
        return Unproven(Reason.INODE_NAME, output)
    return Taken(result, files)


def outdated(
    prepared: Prepared, result: Result | None, request: Request, disk: Disk
) -> Unproven | None:
    """What speaks by now against placing what was judged before. As for `other_inputs`."""
    return other_inputs(prepared, result, request, disk) or _moved_output(prepared)


def other_inputs(
    prepared: Prepared, result: Result | None, request: Request, disk: Disk
) -> Unproven | None:
    """What a compile would read by now that this job's does not, as far as the scan and the result, where one
    has been judged, can tell. `disk.begin` has to have been called."""
    if changed := _changed_input(prepared, disk):
        return changed
    verdict = check_misses(tuple(prepared.closure.misses.items()), disk)
    if verdict.is_accepted and result is not None:
        verdict = check(result.lookups, disk, request.environment)
    if not verdict.is_accepted:
        return Unproven(Reason.INPUTS_CHANGED, os.fsdecode(verdict.path))
    misses = () if result is None else result.lookups.misses
    if hidden := first_hidden(misses, prepared.job_in_place, request):
        return Unproven(Reason.INPUTS_CHANGED, f"PATH: {os.fsdecode(hidden)}")
    return None


def first_newer(manifest: Manifest, since_ns: int) -> bytes | None:
    """The first input or link that was touched after that moment of the wall clock; None where none was.

    Whoever has to show what the disk held at a moment, and has looked later, has nothing but this: the time
    of change can be set by nobody, and what was edited and put back shows. Where there is none, all may be
    newer.
    """
    paths = [
        *(file.path for file in manifest.every_name()),
        *(path for path, _ in manifest.symlinks),
    ]
    return next((path for path in paths if may_be_newer(path, since_ns)), None)


def _changed(prepared: Prepared, disk: Disk) -> Unproven | None:
    """What was looked at when the job was made, as it is now: a compile may have waited for hours."""
    return _changed_input(prepared, disk) or _moved_output(prepared)


def _changed_input(prepared: Prepared, disk: Disk) -> Unproven | None:
    manifest = prepared.closure.manifest
    changed = disk.first_changed(manifest.every_name(), disk.now - RECENT_S)
    if changed is None:
        turned = (path for path, target in manifest.symlinks if not _leads_to(path, target))
        changed = next(turned, None)
    return None if changed is None else Unproven(Reason.INPUTS_CHANGED, os.fsdecode(changed))


def _moved_output(prepared: Prepared) -> Unproven | None:
    moved = prepared.outputs.first_moved() if prepared.outputs is not None else None
    return None if moved is None else Unproven(Reason.OUTPUT_MOVED, os.fsdecode(moved))


def _leads_to(link: bytes, target: bytes) -> bool:
    try:
        return os.readlink(link) == target
    except OSError:
        return False


def _sought_output(result: Result, prepared: Prepared) -> bytes:
    """An output that the compiler looked for, under another name for its outputs, and did not find; empty where
    there is none. gcc and its assembler open an output before they read: under its own name it had been there.

    The key says nothing of it: the same result is right for a command with another output.
    """
    if prepared.renaming is None:
        return b""
    outputs = {path.rpartition(b"/")[2]: path for path in prepared.job_in_place.outputs}
    for at, missed in result.lookups.misses:
        for name in outputs.keys() & set(missed):
            if (physical(at) or at).rstrip(b"/") + b"/" + name == outputs[name]:
                return outputs[name]
    return b""


def as_asked(recalled: LocalResult, prepared: Prepared, request: Request) -> Taken | Missed:
    """What this machine remembers, for one who asks for it now: not where a variable is set that a plugin
    looked for in vain, or a program is on PATH that the compiler did, or the output is what it looked for."""
    misses = recalled.result.lookups.misses
    if name := first_set(misses, request.environment):
        return Missed(Reason.REFUSED, "$" + os.fsdecode(name))
    if hidden := first_hidden(misses, prepared.job_in_place, request):
        return Missed(Reason.REFUSED, os.fsdecode(hidden))
    if sought := _sought_output(recalled.result, prepared):
        return Missed(Reason.REFUSED, os.fsdecode(sought))
    files, result = _told(recalled.files, recalled.result, prepared, request)
    return Taken(result, files)


def _told(
    files: Files, result: Result, prepared: Prepared, request: Request
) -> tuple[Files, Result]:
    """With the assembler's listings as this machine's assembler would write them, and nothing for /dev/null."""
    files = [file for file in files if file[0] != DROPPED]
    if not has_listing(files, result):
        return files, result
    family = prepared.toolchain.family
    return told_here(files, result, temporary_directory(request.environment, family, request.cwd))
