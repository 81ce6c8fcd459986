"""Every variable that the installed compilers ask for is in the table, or known to mean nothing to a compile.

The compilers are watched: a library in LD_PRELOAD notes each name that they and their helpers give to getenv.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.unit.compiler.test_option_coverage import CLANGS, GCCS
from zcc.compiler.commandline.environment import is_settled

WATCH = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
extern char **environ;
static char *value(const char *name)
{
    size_t length = strlen(name);
    for (char **each = environ; each && *each; each++)
        if (!strncmp(*each, name, length) && (*each)[length] == '=')
            return *each + length + 1;
    return 0;
}
char *getenv(const char *name)
{
    int log = open(value("ASKED_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    char line[256];
    size_t length = strlen(name);
    if (log >= 0 && length < sizeof line) {
        memcpy(line, name, length);
        line[length] = '\n';
        if (write(log, line, length + 1) < 0)
            abort();
        close(log);
    }
    return value(name);
}
char *secure_getenv(const char *name) { return getenv(name); }
"""
TARGETS = (
    *("x86_64-linux-gnu", "x86_64-apple-darwin", "arm64-apple-ios", "arm64-apple-driverkit"),
    *("x86_64-pc-windows-msvc", "x86_64-w64-mingw32", "x86_64-scei-ps4", "x86_64-sie-ps5"),
    *(
        "amdgcn-amd-amdhsa",
        "nvptx64-nvidia-cuda",
        "hexagon-unknown-elf",
        "xcore",
        "ve-unknown-linux",
    ),
    *("wasm32-wasi", "aarch64-linux-android", "riscv64-linux-gnu", "arm-none-eabi", "avr"),
    *(
        "x86_64-unknown-freebsd",
        "x86_64-unknown-fuchsia",
        "x86_64-unknown-haiku",
        "mips64-linux-gnu",
    ),
)
FORMS = (
    *(("-x", "c"), ("-x", "c++"), ("-x", "objective-c"), ("-x", "assembler-with-cpp")),
    *(("-x", "c", "-save-temps"), ("-x", "c", "-fdiagnostics-color=always", "-Wall")),
    *(("-x", "c", "-flto"), ("-x", "c", "--coverage"), ("-x", "c", "-gsplit-dwarf")),
)


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("watch")
    (directory / "watch.c").write_text(WATCH)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-fno-builtin", "-o", "watch.so", "watch.c"],
        cwd=directory,
        check=True,
    )
    return directory / "watch.so"


def asked(watch: Path, directory: Path, compiler: str, variants: list[tuple[str, ...]]) -> set[str]:
    (directory / "x").write_text("\n")
    log = directory / "asked"
    environment = {"PATH": os.environ["PATH"], "LD_PRELOAD": str(watch), "ASKED_LOG": str(log)}
    for words in variants:
        subprocess.run(
            [compiler, "-g", *words, "-c", "x", "-o", "x.o"],
            cwd=directory, env=environment, check=False, capture_output=True, timeout=60,
        )  # fmt: skip
    return set(log.read_text().split())


@pytest.mark.parametrize("compiler", [*GCCS, *CLANGS])
def test_each_variable_that_a_compiler_asks_for_is_settled(
    watch: Path, tmp_path: Path, compiler: str
) -> None:
    needs(compiler)
    variants: list[tuple[str, ...]] = list(FORMS)
    if "clang" in compiler:
        variants += [("-target", target, "-x", "c") for target in TARGETS]
        variants += [("-target", "x86_64-apple-darwin", "-x", "assembler-with-cpp")]
    names = asked(watch, tmp_path, compiler, variants)
    assert {"PATH", "CPATH"} <= names  # it was watched
    assert {name for name in names if not is_settled(os.fsencode(name), on_terminal=False)} == set()
