"""The look-up log, written by real processes outside a sandbox."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from node.sandbox.command_line import DEVICES, MOUNTED_DIRECTORIES
from node.sandbox.wiping import wipe
from tests.conftest import needs
from tests.support.look_up_log import Log, make_log

PROGRAM = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
    char buffer[4096], name[] = "temp-XXXXXX";
    struct stat status;
    struct statx more;
    struct dirent **list;
    (void)argc, (void)buffer;
    STATEMENT;
    return 0;
}
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return make_log(str(tmp_path_factory.mktemp("shim")))


@pytest.fixture
def cwd(tmp_path: object) -> str:
    directory = os.path.realpath(str(tmp_path)) + "/work"
    os.mkdir(directory)
    with open(directory + "/there", "w") as file:
        file.write("x")
    os.mkdir(directory + "/dir")
    os.symlink("there", directory + "/link")
    return directory


def run_statement(log: Log, cwd: str, statement: str) -> set[str]:
    code = os.path.join(log.directory, "program.c")
    with open(code, "w") as file:
        file.write(PROGRAM.replace("STATEMENT", statement))
    program = os.path.join(log.directory, "program")
    subprocess.run(["gcc", "-w", "-O1", code, "-o", program], check=True)
    log.run(program, cwd=cwd)
    records = log.records()
    assert f"S{os.path.realpath(program)}" in records
    return records


@pytest.mark.parametrize("path", ["PATH", "CWD/PATH"])
@pytest.mark.parametrize(
    "call",
    [
        'open("P", O_RDONLY)', 'open64("P", O_RDONLY)', 'openat(AT_FDCWD, "P", O_RDONLY)',
        'openat64(AT_FDCWD, "P", O_RDONLY)', 'fopen("P", "r")', 'fopen64("P", "rb")',
        'freopen("P", "r", stdin)', 'freopen64("P", "r", stdin)', 'stat("P", &status)',
        'stat64("P", (void *)&status)', 'lstat("P", &status)', 'lstat64("P", (void *)&status)',
        'fstatat(AT_FDCWD, "P", &status, 0)', 'statx(AT_FDCWD, "P", 0, STATX_ALL, &more)',
        'access("P", R_OK)', 'eaccess("P", R_OK)', 'euidaccess("P", R_OK)',
        'faccessat(AT_FDCWD, "P", R_OK, AT_EACCESS)', 'readlink("P", buffer, 9)',
        'readlinkat(AT_FDCWD, "P", buffer, 9)', 'realpath("P", buffer)', 'realpath("P", 0)',
        'canonicalize_file_name("P")',
    ],
)  # fmt: skip
def test_every_look_up_is_logged_found_or_not(log: Log, cwd: str, call: str, path: str) -> None:
    spelled = path.replace("CWD", cwd)
    there = call.replace("P", spelled.replace("PATH", "there"), 1)
    gone = call.replace("P", spelled.replace("PATH", "gone"), 1)
    records = run_statement(log, cwd, f"{there}; {gone};")
    kind = "R" if "open" in call else "M"
    assert {each for each in records if cwd in each} >= {f"H{cwd}/there", f"{kind}{cwd}/gone"}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ('open("new", O_CREAT | O_WRONLY, 0644)', "W/new"),
        ('fopen("new", "w")', "W/new"),
        ('creat("new", 0644)', "W/new"),
        ('close(mkstemp(name)); rename(name, "new")', "W/new"),
        ('mkdir("new", 0755)', "W/new"),
        ('rename("there", "new")', "H/there"),
        ('rename("gone", "new")', "M/gone"),
        ('link("there", "new")', "W/new"),
        ('symlink("there", "new")', "W/new"),
        ('mkdirat(open("dir", O_RDONLY), "new", 0755)', "W/dir/new"),
        ('unlink("there")', "H/there"),
        ('unlink("gone")', "M/gone"),
        ('scandirat(open(".", O_RDONLY), "dir", &list, 0, alphasort)', "D/dir"),
        ('errno = ENOENT; pathconf("there", _PC_LINK_MAX)', "H/there"),
        ('opendir("dir")', "D/dir"),
        ('scandir("dir", &list, 0, alphasort)', "D/dir"),
        ('open("dir", O_RDONLY | O_DIRECTORY)', "H/dir"),
        ('fdopendir(open("dir", O_RDONLY | O_DIRECTORY))', "D/dir"),
        ('fdopendir(open("dir", O_RDONLY))', "D/dir"),
        ('getdents64(open("dir", O_RDONLY), name, 16)', "D/dir"),
        ('open("there/x", O_RDONLY)', "R/there/x"),
        ('chdir("dir"); access("x", 0)', "M/dir/x"),
        ('access("y", 0); chdir("dir"); access("x", 0)', "M/dir/x"),
        ('fchdir(open("dir", O_RDONLY)); access("x", 0)', "M/dir/x"),
        ('openat(open("dir", O_RDONLY), "x", O_RDONLY)', "R/dir/x"),
        ('openat(open("dir", O_RDONLY), "../there", O_RDONLY)', "H/dir/../there"),
        ('access("./dir//.././link", 0)', "H/./dir//.././link"),
        ('if (!fork()) { access("x", 0); _exit(0); } wait(0)', "M/x"),
        ('if (!vfork()) { chdir("dir"); _exit(0); } access("x", 0)', "M/x"),
    ],
)
def test_paths_are_absolute_and_otherwise_as_spelled(
    log: Log, cwd: str, statement: str, expected: str
) -> None:
    records = run_statement(log, cwd, statement)
    assert f"{expected[0]}{cwd}{expected[1:]}" in records


@pytest.mark.parametrize(
    "statement",
    [
        'char *a[] = {"sh", "-c", ":", 0}; execvp("sh", a)',
        'char *a[] = {"sh", "-c", ":", 0}; execv("/bin/sh", a)',
        'char *a[] = {"sh", "-c", ":", 0}; if (!vfork()) execve("/bin/sh", a, environ); wait(0)',
        'char *a[] = {"sh", "-c", ":", 0}; posix_spawn(0, "/bin/sh", 0, 0, a, environ); wait(0)',
        'char *a[] = {"sh", "-c", ":", 0}; posix_spawnp(0, "sh", 0, 0, a, environ); wait(0)',
        'execl("/bin/sh", "sh", "-c", ":", (char *)0)',
        'execlp("sh", "sh", "-c", ":", (char *)0)',
        'execle("/bin/sh", "sh", "-c", ":", (char *)0, environ)',
        'char *a[] = {"sh", "-c", ":", 0}; fexecve(open("/bin/sh", O_RDONLY), a, environ)',
        'char *a[] = {"sh", "-c", ":", 0};'
        'execveat(open("/bin", O_RDONLY | O_DIRECTORY), "sh", a, environ, 0)',
        'char *a[] = {"sh", "-c", ":", 0};'
        'execveat(open("/bin/sh", O_RDONLY), "", a, environ, AT_EMPTY_PATH)',
    ],
)
def test_an_executed_program_is_announced_and_reports(log: Log, cwd: str, statement: str) -> None:
    records = run_statement(log, cwd, statement)
    shell = os.path.realpath("/bin/sh")
    assert {f"X{shell}", f"S{shell}"} <= records


@pytest.mark.parametrize(
    "call",
    [
        'execl("./static", "static", (char *)0)', 'execlp("./static", "static", (char *)0)',
        'execle("./static", "static", (char *)0, environ)',
        'char *a[] = {"static", 0}; fexecve(open("static", O_RDONLY), a, environ)',
        'char *a[] = {"static", 0}; execveat(AT_FDCWD, "static", a, environ, 0)',
    ],
)  # fmt: skip
def test_a_static_program_is_announced_and_does_not_report(log: Log, cwd: str, call: str) -> None:
    code = os.path.join(cwd, "static.c")
    with open(code, "w") as file:
        file.write("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", code, "-o", cwd + "/static"], check=True)
    records = run_statement(log, cwd, call)
    assert f"X{cwd}/static" in records
    assert f"S{cwd}/static" not in records


def test_a_script_without_a_shell_is_run_by_libc(log: Log, cwd: str) -> None:
    with open(cwd + "/script", "w") as file:
        file.write("echo made > new\n")
    os.chmod(cwd + "/script", 0o755)
    records = run_statement(log, cwd, 'char *a[] = {"./script", 0}; execvp("./script", a)')
    assert os.path.exists(cwd + "/new")
    assert "F/execvpe" in records


def test_a_program_that_is_nowhere_is_not_executed(log: Log, cwd: str) -> None:
    statement = (
        'char *a[] = {"n", 0}; execvp("zcc-none", a); posix_spawnp(0, "zcc-none", 0, 0, a, 0)'
    )
    records = run_statement(log, cwd, statement)
    assert "M/usr/bin/zcc-none" in records
    assert not [record for record in records if record.startswith("X")]


@pytest.mark.parametrize("call", ["__xstat", "__lxstat", "__xstat64", "__lxstat64"])
def test_the_names_of_stat_before_glibc_2_33_are_seen(log: Log, cwd: str, call: str) -> None:
    code = f"import ctypes; f = ctypes.CDLL(None).{call}; b = ctypes.create_string_buffer(999)\n"
    code += "version = 1 if __import__('os').uname().machine == 'x86_64' else 0\n"
    code += "assert f(version, b'there', b) == 0; assert f(version, b'gone', b) == -1"
    log.run("/usr/bin/python3", "-S", "-E", "-c", code, cwd=cwd)
    assert {f"H{cwd}/there", f"M{cwd}/gone"} <= log.records()


def test_a_look_up_repeated_is_logged_once(log: Log, cwd: str) -> None:
    run_statement(log, cwd, 'for (int i = 0; i < 1000; i++) access("gone", 0)')
    assert log.raw().count(b"/gone\0") == 1


def test_of_the_system_only_what_programs_ask_of_themselves_is_left_out(log: Log, cwd: str) -> None:
    always = ("/dev/null", "/dev/urandom", "/proc/cpuinfo")
    asked = (
        "/proc",
        "/dev",
        "/proc/self/exe",
        "/proc/self/cwd",
        "/proc/self/fd",
        "/proc/self/fd/0",
    )
    named = (
        "/dev/full",
        "/dev/nullx",
        "/proc/version",
        "/sys",
        "/sys/class",
        "/dev/fd/0",
        "/dev/zero",
        "/dev/random",
        "/proc/self/fd/999",
    )
    below = (
        "/proc/self/cwd/there",
        "/proc/self/fd/3x",
        "/sys/devices/system/cpu",
        "/proc/sys/kernel",
    )
    paths = (*always, *asked, *named, *below)
    statement = " ".join(f'access("{path}", 0);' for path in paths)
    records = run_statement(log, cwd, statement)
    seen = {path for path in paths if records & {f"H{path}", f"M{path}"}}
    assert seen == {*named, *below}


def test_what_the_log_leaves_out_is_there_in_every_sandbox() -> None:
    """Else a source that asks for it would get another answer there than here."""
    source = (Path(__file__).parents[3] / "node" / "shim" / "log.c").read_text()
    lists = re.findall(
        r"static const char \*const (?:ours|named)\[\] = \{(.*?)\};", source, re.DOTALL
    )
    paths = [path.encode() for each in lists for path in re.findall(r'"(/[^"]*)"', each)]
    assert len(lists) == 2
    assert paths
    mounts = tuple(place + b"/" for place in MOUNTED_DIRECTORIES)
    there = {*DEVICES, *MOUNTED_DIRECTORIES, *map(os.path.dirname, DEVICES)}
    assert [path for path in paths if path not in there and not path.startswith(mounts)] == []


def test_what_a_program_asks_of_itself_it_does_not_open(log: Log, cwd: str) -> None:
    statement = " ".join(
        f'open("{path}", 0);' for path in ("/dev/null", "/proc/self/exe", "/proc/self/cwd")
    )
    records = run_statement(log, cwd, statement)
    assert {"H/proc/self/exe", "H/proc/self/cwd"} <= records
    assert "H/dev/null" not in records


def test_other_failures_carry_their_errno(log: Log, cwd: str) -> None:
    os.symlink("loop", cwd + "/loop")
    records = run_statement(log, cwd, 'open("loop", O_RDONLY)')
    assert f"E\x28{cwd}/loop" in records


def test_a_name_that_no_file_can_have_is_a_miss(log: Log, cwd: str) -> None:
    name = "x" * 256
    records = run_statement(log, cwd, f'stat("{name}", &status); open("{name}", O_RDONLY)')
    assert {f"M{cwd}/{name}", f"R{cwd}/{name}"} <= records


def test_errno_is_left_as_libc_set_it(log: Log, cwd: str) -> None:
    statement = '#include <errno.h>\nint bad = open("gone", 0) != -1 || errno != ENOENT;' + (
        'bad |= stat("there/x", &status) != -1 || errno != ENOTDIR;'
        'errno = 5; bad |= access("there", 0) || errno != 5; if (bad) return 1'
    )
    run_statement(log, cwd, statement)


def test_a_full_log_is_marked(log: Log, cwd: str) -> None:
    log.run("true", cwd=cwd)  # the log is there
    with open(log.path, "r+b") as file:
        file.truncate(4096)
    code = "import os\nfor i in range(500): os.access(f'gone-{i}', 0)"
    subprocess.run(
        ["/usr/bin/python3", "-S", "-c", code], cwd=cwd, check=True,
        env={"LD_PRELOAD": log.library},
    )  # fmt: skip
    assert log.raw()[8:16] != bytes(8)


def test_a_directory_with_too_long_a_name_is_a_flaw_at_once(log: Log) -> None:
    """libc would walk up from there for each relative path: minutes of a processor."""
    code = (
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "for _ in range(4000): os.mkdir('d'); os.chdir('d')\n"
    )
    place = tempfile.mkdtemp(prefix="zcc-deep-")
    try:
        log.run("/usr/bin/python3", "-S", "-c", code, cwd=place)
    finally:
        wipe(os.fsencode(place))
    assert log.raw()[8:16] != bytes(8)


@pytest.mark.parametrize("pwd", ["/some/where", ""])
def test_the_jobs_own_pwd_takes_the_place_of_the_sandboxes(log: Log, cwd: str, pwd: str) -> None:
    shown = log.run("/usr/bin/env", cwd=cwd, PWD="/sandbox", ZCC_PWD=pwd, A="b").stdout
    lines = shown.splitlines()
    assert [line for line in lines if "PWD" in line] == ([f"PWD={pwd}"] if pwd else [])
    assert "A=b" in lines


@pytest.mark.parametrize("compiler", ["gcc", "g++", "clang", "clang++"])
def test_a_compiler_works_and_each_of_its_processes_reports(
    log: Log, cwd: str, compiler: str
) -> None:
    needs(compiler)
    with open(cwd + "/a.c", "w") as file:
        file.write("#include <stdlib.h>\nint f(void) { return 1; }\n")
    log.run(compiler, "-g", "-c", "a.c", "-o", "a.o", cwd=cwd)
    records = log.records()
    started = {os.path.basename(record) for record in records if record.startswith("S")}
    if "g" in compiler[:1]:
        assert started & {"cc1", "cc1plus"}
        assert any(name.endswith("as") for name in started)
    assert {record[1:] for record in records if record[0] == "X"} <= {
        record[1:] for record in records if record[0] == "S"
    }
    assert f"W{cwd}/a.o" in records or any(r.startswith(f"W{cwd}/a-") for r in records)
    assert any(record.startswith("H") and record.endswith("/stdlib.h") for record in records)


PLUGIN = """
#include <stdlib.h>
#include <sys/socket.h>
__attribute__((constructor)) static void start(void) { getenv("ASKED"), getenv("ASKED"); }
void connect_somewhere(void) { socket(AF_UNIX, SOCK_STREAM, 0); }
"""
LOADER = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    getenv("BEFORE");
    for (int i = 1; i < argc; i++) {
        void *library = dlopen(argv[i], RTLD_NOW);
        void (*call)(void) = library ? (void (*)(void))dlsym(library, "connect_somewhere") : NULL;
        if (getenv("CALL") && call) call();
    }
    return 0;
}
"""


