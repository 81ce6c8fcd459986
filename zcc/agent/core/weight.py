"""How many local slots a command takes: a link that starts as many compilers as it can takes them all. Pure.

gcc's LTO link runs its second half by a make of its own, a compiler a slice, each of which takes gigabytes with
a large program; clang's ThinLTO runs as many threads. Two such links at once would fill memory.

A plain link takes one slot, with lld and mold too: those have a thread for each processor, but for moments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# What stops before the link.
_NO_LINK = {b"-c", b"-S", b"-E", b"-M", b"-MM", b"-fsyntax-only"}
_ALL = {b"-flto=auto", b"-flto=jobserver", b"-flto=thin"}
_ONE_SLICE = {b"-flto-partition=none", b"-flto-partition=one"}
_COUNT = re.compile(
    rb"-flto=(\d+)|-flto-jobs=(\d+)"
    rb"|-Wl,(?:.*,)?--?(?:thinlto-jobs|threads|thread-count|lto-partitions)[=,](\d+)"
    rb"|-Wl,(?:.*,)?-?-plugin-opt[=,]jobs=(\d+)"
)


def slots_of(arguments: Sequence[bytes], environment: Mapping[bytes, bytes], limit: int) -> int:
    """Of `limit` slots, those that the command uses; `arguments` are those after the compiler."""
    if not _NO_LINK.isdisjoint(arguments):
        return 1
    taken = lto = 1
    for word in arguments:
        if not word.startswith((b"-flto", b"-fno-lto", b"-Wl,")):
            continue
        if word in _ALL:
            lto = limit
        elif word == b"-flto":
            # By itself gcc works on one slice after the other, but for a make that lends it more.
            lto = limit if b"--jobserver" in environment.get(b"MAKEFLAGS", b"") else 1
        elif word == b"-fno-lto" or word in _ONE_SLICE:
            lto = 1
        elif found := _COUNT.match(word):
            count = next(int(group) for group in found.groups() if group is not None)
            if word.startswith(b"-flto="):
                lto = count
            else:
                taken = max(taken, count)
    return max(1, min(limit, max(taken, lto)))
