"""Plugins: foreign code inside the compiler, remote as long as it does nothing that cannot be shown."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.callers import need
from tests.e2e.conftest import Farm
from tests.e2e.test_farm import CXX, ZCC, both_ways, project
from tests.e2e.test_profiles import reasons, remote

# Its arguments say what it does: read=FILE, write=FILE, ask=VARIABLE, load=LIBRARY; else it only speaks.
# `word` is in another library.
BODY = r"""
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
extern const char *word(void);
/* Opens a file past the C library, where there is a way. */
static long open_past_libc(const char *path) {
#ifdef __x86_64__
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_open), "D"(path), "S"(O_RDONLY)
                     : "rcx", "r11", "memory");
    return result;
#else
    return syscall(SYS_openat2, AT_FDCWD, path, 0, 0);
#endif
}
static void act(const char *key, const char *value) {
    char text[80] = "nothing";
    FILE *file;
    const char *found;
    if (!strcmp(key, "read")) {
        if ((file = fopen(value, "r")) && fgets(text, sizeof text, file)) fclose(file);
        fprintf(stderr, "read %s\n", text);
    } else if (!strcmp(key, "write")) {
        if ((file = fopen(value, "w"))) fputs("written\n", file), fclose(file);
    } else if (!strcmp(key, "ask")) {
        found = getenv(value);
        fprintf(stderr, "%s is %s\n", value, found ? found : "not set");
    } else if (!strcmp(key, "peek")) {
        fprintf(stderr, "peeked: %d\n", open_past_libc(value) >= 0);
    } else if (!strcmp(key, "load")) {
        fprintf(stderr, "loaded: %d\n", dlopen(value, RTLD_NOW) != NULL);
    }
}
"""
GCC_PLUGIN = (
    BODY
    + r"""
int plugin_is_GPL_compatible;
struct argument { char *key, *value; };
struct name { char *base_name; const char *full_name; int argc; struct argument *argv; };
int plugin_init(struct name *name, void *version) {
    (void)version;
    fprintf(stderr, "plugin %s says %s\n", name->base_name, word());
    for (int i = 0; i < name->argc; i++) act(name->argv[i].key, name->argv[i].value);
    return 0;
}
"""
)
# A library that clang loads needs to say nothing more: registering a pass takes LLVM's headers.
CLANG_PLUGIN = (
    BODY
    + r"""
__attribute__((constructor)) static void start(void) {
    FILE *file = fopen(DIRECTORY "/act", "r");
    char key[80], value[400];
    fprintf(stderr, "plugin says %s\n", word());
    while (file && fscanf(file, "%79s %399s", key, value) == 2) act(key, value);
    if (file) fclose(file);
}
static void none(void *builder) { (void)builder; }
struct info { unsigned version; const char *name, *release; void (*register_passes)(void *); };
struct info llvmGetPassPluginInfo(void) { struct info info = {1, "p", "1", none}; return info; }
"""
)
RPATH = "-Wl,-rpath,$ORIGIN/front:$ORIGIN/lib"


def build(directory: Path, text: str, says: str = "one") -> Path:
    """The plugin `p.so` with the library that it needs, found by its RUNPATH."""
    library = directory / "lib"
    library.mkdir(exist_ok=True)
    (directory / "word.c").write_text(f'const char *word(void) {{ return "{says}"; }}\n')
    (directory / "p.c").write_text(text)
    flags = ("-shared", "-fPIC", f'-DDIRECTORY="{directory}"')
    for command in (
        ("gcc", *flags, "word.c", "-o", "lib/libword.so"),
        ("gcc", *flags, "p.c", "-o", "p.so", "-Llib", "-lword", "-ldl", RPATH),
    ):
        subprocess.run(command, cwd=directory, check=True)
    for name in ("p.c", "word.c"):
        (directory / name).unlink()
    return directory / "p.so"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return project(tmp_path / "p")


# ---- gcc ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["-c a.c", "-g -O2 -Wall -MD -c a.c -o a.o", "-S a.c"])
@pytest.mark.parametrize("place", ["./p.so", "{top}/p.so", "../plugins/p.so"])
def test_a_plugin_of_gcc_goes_along_with_its_libraries(
    farm: Farm, top: Path, words: str, place: str
) -> None:
    need("gcc")
    directory = top if "plugins" not in place else top.parent / "plugins"
    directory.mkdir(exist_ok=True)
    build(directory, GCC_PLUGIN)
    before = remote(farm)
    plain, _ = both_ways(farm, top, "gcc", f"-fplugin={place.format(top=top)}", *words.split())
    assert b"plugin p says one" in plain.stderr
    assert remote(farm) == before + 1


def relocated_gcc(directory: Path) -> Path:
    """A gcc with a directory of plugins of its own: a driver looks beside itself for what it needs."""
    driver = Path(os.path.realpath(shutil.which("gcc") or ""))

    def own(question: str) -> tuple[Path, Path]:
        """A file of gcc's, and where that lies for the new one."""
        done = subprocess.run([driver, question], capture_output=True, text=True, check=True)
        path = Path(done.stdout.strip())
        return path, directory / path.relative_to("/")

    cc1, own_cc1 = own("-print-prog-name=cc1")  # not beside the headers, in some distributions
    include, own_include = own("-print-file-name=include")
    own_cc1.parent.mkdir(parents=True)
    own_cc1.symlink_to(cc1)
    shutil.copytree(include, own_include)
    plugins = own_include.with_name("plugin")
    plugins.mkdir()
    (directory / "usr" / "bin").mkdir()
    shutil.copy(driver, directory / "usr" / "bin" / "gcc")
    return plugins


