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
    "(O_TMPFILE_ | O_DIRECTORY_)": "O_TMPFILE", "O_DIRECTORY_": "O_DIRECTORY",
    "NOENT": "ENOENT", "ACCES": "EACCES", "EXIST": "EEXIST", "NOTDIR": "ENOTDIR", "ISDIR": "EISDIR",
    "INVAL": "EINVAL", "NOSYS": "ENOSYS",
    "SEEK_END_": "SEEK_END", "PROT_READ_WRITE": "(PROT_READ | PROT_WRITE)", "MAP_SHARED_": "MAP_SHARED",
    "SEGMENT_DYNAMIC": "PT_DYNAMIC", "TAG_HASH": "DT_HASH", "TAG_STRTAB": "DT_STRTAB",
    "TAG_SYMTAB": "DT_SYMTAB", "TAG_GNU_HASH": "DT_GNU_HASH", "TAG_VERSYM": "DT_VERSYM",
    "TYPE_MASK": "ELF64_ST_TYPE(0xff)", "TYPE_FUNCTION": "STT_FUNC", "TYPE_RESOLVER": "STT_GNU_IFUNC",
}  # fmt: skip
# Bits that no header has a name for.
NAMELESS = {"VERSION_HIDDEN"}
HEADERS = ("elf.h", "errno.h", "fcntl.h", "link.h", "signal.h", "stddef.h", "stdio.h", "sys/mman.h",
           "sys/prctl.h", "sys/stat.h", "sys/syscall.h", "ucontext.h")  # fmt: skip


def place() -> str:
    return os.path.dirname(shim.__file__)


@pytest.mark.parametrize("compiler", ["gcc", "clang", "musl-gcc", "aarch64-linux-gnu-gcc"])
def test_every_number_is_the_headers_own(tmp_path: Path, compiler: str) -> None:
    needs(compiler)
    lines = ["#define _GNU_SOURCE", *(f"#include <{name}>" for name in HEADERS)]
    lines.append(f'#include "{place()}/numbers.h"')
    lines += [f'_Static_assert({ours} == ({theirs}), "{ours}");' for ours, theirs in SAME.items()]
    (tmp_path / "numbers.c").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [compiler, "-fsyntax-only", "-w", "numbers.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_no_number_is_left_out() -> None:
    text = Path(place(), "numbers.h").read_text()
    names = set(re.findall(r"\b([A-Z][A-Z_]+) =", text))
    assert names - NAMELESS == {name for key in SAME for name in re.findall(r"[A-Z][A-Z_]+", key)}
