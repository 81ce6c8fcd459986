"""The constants that the shim types in, held against the headers of each libc and architecture that is here.

The shim includes no header, so that one build serves every libc. A compile of assertions is the test.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from node import shim
from tests.conftest import needs

# Each of numbers.h by the name that the headers have for it.
SAME = {
    "FD_CWD": "AT_FDCWD", "O_WRONLY_": "O_WRONLY", "O_RDWR_": "O_RDWR", "O_ACCMODE_": "(O_ACCMODE & 3)",
    "O_CREAT_": "O_CREAT", "O_TRUNC_": "O_TRUNC", "O_CLOEXEC_": "O_CLOEXEC",
    "O_TMPFILE_": "(O_TMPFILE & ~O_DIRECTORY)",
    "EMPTY_PATH": "AT_EMPTY_PATH", "NO_FOLLOW": "AT_SYMLINK_NOFOLLOW",
    "NOEXEC": "ENOEXEC", "FAULT": "EFAULT", "NOENT": "ENOENT", "ACCES": "EACCES", "EXIST": "EEXIST",
    "NOTDIR": "ENOTDIR", "ISDIR": "EISDIR",
    "INVAL": "EINVAL", "NAMETOOLONG": "ENAMETOOLONG", "NOSYS": "ENOSYS",
    "SEEK_END_": "SEEK_END", "PROT_READ_WRITE": "(PROT_READ | PROT_WRITE)", "MAP_SHARED_": "MAP_SHARED",
    "SEGMENT_LOAD": "PT_LOAD", "SEGMENT_EXECUTABLE": "PF_X", "SEGMENT_DYNAMIC": "PT_DYNAMIC",
    "TAG_HASH": "DT_HASH", "TAG_STRTAB": "DT_STRTAB",
    "TAG_SYMTAB": "DT_SYMTAB", "TAG_GNU_HASH": "DT_GNU_HASH", "TAG_VERSYM": "DT_VERSYM",
    "TYPE_MASK": "ELF64_ST_TYPE(0xff)", "TYPE_FUNCTION": "STT_FUNC", "TYPE_RESOLVER": "STT_GNU_IFUNC",
    "SIGNAL_SYSTEM_CALL": "SIGSYS", "ACTION_INFO": "SA_SIGINFO", "ACTION_ON_STACK": "SA_ONSTACK",
    "ACTION_RESTART": "SA_RESTART", "SIGNALS_BLOCK": "SIG_BLOCK", "SIGNALS_UNBLOCK": "SIG_UNBLOCK",
    "SIGNAL_MASK_WORDS": "sizeof(sigset_t) / 8", "SET_DISPATCH": "PR_SET_SYSCALL_USER_DISPATCH",
    "DISPATCH_OFF": "PR_SYS_DISPATCH_OFF", "DISPATCH_ON": "PR_SYS_DISPATCH_ON",
}  # fmt: skip
# What no header has a name for: a bit, an instruction's length, the kernel's SYS_SECCOMP and SYS_USER_DISPATCH.
NAMELESS = {"VERSION_HIDDEN", "SYSCALL_BYTES", "CODE_FILTER", "CODE_DISPATCH"}
# x86-64's alone.
OLD_CALLS = {"OPEN", "STAT", "LSTAT", "ACCESS", "READLINK"}
REGISTERS = ("R8", "R9", "R10", "RDI", "RSI", "RDX", "RAX", "RIP")
# The shim's types against the headers', which cannot both be included: sizes and offsets, as each says them.
LAYOUTS = {
    "Segment": ("Elf64_Phdr", {"vaddr": "p_vaddr", "memsz": "p_memsz", "flags": "p_flags"}),
    "Library": (
        "struct dl_phdr_info",
        {"base": "dlpi_addr", "name": "dlpi_name", "segments": "dlpi_phdr", "count": "dlpi_phnum"},
    ),
    "SignalInfo": ("siginfo_t", {"at": "si_call_addr", "number": "si_syscall", "architecture": "si_arch"}),
    "SignalAction": (
        "struct sigaction", {"handler": "sa_sigaction", "mask": "sa_mask", "flags": "sa_flags"},
    ),
    "SignalContext": ("ucontext_t", {"registers": "uc_mcontext.gregs"}),
}  # fmt: skip
HEADERS = ("elf.h", "errno.h", "fcntl.h", "link.h", "signal.h", "stddef.h", "stdio.h", "sys/mman.h",
           "linux/audit.h", "linux/prctl.h", "sys/stat.h", "sys/syscall.h", "ucontext.h")  # fmt: skip
COMPILERS = ["gcc", "clang", "musl-gcc", "aarch64-linux-gnu-gcc"]


def place() -> str:
    return os.path.dirname(shim.__file__)


def calls() -> set[str]:
    text = Path(place(), "numbers.h").read_text()
    return set(re.findall(r"\bCALL_(\w+) =", text))


def compile_only(compiler: str, directory: Path, lines: list[str]) -> None:
    needs(compiler)
    (directory / "numbers.c").write_text("\n".join(lines) + "\n")
    # The kernel's own headers are no part of musl's.
    places = ("/usr/include", f"/usr/include/{os.uname().machine}-linux-gnu")
    kernel = [word for path in places for word in ("-idirafter", path)]
    done = subprocess.run(
        [compiler, "-fsyntax-only", "-w", *(kernel if "musl" in compiler else []), "numbers.c"],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_number_is_the_headers_own(tmp_path: Path, compiler: str) -> None:
    same = {**SAME, **{f"CALL_{name}": f"SYS_{name.lower()}" for name in calls() - OLD_CALLS}}
    lines = ["#define _GNU_SOURCE", *(f"#include <{name}>" for name in HEADERS)]
    lines.append(f'#include "{place()}/numbers.h"')
    lines += [f'_Static_assert({ours} == ({theirs}), "{ours}");' for ours, theirs in same.items()]
    lines.append("#ifdef __x86_64__")
    lines += [f'_Static_assert(CALL_{each} == SYS_{each.lower()}, "{each}");' for each in OLD_CALLS]
    lines += [f'_Static_assert(REGISTER_{name} == REG_{name}, "{name}");' for name in REGISTERS]
    lines += ['_Static_assert(ARCHITECTURE_X86_64 == AUDIT_ARCH_X86_64, "architecture");', "#endif"]
    compile_only(compiler, tmp_path, lines)


def test_no_number_is_left_out() -> None:
    text = Path(place(), "numbers.h").read_text()
    names = set(re.findall(r"\b([A-Z][A-Z_]+) =", text))
    numbers = {name for name in names if not name.startswith(("CALL_", "REGISTER_"))}
    assert numbers - NAMELESS == {name for key in SAME for name in re.findall(r"[A-Z][A-Z_]+", key)}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_type_is_laid_out_as_the_headers_lay_it_out(tmp_path: Path, compiler: str) -> None:
    """Each side says its sizes and offsets, as the lengths of arrays that are declared twice."""
    lines = ["#define _GNU_SOURCE", *(f"#include <{name}>" for name in HEADERS)]
    theirs, ours = [], []
    for own, (real, members) in LAYOUTS.items():
        for member, name in members.items():
            at = f"extern char at_{own}_{member}[1 + "
            theirs.append(f"{at}__builtin_offsetof({real}, {name})];")
            ours.append(f"{at}__builtin_offsetof({own}, {member})];")
    text = "".join(
        Path(place(), name).read_text() for name in ("numbers.h", "libc.h", "symbols.h", "calls.h")
    )
    types = re.findall(r"typedef struct \{.*?\} \w+;", text, flags=re.DOTALL)
    lines += [
        f"typedef unsigned {kind};" for kind in ("char u8", "short u16", "int u32", "long u64")
    ]
    lines += ["typedef long i64;", "enum { SIGNAL_MASK_WORDS = 16 };", *types]
    x86 = [line for line in (*theirs, *ours) if "Signal" in line]
    lines += [line for line in (*theirs, *ours) if line not in x86]
    compile_only(compiler, tmp_path, [*lines, "#ifdef __x86_64__", *x86, "#endif"])