def test_a_plugin_of_gcc_is_found_by_name(farm: Farm, top: Path) -> None:
    own = relocated_gcc(top.parent / "tools")
    build(own, GCC_PLUGIN, "own")
    gcc = str(top.parent / "tools" / "usr" / "bin" / "gcc")
    before = remote(farm)
    plain, _ = both_ways(farm, top, gcc, "-fplugin=p", "-c", "a.c")
    assert b"plugin p says own" in plain.stderr
    assert remote(farm) == before + 1


def test_specs_bring_a_plugin_along(farm: Farm, top: Path) -> None:
    """As Fedora's bring annobin: each compile of a package asks for the directory, and most for the plugin."""
    own = relocated_gcc(top.parent / "tools")
    build(own, GCC_PLUGIN, "own")
    gcc = str(top.parent / "tools" / "usr" / "bin" / "gcc")
    (top / "annobin").write_text(
        "*cc1_options:\n+ %{!fno-plt:%{!iplugindir*:%:find-plugindir()} -fplugin=p}\n"
    )
    (top / "asks").write_text("*cc1_options:\n+ %{!iplugindir*:%:find-plugindir()}\n")
    before = remote(farm)
    plain, _ = both_ways(farm, top, gcc, "-specs=./annobin", "-c", "a.c")
    assert b"plugin p says own" in plain.stderr
    plain, _ = both_ways(farm, top, gcc, "-specs=./annobin", "-fno-plt", "-c", "a.c")
    assert b"plugin p" not in plain.stderr
    both_ways(farm, top, gcc, "-specs=./asks", "-c", "a.c")
    assert remote(farm) == before + 3


def test_another_plugin_or_library_is_another_compile(remembering: Farm, top: Path) -> None:
    build(top, GCC_PLUGIN)
    command = ("gcc", "-fplugin=./p.so", "-c", "a.c")
    before = remembering.stats()["outcomes"]
    for says in ("one", "one", "two"):
        build(top, GCC_PLUGIN, says)
        plain, _ = both_ways(remembering, top, *command)
        assert f"says {says}".encode() in plain.stderr
        (top / "a.o").unlink()
    after = remembering.stats()["outcomes"]
    hits = after["local_hit"] - before["local_hit"]
    assert (hits, after["remote"] - before["remote"]) in ((1, 2), (0, 3))  # ld may stamp builds


def test_a_library_that_appears_in_front_is_the_one_that_is_loaded(farm: Farm, top: Path) -> None:
    """The loader's own look-ups are in no log; what it loaded is. The node's tree keeps what is gone here."""
    build(top, GCC_PLUGIN, "front")
    (top / "front").mkdir()
    front = (top / "lib" / "libword.so").read_bytes()
    build(top, GCC_PLUGIN, "one")
    before = remote(farm)
    for says in ("one", "front", "one"):
        if says == "front":
            (top / "front" / "libword.so").write_bytes(front)
        else:
            (top / "front" / "libword.so").unlink(missing_ok=True)
        plain, _ = both_ways(farm, top, "gcc", "-fplugin=./p.so", "-c", "a.c")
        assert f"says {says}".encode() in plain.stderr
        (top / "a.o").unlink()
    assert remote(farm) == before + 3


@pytest.mark.parametrize(
    ("library", "ends"),
    [
        ("libz.so.1", "remote"),
        ("libnowhere.so", "plugin"),
        ("./lib/libword.so", "remote"),
        ("./none.so", "plugin"),
    ],
)
def test_what_a_plugin_loads_itself_is_what_it_would_load_here(
    farm: Farm, top: Path, library: str, ends: str
) -> None:
    build(top, GCC_PLUGIN, library)
    argument = f"-fplugin-arg-p-load={library}"
    both_ways(farm, top, "gcc", "-fplugin=./p.so", argument, "-c", "a.c", ends=ends)


@pytest.mark.parametrize("name", ["names.txt", "{top}/names.txt"])
def test_a_file_that_an_argument_names_goes_along(farm: Farm, top: Path, name: str) -> None:
    build(top, GCC_PLUGIN)
    (top / "names.txt").write_text("content")
    before = remote(farm)
    argument = f"-fplugin-arg-p-read={name.format(top=top)}"
    plain, _ = both_ways(farm, top, "gcc", "-fplugin=./p.so", argument, "-c", "a.c")
    assert b"read content" in plain.stderr
    assert remote(farm) == before + 1


