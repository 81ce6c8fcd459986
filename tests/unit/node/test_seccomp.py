"""The filter of system calls: what it answers, and that real compilers need nothing that it does not list."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.sandbox.calls import ALLOWED, REFUSED
from node.sandbox.seccomp import ABSENT, filter_program
from tests.support.sandbox_toolchain import Farm, shared_toolchain


@pytest.fixture
def farm(tmp_path: object) -> Iterator[Farm]:
    farm = Farm(str(tmp_path), shared_toolchain())
    yield farm
    farm.close()


def run_filter(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would answer, by interpreting the program."""
    words = [word for value in (*arguments, *[0] * (6 - len(arguments))) for word in _halves(value)]
    memory = struct.pack("=II2I12I", number, arch, 0, 0, *words)
    code = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x20:
            value = struct.unpack_from("=I", memory, operand)[0]
        elif operation == 0x54:
            value &= operand
        elif operation == 0x06:
            return int(operand)
        else:
            taken = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}
            at += if_true if taken[operation] else if_false


def _halves(value: int) -> tuple[int, int]:
    return value & 0xFFFFFFFF, value >> 32


X86, ARM = 0xC000003E, 0xC00000B7
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x50000
EPERM, EINVAL, ENOTTY, ENOLCK, ENOSYS, EOPNOTSUPP = (
    ERRNO | code for code in (1, 22, 25, 37, 38, 95)
)
# Where the answer hangs on an argument: name -> (arguments, answer).
BY_ARGUMENT: dict[str, list[tuple[tuple[int, ...], int]]] = {
    "clone": [
        ((0x10000000,), EPERM),  # a user namespace
        ((0x003D0F00,), ALLOW),  # a thread
        ((0x4111,), ALLOW),  # vfork
    ],
    "ioctl": [
        ((0, 0x5412), ENOTTY),  # TIOCSTI
        ((0, 0x7700005412), ENOTTY),  # only 32 bits are looked at
        ((0, 0x5423), ENOTTY),  # TIOCSETD
        ((0, 0x540C), ENOTTY),  # TIOCEXCL
        ((0, 0x5401), ALLOW),  # TCGETS
        ((0, 0x5413), ALLOW),  # TIOCGWINSZ
    ],
    "fcntl": [
        ((0, 1024), EINVAL),  # F_SETLEASE
        ((0, 1026), EINVAL),  # F_NOTIFY
        ((0, 1031), EINVAL),  # F_SETPIPE_SZ
        ((0, 7), ENOLCK),  # F_SETLKW
        ((0, 37), ENOLCK),  # F_OFD_SETLK
        ((0, 4), ALLOW),  # F_SETFL
        ((0, 1030), ALLOW),  # F_DUPFD_CLOEXEC
    ],
    "prctl": [
        ((22,), EINVAL),  # PR_SET_SECCOMP
        ((62,), EINVAL),  # PR_SCHED_CORE
        ((15,), ALLOW),  # PR_SET_NAME
        ((59,), ALLOW),  # PR_SET_SYSCALL_USER_DISPATCH, of the look-up log
    ],
    "fallocate": [((0, 0), ALLOW), ((0, 1), EOPNOTSUPP)],
    "mmap": [
        ((0, 0, 3, 0x21), EPERM),  # shared memory of no file
        ((0, 0, 3, 0x8021), EPERM),  # the same, touched at once
        ((0, 0, 3, 0x22), ALLOW),  # private memory
        ((0, 0, 3, 0x01), ALLOW),  # a file's
    ],
}  # fmt: skip


