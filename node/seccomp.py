"""The system calls that no compiler needs, refused by a filter assembled here. Pure.

The filter is classic BPF over `struct seccomp_data` (linux/seccomp.h): number at offset 0, architecture
at 4, arguments from 16 on, 8 bytes each. The sandbox's namespaces are the boundary, and this narrows
the kernel that foreign code can reach from inside. It also closes the ways to memory that belongs to no
process: where no cgroup counts for us, what a job uses is what its processes show.

What no compiler calls fails in the way that makes programs do without: ENOSYS for what an older kernel
lacks, EAFNOSUPPORT for sockets. Numbers that came after this table was written do not exist either.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

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
_EPERM, _ENOSYS, _EOPNOTSUPP, _EAFNOSUPPORT = 1, 38, 95, 97
# mseal, of Linux 6.10: each number up to here was looked at, on both architectures the same from 424 on.
LAST_NUMBER = 462
# MAP_TYPE without the bits that no kernel knows, and MAP_ANONYMOUS (asm-generic/mman-common.h): shared
# memory of no file keeps its pages when it is unmapped in part, and no process shows those any more.
_MAPPING_BITS, _SHARED_ANONYMOUS = 0x2F, 0x21
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (linux/sched.h)
_NEW_NAMESPACE_BITS = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

# name -> (x86-64, aarch64) number; None where the architecture has no such call. From the kernel's
# arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
DENIED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_getfd": (438, 438),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "acct": (163, 89),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "vhangup": (153, 58),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262), "lookup_dcookie": (212, 18),
    "personality": (135, 92), "move_pages": (279, 239), "migrate_pages": (256, 238),
    "memfd_secret": (447, 447), "landlock_create_ruleset": (444, 444),
    # A job stays one group and one session, by which it gives way as a whole: node/priority.py.
    "setsid": (112, 157), "setpgid": (109, 154),
}  # fmt: skip
ABSENT: dict[str, tuple[int | None, int | None]] = {
    # Its flags lie in memory that a filter cannot read; libc falls back to clone.
    "clone3": (435, 435),
    # Memory of no process: up to 5 GiB went by unseen in it.
    "memfd_create": (319, 279), "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "shmdt": (67, 197), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191),
    "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181), "vmsplice": (278, 75),
    # The machine's aio-max-nr is for all its users together.
    "io_setup": (206, 0),
    "statmount": (457, 457), "listmount": (458, 458), "lsm_get_self_attr": (459, 459),
    "lsm_set_self_attr": (460, 460), "lsm_list_modules": (461, 461),
}  # fmt: skip
# Each family is a part of the kernel for itself, and buffers of sockets are memory of no process. Neither gcc
# nor clang opens one; who asks for names of users finds no nscd, as on most machines.
SOCKETS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199),
}  # fmt: skip
# machine -> (AUDIT_ARCH, column of the tables, clone, ioctl, fallocate, mmap)
_MACHINES = {
    "x86_64": (0xC000003E, 0, 56, 16, 285, 9),
    "aarch64": (0xC00000B7, 1, 220, 29, 47, 222),
}


# An instruction: operation, where to go if so, if not ("": on), and its operand. A text alone names the place
# that follows.
_Line = tuple[int, str, str, int] | str


def filter_program(machine: str) -> bytes:
    """The filter for `os.uname().machine`, as bubblewrap's --seccomp reads it.

    Raises:
        KeyError: an architecture that is not in the table.
    """
    arch, column, clone, ioctl, fallocate, mmap = _MACHINES[machine]
    answers = {clone: "clone", ioctl: "ioctl", fallocate: "fallocate", mmap: "mmap"}
    for label, table in (("absent", ABSENT), ("no family", SOCKETS), ("deny", DENIED)):
        numbers = (row[column] for row in table.values())
        answers |= {number: label for number in numbers if number is not None}
    code: list[_Line] = [
        (_LOAD, "", "", _ARCH_AT),
        (_IF_EQUAL, "", "kill", arch),
        (_LOAD, "", "", _NUMBER_AT),
        *_tree(_stretches(answers)),
        "clone",
        (_LOAD, "", "", _FIRST_ARGUMENT_AT),
        (_IF_ANY, "deny", "allow", _NEW_NAMESPACE_BITS),
        "ioctl",
        (_LOAD, "", "", _SECOND_ARGUMENT_AT),
        (_IF_EQUAL, "deny", "", _TIOCSTI),
        (_IF_EQUAL, "deny", "allow", _TIOCLINUX),
        # With a mode, it takes space that no limit on a file's size counts; linkers use none.
        "fallocate",
        (_LOAD, "", "", _SECOND_ARGUMENT_AT),
        (_IF_EQUAL, "allow", "no mode", 0),
        "mmap",
        (_LOAD, "", "", _FOURTH_ARGUMENT_AT),
        (_MASK, "", "", _MAPPING_BITS),
        (_IF_EQUAL, "deny", "allow", _SHARED_ANONYMOUS),
        *("allow", (_RETURN, "", "", _ALLOW)),
        *("deny", (_RETURN, "", "", _ERRNO | _EPERM)),
        *("absent", (_RETURN, "", "", _ERRNO | _ENOSYS)),
        *("no family", (_RETURN, "", "", _ERRNO | _EAFNOSUPPORT)),
        *("no mode", (_RETURN, "", "", _ERRNO | _EOPNOTSUPP)),
        *("kill", (_RETURN, "", "", _KILL)),
    ]
    return _assembled(code)


def _stretches(answers: Mapping[int, str]) -> list[tuple[int, str]]:
    """Where numbers begin that have another answer than those before, and which: x32's are among the last."""
    found: list[tuple[int, str]] = []
    for number in range(LAST_NUMBER + 2):
        answer = answers.get(number, "allow") if number <= LAST_NUMBER else "absent"
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
