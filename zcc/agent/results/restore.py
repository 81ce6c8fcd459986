"""A result that was made elsewhere or under other names, as it belongs here.

Owns the way back from both translations of a job (`compiler/neutral/relocation.py`,
`compiler/neutral/renaming.py`): look-ups, messages, output paths, and the bytes of those outputs that name
files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

from cache.digest import Digest, verified
from cache.errors import BlobMissingError
from cache.frame import decompress
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.launchers.wire import INTO
from zcc.compiler.commandline.tables import Family
from zcc.compiler.neutral import relocation, renaming
from zcc.compiler.neutral.dependency_file import retargeted
from zcc.errors import JobError
from zcc.job import OutputFile, Result

# Dependency files that are remembered as told anew: some 40 KB each for C++. Telling costs 0.2 ms.
MAX_RULES = 256

# (path, mode, bytes), the main output last.
Files = list[tuple[bytes, int, bytes]]


def restored(result: Result, prepared: Prepared) -> Result:
    """The result as if the job had run in place: messages, output paths, look-ups."""
    if prepared.base:
        result = relocation.restored(result, prepared.base)
    if prepared.renaming is not None:
        result = renaming.restored(result, prepared.renaming)
    return result


def contents(result: Result, frames: Mapping[Digest, bytes], prepared: Prepared) -> Files:
    """The outputs of a result as it came, the main one last: it appears when all others are there.

    Raises:
        CacheError: a frame is not there, or its content is not what its digest names.
        JobError: a content, or a message, that cannot be brought back.
    """
    if prepared.renaming is not None and renaming.holds_neutral(result.stdout + result.stderr):
        raise JobError("a message names the output")
    if prepared.base and relocation.is_wrapped(result, prepared.job, prepared.toolchain.family):
        raise JobError("a message was wrapped for the neutral place")
    files = []
    for output in reversed(result.outputs):
        frame = frames.get(output.digest)
        if frame is None:
            raise BlobMissingError(f"no {os.fsdecode(output.path)}")
        content = verified(decompress(frame, output.size_bytes), output.digest)
        if prepared.is_moved:
            is_main = output is result.outputs[0]
            path, content = _brought_back(output, content, prepared, is_main)
        else:
            path = output.path
        into = INTO if path in prepared.written_into else 0
        files.append((path, output.mode | into, content))
    return files


def _brought_back(
    output: OutputFile, content: bytes, prepared: Prepared, is_main: bool
) -> tuple[bytes, bytes]:
    """Where the output belongs, and its bytes there."""
    base, names = prepared.base, prepared.renaming
    path = relocation.restored_path(output.path, base) if base else output.path
    moved: bytes | None = content
    if names is not None and output.path == renaming.NEUTRAL_DEPENDENCIES:
        moved = _told_anew(content, names.family, names.target, base)
    elif base:
        moved = relocation.restored_content(content, base, is_main=is_main)
    if names is not None:
        path = names.restored_path(path)
    if moved is None or (names is not None and renaming.holds_neutral(moved)):
        raise JobError(f"{os.fsdecode(path)} cannot be brought back from the neutral place")
    return path, moved


@lru_cache(MAX_RULES)
def _told_anew(rule: bytes, family: Family, target: bytes, base: bytes) -> bytes | None:
    """The dependency file for this target; as often as not it is the one that the last build had."""

    def translate(name: bytes) -> bytes:
        return relocation.restored_path(name, base) if base else name

    return retargeted(rule, family, renaming.NEUTRAL_OBJECT, target, translate)