@pytest.mark.parametrize(("machine", "arch", "column"), [("x86_64", X86, 0), ("aarch64", ARM, 1)])
def test_the_filter_allows_what_it_lists_and_nothing_else(
    machine: str, arch: int, column: int
) -> None:
    program = filter_program(machine)
    expected = {row[column]: ALLOW for name, row in ALLOWED.items() if name not in BY_ARGUMENT}
    for code, table in REFUSED.items():
        expected |= {row[column]: ERRNO | code for row in table.values()}
    by_argument = {ALLOWED[name][column]: cases for name, cases in BY_ARGUMENT.items()}
    for number in range(1000):
        for arguments, answer in by_argument.get(number, [((), expected.get(number, ENOSYS))]):
            assert run_filter(program, arch, number, *arguments) == answer, (number, arguments)
    assert run_filter(program, 0x40000003, 1) == KILL  # i386
    assert run_filter(program, 0x40000028, 1) == KILL  # 32-bit arm


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", X86), ("aarch64", ARM)])
@pytest.mark.parametrize("number", [463, 470, 1000, 0x3FFFFFFF, 0x40000000 + 101, 0xFFFFFFFF])
def test_a_call_that_came_later_or_is_x32s_does_not_exist(
    machine: str, arch: int, number: int
) -> None:
    assert run_filter(filter_program(machine), arch, number) == ENOSYS == ABSENT


def rows() -> dict[str, tuple[int | None, int | None]]:
    found = dict(ALLOWED)
    for table in REFUSED.values():
        found |= table
    return found


@pytest.mark.parametrize("column", [0, 1])
def test_no_call_is_listed_twice(column: int) -> None:
    assert len(rows()) == len(ALLOWED) + sum(map(len, REFUSED.values()))
    numbers = [row[column] for row in rows().values() if row[column] is not None]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("header", "column"),
    [("x86_64-linux-gnu/asm/unistd_64.h", 0), ("asm-generic/unistd.h", 1)],
)
def test_the_numbers_are_this_kernels(header: str, column: int) -> None:
    if not os.path.exists(f"/usr/include/{header}"):
        pytest.skip(f"no list of numbers here: {header} comes with linux-libc-dev")
    with open(f"/usr/include/{header}") as file:
        lines = [line.split() for line in file if line.startswith("#define __NR")]
    numbers = {words[1][5:].lstrip("_"): words[2] for words in lines if words[2:]}
    numbers = {name: number for name, number in numbers.items() if number.isdigit()}
    # asm-generic has names that differ from one word size to the other: "__NR3264_mmap".
    numbers |= {name.removeprefix("3264_"): number for name, number in numbers.items()}
    for name, row in rows().items():
        assert numbers.get(name, str(row[column])) == str(row[column]), name


# ---- what real programs call -------------------------------------------------------------------------


class Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def run_under(program: bytes, command: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a shell's command under this filter, and nothing else of a sandbox."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = Program(len(program) // 8, program)

    def narrow() -> None:
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(given), 0, 0):
            raise OSError(ctypes.get_errno(), "no filter")

    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(cwd)}
    return subprocess.run(
        ["/bin/sh", "-c", command], preexec_fn=narrow, cwd=cwd, env=environment, check=False,
        capture_output=True, timeout=120,
    )  # fmt: skip


