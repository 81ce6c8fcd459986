"""How many processors and how much memory this process may really use: the one place that counts them.

A container or a service of 4 processors on a machine of 64 sees all 64 in its affinity; the kernel stops its
threads for the rest of each period once they have run for their quota. So the least of all these counts:

    processors   the affinity; each control group's quota / period, up to the root, rounded down; at least 1
    memory       MemTotal; each control group's limit, up to the root

Version 1 (`cpu.cfs_quota_us`, `cpu.cfs_period_us`, `memory.limit_in_bytes`) and version 2 (`cpu.max`,
`memory.max`) of control groups, also both on one machine. Files and their meaning: proc(5) and
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1 of the kernel. What cannot be read is no limit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice

_OCTAL = re.compile(r"\\([0-7]{3})")
_MEMORY_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.MULTILINE)
_INACTIVE_FILE = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.MULTILINE)
_MEMORY_TOTAL = re.compile(r"^MemTotal:\s+(\d+) kB", re.MULTILINE)
# Version 1 says "no limit" by a number near 2^63.
_NO_LIMIT_BYTES = 1 << 60


def processors(root: str = "") -> int:
    """How many compilers can run at a time; `root` stands before each path, for tests."""
    counts = [len(os.sched_getaffinity(0)), *(int(quota) for quota in _quotas(root))]
    return max(1, min(counts))


def memory_bytes(root: str = "") -> int:
    """What all processes of this machine, or of this container, may have together; 0: nobody says."""
    found = _MEMORY_TOTAL.search(_read(f"{root}/proc/meminfo"))
    limits = [int(found[1]) << 10] if found else []
    for place in _levels("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            word = _read(f"{place}/{name}").strip()
            if word.isdigit() and int(word) < _NO_LIMIT_BYTES:
                limits.append(int(word))
    return min(limits, default=0)


def memory_levels(root: str = "") -> list[str]:
    """The directories of the groups whose limits count for this process's memory, its own first."""
    return list(_levels("memory", root))


def available_bytes(levels: Iterable[str], root: str = "") -> int:
    """What processes here could have more now, without swapping; `levels` as `memory_levels` gives them."""
    found = _MEMORY_AVAILABLE.search(_read(f"{root}/proc/meminfo"))
    left = [int(found[1]) << 10] if found else []
    for place in levels:
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = (
                _read(f"{place}/{limit_name}").strip(),
                _read(f"{place}/{used_name}").strip(),
            )
            if limit.isdigit() and used.isdigit() and int(limit) < _NO_LIMIT_BYTES:
                cache = _INACTIVE_FILE.search(_read(f"{place}/memory.stat"))
                left.append(int(limit) - int(used) + (int(cache[1]) if cache else 0))
    return max(0, min(left, default=0))


def pressure_files(levels: Iterable[str], root: str = "") -> Iterator[str]:
    """Where the kernel says how processes wait for memory: the own group's, then the machine's."""
    yield from (f"{place}/memory.pressure" for place in islice(levels, 1))
    yield f"{root}/proc/pressure/memory"


def _quotas(root: str) -> Iterator[float]:
    """Processors by the quota of each group that has one."""
    for place in _levels("cpu", root):
        words = _read(f"{place}/cpu.max").split() or [
            _read(f"{place}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")
        ]
        if len(words) == 2 and all(word.isdigit() and int(word) for word in words):
            yield int(words[0]) / int(words[1])


def _levels(controller: str, root: str) -> Iterator[str]:
    """The directories of this process's groups, in both versions: its own, and each above up to the mount."""
    own = _own_groups(_read(f"{root}/proc/self/cgroup"))
    for line in _read(f"{root}/proc/self/mountinfo").splitlines():
        # proc(5): ID, parent, device, root, place, options, optional fields, "-", type, source, options
        words = line.split()
        at = words.index("-") if "-" in words else len(words)
        if at < 6 or len(words) < at + 4:
            continue
        kind, options = words[at + 1], words[at + 3].split(",")
        if kind == "cgroup2":
            path = own.get("")
        elif kind == "cgroup" and controller in options:
            path = own.get(controller)
        else:
            continue
        if path is not None:
            yield from _upwards(_plain(words[3]), root + _plain(words[4]), path)


def _upwards(mounted: str, place: str, path: str) -> Iterator[str]:
    """The directories from this group up to the mount's own, of which `mounted` is the root there.

    A group outside of what is mounted (a container that sees its host's paths) is taken for the mount's own.
    """
    top = mounted.rstrip("/")
    below = path.removeprefix(top) if f"{path}/".startswith(f"{top}/") else ""
    steps = [step for step in below.split("/") if step]
    if ".." in steps:
        steps = []
    while steps:
        yield "/".join([place, *steps])
        steps.pop()
    yield place


def _own_groups(text: str) -> dict[str, str]:
    """This process's group by controller; version 2's by an empty name."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        groups |= dict.fromkeys(names.split(","), path)
    return groups


def _plain(word: str) -> str:
    """A path as /proc/self/mountinfo writes it: blanks and the like in octal."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), word)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
