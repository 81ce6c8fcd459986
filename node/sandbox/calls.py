"""The system calls that a job may make: what compilers, what they start, and scripts around them need. Pure.

Owns the names and numbers; `node/sandbox/seccomp.py` makes the filter. What is listed acts on the job's own
memory, processes, descriptors and files. Nothing of it is counted by the kernel for a user as a whole, since
jobs and node are one user: that leaves out epoll, inotify, timers by `timer_create`, queued signals, keys,
locked pages. New calls are left out until somebody has looked at them.

name -> (x86-64, aarch64) number; None where the architecture has no such call. From the kernel's
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

Numbers = tuple[int | None, int | None]

ALLOWED: dict[str, Numbers] = {
    # Memory of its own.
    "brk": (12, 214), "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226),
    "msync": (26, 227), "mincore": (27, 232), "madvise": (28, 233), "membarrier": (324, 283),
    "mseal": (462, 462), "map_shadow_stack": (453, 453),
    # Processes, threads, and what they wait for.
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "execve": (59, 221), "execveat": (322, 281),
    "exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260), "waitid": (247, 95),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "gettid": (186, 178),
    "set_tid_address": (218, 96), "futex": (202, 98), "set_robust_list": (273, 99),
    "get_robust_list": (274, 100), "rseq": (334, 293), "arch_prctl": (158, None), "prctl": (157, 167),
    "getpid": (39, 172), "getppid": (110, 173), "getpgrp": (111, None), "getpgid": (121, 155),
    "getsid": (124, 156), "restart_syscall": (219, 128), "sched_yield": (24, 124), "getcpu": (309, 168),
    "sched_getaffinity": (204, 123), "sched_setaffinity": (203, 122), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "sched_getattr": (315, 275), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "sched_rr_get_interval": (148, 127), "getpriority": (140, 141),
    "setpriority": (141, 140), "getrlimit": (97, 163), "setrlimit": (160, 164), "prlimit64": (302, 261),
    "getrusage": (98, 165), "times": (100, 153), "sysinfo": (99, 179), "uname": (63, 160),
    # Signals, but none that are queued by hand.
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "pause": (34, None),
    # Time, and timers of which a process has one each.
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "getitimer": (36, 102),
    "setitimer": (38, 103), "alarm": (37, None),
    # Who it is. It has no right to become anybody else.
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158), "setuid": (105, 146),
    "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147),
    "setresgid": (119, 149), "capget": (125, 90),
    # Descriptors and their bytes.
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "creat": (85, None), "close": (3, 57),
    "close_range": (436, 436), "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66),
    "pread64": (17, 67), "pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70),
    "preadv2": (327, 286), "pwritev2": (328, 287), "lseek": (8, 62), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59), "fcntl": (72, 25),
    "ioctl": (16, 29), "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "sendfile": (40, 71), "copy_file_range": (326, 285), "readahead": (187, 213), "fadvise64": (221, 223),
    "fallocate": (285, 47), "ftruncate": (77, 46), "truncate": (76, 45), "fsync": (74, 82),
    "fdatasync": (75, 83),
    # Names.
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "statfs": (137, 43), "fstatfs": (138, 44), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17),
    "chdir": (80, 49), "fchdir": (81, 50), "getdents": (78, None), "getdents64": (217, 61),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "mknod": (133, None), "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "umask": (95, 166), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "getxattr": (191, 8),
    "lgetxattr": (192, 9), "fgetxattr": (193, 10), "listxattr": (194, 11), "llistxattr": (195, 12),
    "flistxattr": (196, 13),
    "getrandom": (318, 278),
}  # fmt: skip

_EPERM, ENOLCK, _ENOSYS, _ENOTSOCK, _EOPNOTSUPP, _EAFNOSUPPORT = 1, 37, 38, 88, 95, 97
# What programs try in earnest, and do without when it fails so: answer -> calls. Others do not exist (ENOSYS).
REFUSED: dict[int, dict[str, Numbers]] = {
    # Each family is a part of the kernel for itself, and buffers of sockets are memory of no process. Neither
    # gcc nor clang opens one; who asks for names of users finds no nscd, as on most machines.
    _EAFNOSUPPORT: {"socket": (41, 198), "socketpair": (53, 199)},
    # As of a file system that keeps no locks. The devices, the toolchain and the shim lie on the host, and a
    # lock on its /dev/null is one that `make -O >/dev/null` there waits for.
    ENOLCK: {"flock": (73, 32)},
    # So a shell asks whether somebody at another machine started it.
    _ENOTSOCK: {"getpeername": (52, 205)},
    # The kernel keeps lists of access, 128 KiB for a directory, in memory that no group counts.
    _EOPNOTSUPP: {
        "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
        "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    },
    # A job stays one group and one session, by which it gives way as a whole: node/sandbox/priority.py.
    _EPERM: {"setsid": (112, 157), "setpgid": (109, 154)},
    # The flags of clone3 lie in memory that a filter cannot read; libc falls back to clone. What memfd_create
    # makes is memory of no process. Python takes poll for epoll, timeout(1) alarm for a timer.
    _ENOSYS: {
        "clone3": (435, 435), "memfd_create": (319, 279), "epoll_create1": (291, 20),
        "timer_create": (222, 107),
    },
}  # fmt: skip
