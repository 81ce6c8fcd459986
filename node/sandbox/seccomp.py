"""The filter of system calls: what `node/sandbox/calls.py` allows, by number and some by argument. Pure.

The filter is classic BPF over `struct seccomp_data` (linux/seccomp.h): number at offset 0, architecture
at 4, arguments from 16 on, 8 bytes each. The sandbox's namespaces are the boundary, and this narrows
the kernel that foreign code can reach from inside. It also closes the ways to memory that belongs to no
process: where no cgroup counts for us, what a job uses is what its processes show.

What is not allowed fails in the way that makes programs do without: ENOSYS, as of an older kernel, for a call;
ENOTTY, EINVAL and ENOLCK, as of a file that does not know it, for a command of ioctl, fcntl or prctl.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from node.sandbox.calls import ALLOWED, ENOLCK, REFUSED

# linux/bpf_common.h: load word, keep these bits of it, jump if equal, if greater or equal, if any bit is
# set, return.
_LOAD, _MASK, _IF_EQUAL, _IF_FROM, _IF_ANY, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT, _SECOND_ARGUMENT_AT, _FOURTH_ARGUMENT_AT = (
    0,
    4,
    16,
    24,
    40,
)
# linux/seccomp.h
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _EINVAL, _ENOTTY, _ENOSYS, _EOPNOTSUPP = 1, 22, 25, 38, 95
ABSENT = _ERRNO | _ENOSYS
# MAP_TYPE without the bits that no kernel knows, and MAP_ANONYMOUS (asm-generic/mman-common.h): shared
# memory of no file keeps its pages when it is unmapped in part, and no process shows those any more.
_MAPPING_BITS, _SHARED_ANONYMOUS = 0x2F, 0x21
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (linux/sched.h)
_NEW_NAMESPACE_BITS = 0x7E020000
# asm-generic/ioctls.h: TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TCGETS2. Not what
# types into a terminal, takes it, or has the kernel load a line discipline.
_IOCTLS = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A)
# linux/fcntl.h: from F_LINUX_SPECIFIC_BASE on are leases, by which a job has others that open a file wait for
# 45 s, notices, sizes of pipes. F_DUPFD_CLOEXEC is of POSIX.
_FCNTL_LINUX, _F_DUPFD_CLOEXEC = 1024, 1030
# F_GETLK, F_SETLK, F_SETLKW (asm-generic/fcntl.h), and those of an open file description.
_LOCKS = (5, 6, 7, 36, 37, 38)
# linux/prctl.h: PDEATHSIG, DUMPABLE and NAME (set and get), CAPBSET_READ, NO_NEW_PRIVS and THP_DISABLE (set
# and get), SYSCALL_USER_DISPATCH (node/shim/calls.c), SET_VMA. Not SET_SECCOMP: what filters are compiled to is
# counted for all users together (net.core.bpf_jit_limit).
_PRCTLS = (1, 2, 3, 4, 15, 16, 23, 38, 39, 41, 42, 59, 0x53564D41)

# machine -> (AUDIT_ARCH, column of the tables)
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_BY_ARGUMENT = ("clone", "ioctl", "fcntl", "prctl", "fallocate", "mmap")


# An instruction: operation, where to go if so, if not ("": on), and its operand. A text alone names the place
# that follows.
_Line = tuple[int, str, str, int] | str


def filter_program(machine: str, unlisted: int = ABSENT) -> bytes:
    """The filter for `os.uname().machine`, as bubblewrap's --seccomp reads it.

    `unlisted` is what becomes of a call that no table names.

    Raises:
        KeyError: an architecture that is not in the table.
    """
    arch, column = _MACHINES[machine]
    answers: dict[int, str] = {}
    for name, numbers in ALLOWED.items():
        answers |= _row(numbers[column], name if name in _BY_ARGUMENT else "allow")
    for code, table in REFUSED.items():
        for numbers in table.values():
            answers |= _row(numbers[column], f"errno {code}")
    return _assembled(
        [
            (_LOAD, "", "", _ARCH_AT),
            (_IF_EQUAL, "", "kill", arch),
            (_LOAD, "", "", _NUMBER_AT),
            *_tree(_stretches(answers)),
            *_by_argument(),
            *("allow", (_RETURN, "", "", _ALLOW)),
            *("unlisted", (_RETURN, "", "", unlisted)),
            *("kill", (_RETURN, "", "", _KILL)),
            *(
                line
                for code in sorted({*REFUSED, _EINVAL, _ENOTTY})
                for line in (f"errno {code}", (_RETURN, "", "", _ERRNO | code))
            ),
        ]
    )


def _row(number: int | None, answer: str) -> dict[int, str]:
    return {} if number is None else {number: answer}


def _by_argument() -> Iterator[_Line]:
    """The calls that are allowed with some arguments only, each at its name."""
    yield from ("clone", (_LOAD, "", "", _FIRST_ARGUMENT_AT))
    yield (_IF_ANY, f"errno {_EPERM}", "allow", _NEW_NAMESPACE_BITS)
    yield from ("ioctl", (_LOAD, "", "", _SECOND_ARGUMENT_AT))
    yield from _one_of(_IOCTLS, f"errno {_ENOTTY}")
    yield from ("fcntl", (_LOAD, "", "", _SECOND_ARGUMENT_AT))
    for command in _LOCKS:
        yield (_IF_EQUAL, f"errno {ENOLCK}", "", command)
    yield (_IF_EQUAL, "allow", "", _F_DUPFD_CLOEXEC)
    yield (_IF_FROM, f"errno {_EINVAL}", "allow", _FCNTL_LINUX)
    yield from ("prctl", (_LOAD, "", "", _FIRST_ARGUMENT_AT))
    yield from _one_of(_PRCTLS, f"errno {_EINVAL}")
    # With a mode, it takes space that no limit on a file's size counts; linkers use none.
    yield from ("fallocate", (_LOAD, "", "", _SECOND_ARGUMENT_AT))
    yield (_IF_EQUAL, "allow", f"errno {_EOPNOTSUPP}", 0)
    yield from ("mmap", (_LOAD, "", "", _FOURTH_ARGUMENT_AT))
    yield (_MASK, "", "", _MAPPING_BITS)
    yield (_IF_EQUAL, f"errno {_EPERM}", "allow", _SHARED_ANONYMOUS)


def _one_of(allowed: Iterable[int], otherwise: str) -> Iterator[_Line]:
    for value in allowed:
        yield (_IF_EQUAL, "allow", "", value)
    yield (_IF_ANY, otherwise, otherwise, 0)


def _stretches(answers: Mapping[int, str]) -> list[tuple[int, str]]:
    """Where numbers begin that have another answer than those before, and which: x32's are among the last."""
    found: list[tuple[int, str]] = []
    for number in range(max(answers) + 2):
        answer = answers.get(number, "unlisted")
        if not found or found[-1][1] != answer:
            found.append((number, answer))
    return found


def _tree(stretches: list[tuple[int, str]]) -> Iterator[_Line]:
    """Find a number's answer by binary search.

    When the kernel takes a filter it runs it for all numbers, and so for each job; and then for calls that are
    not always allowed.
    """
    middle = len(stretches) // 2
    below, above = stretches[:middle], stretches[middle:]
    start = above[0][0]
    upper = above[0][1] if len(above) == 1 else f"from {start}"
    yield (_IF_FROM, upper, below[0][1] if len(below) == 1 else "", start)
    if len(below) > 1:
        yield from _tree(below)
    if len(above) > 1:
        yield upper
        yield from _tree(above)


def _assembled(code: Iterable[_Line]) -> bytes:
    places: dict[str, int] = {}
    lines: list[tuple[int, str, str, int]] = []
    for line in code:
        if isinstance(line, str):
            places[line] = len(lines)
        else:
            lines.append(line)
    packed = []
    for at, (operation, if_true, if_false, value) in enumerate(lines):
        jumps = [places[label] - at - 1 if label else 0 for label in (if_true, if_false)]
        packed.append(struct.pack("=HBBI", operation, *jumps, value))
    return b"".join(packed)