@pytest.mark.parametrize(
    ("argument", "variables"),
    [("ask=OWN_VARIABLE", {"OWN_VARIABLE": "x"}), ("write=out.txt", {}), ("peek=a.c", {})],
)
def test_what_a_plugin_does_that_no_job_declares_is_done_here(
    farm: Farm, top: Path, argument: str, variables: dict[str, str]
) -> None:
    """From the second time on without an attempt elsewhere."""
    build(top, GCC_PLUGIN)
    command = ["gcc", "-fplugin=./p.so", f"-fplugin-arg-p-{argument}", "-c", "a.c"]
    expected = subprocess.run(
        command, cwd=top, capture_output=True, check=True, env={**os.environ, **variables}
    )
    before, proofs = reasons(farm, "plugin"), farm.stats()["proof_failures"]
    for _ in range(2):
        found = farm.run(ZCC, *command, cwd=top, strict=False, **variables)
        assert (found.returncode, found.stderr) == (0, expected.stderr)
    assert reasons(farm, "plugin") == before + 2
    assert farm.stats()["proof_failures"] == proofs


def test_a_variable_that_is_set_nowhere_is_no_hindrance(farm: Farm, top: Path) -> None:
    build(top, GCC_PLUGIN)
    before = remote(farm)
    argument = "-fplugin-arg-p-ask=SET_NOWHERE"
    plain, _ = both_ways(farm, top, "gcc", "-fplugin=./p.so", argument, "-c", "a.c")
    assert b"SET_NOWHERE is not set" in plain.stderr
    assert remote(farm) == before + 1


def test_a_remembered_result_is_not_for_whom_the_variable_is_set(
    remembering: Farm, top: Path
) -> None:
    build(top, GCC_PLUGIN)
    words = ("gcc", "-fplugin=./p.so", "-fplugin-arg-p-ask=LATER", "-c", "a.c")
    for _ in range(2):
        both_ways(remembering, top, *words)
        (top / "a.o").unlink()
    before = remembering.stats()["outcomes"]["local_hit"]
    found = remembering.run(ZCC, *words, cwd=top, strict=False, LATER="1")
    assert b"LATER is 1" in found.stderr
    assert remembering.stats()["outcomes"]["local_hit"] == before


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        (GCC_PLUGIN, {"LD_LIBRARY_PATH": "/nowhere"}),
        (GCC_PLUGIN + "extern char **environ; char **all(void) { return environ; }\n", {}),
    ],
)
def test_plugins_that_cannot_be_watched_stay_here(
    farm: Farm, top: Path, text: str, variables: dict[str, str]
) -> None:
    build(top, text)
    command = ("gcc", "-fplugin=./p.so", "-c", "a.c")
    before = reasons(farm, "plugin")
    both_ways(farm, top, *command, ends="plugin", **variables)
    assert reasons(farm, "plugin") == before + 1


def test_a_plugin_that_is_not_there_is_the_compilers_error(
    farm: Farm, top: Path, family: str
) -> None:
    both_ways(farm, top, family, "-fplugin=./none.so", "-c", "a.c", ends="plugin")
    (top / "text.so").write_text("no library\n")
    both_ways(farm, top, family, "-fplugin=./text.so", "-c", "a.c", ends="plugin")


# ---- clang ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["-fplugin=./p.so", "-Xclang -load -Xclang {top}/p.so", "-fpass-plugin=./p.so -O2"]
)
@pytest.mark.parametrize("is_cxx", [False, True])
def test_a_plugin_of_clang_goes_along_with_its_libraries(
    farm: Farm, top: Path, words: str, is_cxx: bool
) -> None:
    need("clang")
    build(top, CLANG_PLUGIN)
    compiler, source = (CXX["clang"], "b.cc") if is_cxx else ("clang", "a.c")
    before = remote(farm)
    plain, _ = both_ways(farm, top, compiler, *words.format(top=top).split(), "-c", source)
    assert b"plugin says one" in plain.stderr
    assert remote(farm) == before + 1


@pytest.mark.parametrize(
    ("act", "variables"),
    [
        ("ask OWN_VARIABLE", {"OWN_VARIABLE": "x"}),
        ("write {top}/out.txt", {}),
        ("read {top}/list", {}),
        ("peek {top}/list", {}),
    ],
)
def test_what_a_plugin_of_clang_does_unseen_is_done_here(
    farm: Farm, top: Path, act: str, variables: dict[str, str]
) -> None:
    need("clang")
    build(top, CLANG_PLUGIN)
    (top / "list").write_text("content")
    (top / "act").write_text(act.format(top=top))
    command = ("clang", "-fplugin=./p.so", "-c", "a.c")
    before = reasons(farm, "plugin")
    found = farm.run(ZCC, *command, cwd=top, strict=False, **variables)
    assert found.returncode == 0
    assert b"nothing" not in found.stderr
    assert b"not set" not in found.stderr
    assert reasons(farm, "plugin") == before + 1


def test_a_plugin_that_acts_in_place_of_the_compiler_stays_here(farm: Farm, top: Path) -> None:
    need("clang")
    words = ("-Xclang", "-plugin", "-Xclang", "none", "-c", "a.c")
    before = reasons(farm, "plugin")
    both_ways(farm, top, "clang", *words, ends="plugin")
    assert reasons(farm, "plugin") == before + 1