HELLO = '#include <stdio.h>\nint main(void) { return printf("hello\\n") < 0; }\n'
THREADS = (
    "#include <thread>\n#include <vector>\n#include <iostream>\nint main() {"
    " std::vector<int> v(9); std::thread t([&] { v[0] = 1; }); t.join(); std::cout << v[0]; }\n"
)
MAKEFILE = ".PHONY: all\nall: 1.o 2.o 3.o\n%.o: hello.c\n\tgcc -c $< -o $@\n"
# First words are what has to be installed.
COMMANDS = r"""
gcc -g -O2 -c hello.c -o a.o -MMD
gcc -pipe -O2 -fprofile-generate hello.c -o a && ./a
gcc -flto=2 -O2 -fdump-tree-all hello.c -o a && ./a
gcc -x c-header -c pch.h -o pch.h.gch && gcc -include pch.h -c hello.c
g++ -std=c++17 -O1 -g -gsplit-dwarf -pthread threads.cc -o a && ./a
clang -g -O2 -c hello.c -o a.o -MMD && clang -c -flto hello.c && clang -c -no-integrated-as hello.c
clang -save-temps -ftime-trace -c hello.c
clang -x c-header pch.h -o p.pch && clang -include-pch p.pch -c hello.c
clang++ -std=c++17 -pthread threads.cc -o a && ./a
ld -r -o b.o seed.o && objcopy --only-keep-debug b.o c.o && strip -g b.o && ar rcs lib.a b.o && ranlib lib.a
gold -r -o b.o seed.o
nm seed.o && objdump -d seed.o && readelf -a seed.o && size seed.o
make -j3
perl -e 'system("cc", "-c", "hello.c") == 0 or die; print `ls`; open(F, "<", "hello.c") or die; flock(F, 1)'
python3 -I -S script.py
bash -c 'while read -r line; do echo "$line"; done < <(sort hello.c) | tee x; trap : EXIT; ulimit -c 0'
cp -p hello.c x1 && cp -a x1 x2 && install -m 755 x2 x3 && mv x3 x4 && ln -s x4 x && touch -r x1 x4 && cmp x1 x2
sort -u hello.c && sed -i s/a/b/ makefile && find . -name '*.c' | xargs -n1 -P2 wc && mktemp -p . && id -u
timeout 20 nice env true && tar cf x.tar hello.c && tar xpf x.tar && gzip -f x.tar
""".strip().split("\n")
SCRIPT = """
import shutil, subprocess, tempfile, threading
with tempfile.TemporaryDirectory() as place:
    shutil.copytree(".", place + "/copy")
thread = threading.Thread(target=print); thread.start(); thread.join()
subprocess.run(["gcc", "-c", "hello.c"], check=True, capture_output=True, timeout=60)
"""
FILES = {
    "hello.c": HELLO,
    "threads.cc": THREADS,
    "makefile": MAKEFILE,
    "script.py": SCRIPT,
    "pch.h": "#include <stdlib.h>\n",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_compilers_and_what_they_start_call_nothing_that_is_not_listed(
    command: str, tmp_path: Path
) -> None:
    """Under a filter that ends who makes a call of which no table says what becomes of it."""
    for word in (part.split()[0] for part in command.split("&&")):
        if not word.startswith("./") and shutil.which(word, path="/usr/bin:/bin") is None:
            pytest.skip(f"no {word} here")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["gcc", "-g", "-c", "hello.c", "-o", "seed.o"], cwd=tmp_path, check=True)
    done = run_under(filter_program(platform.machine(), KILL), command, tmp_path)
    assert done.returncode == 0, (done.returncode, done.stderr.decode())
    assert b"Bad system call" not in done.stderr


def test_a_call_that_is_not_listed_is_seen(tmp_path: Path) -> None:
    """Else the test before would say nothing."""
    (tmp_path / "a.c").write_text(
        "#include <sys/inotify.h>\nint main(void) { return inotify_init1(0) < 0; }"
    )
    subprocess.run(["gcc", "a.c"], cwd=tmp_path, check=True)
    done = run_under(filter_program(platform.machine(), KILL), "exec ./a.out", tmp_path)
    assert done.returncode == -signal.SIGSYS
    done = run_under(filter_program(platform.machine()), "exec ./a.out", tmp_path)
    assert done.returncode == 1


CALLS = """
import ctypes, os, errno
libc = ctypes.CDLL(None, use_errno=True)
def denied(result, code=errno.ENOSYS):
    assert result == -1, result
    assert ctypes.get_errno() == code, os.strerror(ctypes.get_errno())
denied(libc.mount(b'none', b'/usr', b'tmpfs', 0, None))
denied(libc.umount2(b'/proc', 2))
denied(libc.ptrace(16, 1, 0, 0))
denied(libc.unshare(0x10000000))
denied(libc.setns(0, 0))
denied(libc.syscall(425, 1, 0))
denied(libc.syscall(321, 0, 0, 0))
denied(libc.syscall(435, 0, 0))
denied(libc.memfd_create(b'x', 0))
denied(libc.shmget(0, 4096, 0o1600))
denied(libc.syscall(470, 0, 0))
for family in range(50):
    denied(libc.socket(family, 1, 0), errno.EAFNOSUPPORT)
denied(libc.mmap(None, 4096, 3, 0x21, -1, 0), errno.EPERM)
denied(libc.chroot(b'/usr'))
denied(libc.ioctl(0, 0x5412, b'x'), errno.ENOTTY)
assert os.fork() or os._exit(0) is None
import threading
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are of x86-64")
def test_denied_calls_fail_and_threads_work(farm: Farm, tmp_path: object) -> None:
    farm.succeed(farm.python(CALLS, os.fsencode(str(tmp_path))))
