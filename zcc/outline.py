"""What scheduling needs of a job, without spelling out its files. Pure.

`outline` reads the canonical bytes of an ordinary job in a quarter of the time that `decode_job` takes: a
directory's names are judged by one match of an expression, and no object is made of a file. It judges by the
same bounds and answers only where `decode_job` would take the bytes (tests/property/test_outline.py); of all
else it says nothing, and `decode_job` says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cache.digest import DIGEST_SIZE, Digest
from zcc.bounds import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES, is_path
from zcc.errors import JobError
from zcc.job import (
    JOB_FORMAT,
    MAX_DIRECTORIES,
    MAX_INPUTS,
    MAX_JOB_BYTES,
    MAX_PATHS_BYTES,
    MAX_TWIN,
    Job,
    encode_document,
    job_from,
    unpack_job,
    why_no_job,
    with_ancestors,
)

_NAME = rb"(?!\.{1,2}(?:/|\Z))[^/\0]{1,%d}" % MAX_NAME_BYTES
_NAMES = re.compile(rb"%s(?:/%s)*" % (_NAME, _NAME))
_FIELDS = 14
_GROUPS, _TWINS = 8, 9

# Of each directory, the names in it that are no directories.
_Names = dict[bytes, set[bytes]]


@dataclass(frozen=True, slots=True)
class Outline:
    """`inputs` are the digests of its files one after the other, nothing twice."""

    toolchain: Digest
    inputs: bytes
    machine_class: bytes
    outputs: tuple[bytes, ...]


def outline(encoded: bytes) -> Outline | None:
    """The outline of a job with these canonical bytes; None: `decode_job` has to look at them."""
    if len(encoded) > MAX_JOB_BYTES:
        return None
    try:
        return _outline(encoded)
    except (JobError, TypeError, ValueError, IndexError, KeyError, AttributeError):
        return None


def _outline(encoded: bytes) -> Outline | None:
    document = unpack_job(encoded)
    if len(document) != _FIELDS or type(document[0]) is not int or document[0] != JOB_FORMAT:
        return None
    groups, twins = document[_GROUPS], document[_TWINS]
    bare = job_from([*document[:_GROUPS], [], [], *document[_TWINS + 1 :]])
    leaves = _leaves(groups)
    if leaves is None or why_no_job(bare) or not _agree(bare, leaves):
        return None
    if type(twins) is not list or (twins and not _are_twins(twins, groups)):
        return None
    if encode_document(bare, groups, twins) != encoded:
        return None
    joined = b"".join([digests for _, _, digests in groups])
    unique = dict.fromkeys(
        [joined[at : at + DIGEST_SIZE] for at in range(0, len(joined), DIGEST_SIZE)]
    )
    return Outline(
        toolchain=bare.toolchain,
        inputs=joined if len(joined) == DIGEST_SIZE * len(unique) else b"".join(unique),
        machine_class=bare.machine_class,
        outputs=bare.outputs,
    )


def _leaves(groups: Any) -> _Names | None:
    """The names of the files; None: not each directory once, or something in them is not as it should be."""
    leaves: _Names = {}
    count = size_bytes = 0
    if type(groups) is not list:
        return None
    for directory, names, digests in groups:
        if type(directory) is not bytes or type(names) is not list or type(digests) is not bytes:
            return None
        if not names or directory in leaves or not _is_directory(directory):
            return None
        joined = b"/".join(names)  # of what is not bytes: a TypeError
        count += len(names)
        size_bytes += len(names) * len(directory) + len(joined)
        if count > MAX_INPUTS or size_bytes > MAX_PATHS_BYTES:
            return None
        if _NAMES.fullmatch(joined) is None or joined.count(b"/") != len(names) - 1:
            return None
        if len(directory) + 1 + max(map(len, names)) > MAX_PATH_BYTES:
            return None
        leaves[directory] = set(names)
        if len(leaves[directory]) != len(names) or len(digests) != DIGEST_SIZE * len(names):
            return None
    return leaves


def _is_directory(path: bytes) -> bool:
    """Whether a file may lie in this directory; `/` is empty here."""
    return not path or (path != b"/" and is_path(path) and path.count(b"/") < MAX_DEPTH)


def _agree(bare: Job, leaves: _Names) -> bool:
    """Whether the files can be in one tree with the rest of the manifest, which agrees with itself.

    Adds the symlinks to the leaves.
    """
    manifest = bare.manifest
    if manifest.hard_links:
        return False
    count = sum(map(len, leaves.values())) + len(manifest.symlinks) + len(manifest.directories)
    for path, _ in manifest.symlinks:
        directory, _, name = path.rpartition(b"/")
        names = leaves.setdefault(directory, set())
        if name in names:
            return False
        names.add(name)
    directories = with_ancestors({*leaves, *manifest.directories}, MAX_DIRECTORIES)
    if count > MAX_INPUTS or len(directories) > MAX_DIRECTORIES:
        return False
    return not _is_leaf_among(directories, leaves)


def _is_leaf_among(directories: Iterable[bytes], leaves: _Names) -> bool:
    for path in directories:
        above, _, name = path.rpartition(b"/")
        if name in leaves.get(above, ()):
            return True
    return False


def _are_twins(twins: list[Any], groups: list[Any]) -> bool:
    """Whether these are times of some of the files, in the files' order."""
    files = iter([directory + b"/" + name for directory, names, _ in groups for name in names])
    for path, twin in twins:
        if type(path) is not bytes or type(twin) is not int or not 0 < twin <= MAX_TWIN:
            return False
        if path not in files:  # which takes it, and all before it
            return False
    return True