@pytest.fixture
def loader(tmp_path: Path) -> Path:
    for name, text in (("plugin", PLUGIN), ("loader", LOADER)):
        (tmp_path / f"{name}.c").write_text(text)
    for command in (
        "gcc -shared -fPIC plugin.c -o plugin.so",
        "gcc loader.c -o loader -ldl",
    ):
        subprocess.run(command.split(), cwd=tmp_path, check=True)
    return tmp_path


def test_a_plugin_shows_with_what_it_asks_for(log: Log, loader: Path) -> None:
    log.run("./loader", "./plugin.so", cwd=str(loader))
    records = log.records()
    assert f"H{loader}/./plugin.so" in records
    assert "V/ASKED" in records
    assert "N/BEFORE" in records
    assert "V/BEFORE" not in records
    assert "V/CALL" in records
    assert not any(record.startswith("H") and "vdso" in record for record in records)


def test_without_a_plugin_each_variable_is_the_compilers_own_question(
    log: Log, loader: Path
) -> None:
    log.run("./loader", "libc.so.6", cwd=str(loader))
    records = log.records()
    assert {"N/BEFORE", "N/CALL"} <= records
    assert not any(record.startswith("V") for record in records)


def test_a_plugin_that_is_not_there_is_a_miss(log: Log, loader: Path) -> None:
    log.run("./loader", "./none.so", cwd=str(loader))
    assert f"M{loader}/./none.so" in log.records()


@pytest.mark.parametrize(
    ("words", "variables"),
    [(("./plugin.so",), {"CALL": "1"}), (("./plugin.so", "libnowhere.so"), {})],
)
def test_what_a_plugin_does_past_the_log_is_a_flaw(
    log: Log, loader: Path, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    log.run("./loader", *words, cwd=str(loader), **variables)
    assert log.unseen()
