"""System calls that go past libc's functions: each is seen, and none is changed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.support.libc_prototypes import exports_of
from tests.support.look_up_log import Log, make_log
from tests.unit.node.test_shim_coverage import GLIBC

PROGRAM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__ /* musl has no headers of the kernel */
#include <linux/filter.h>
#include <linux/seccomp.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>
/* By an instruction of this program's own. */
static long call(long number, long a, long b, long c) {
    long result;
    register long d __asm__("r10") = 0;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(d)
                     : "rcx", "r11", "memory");
    return result;
}
static long look(void) { return call(SYS_openat, AT_FDCWD, (long)"there", 0); }
static void *look_apart(void *unused) { (void)unused; return (void *)look(); }
static int look_number(void *unused) { (void)unused; return (int)look(); }
static void on_crash(int number) { (void)number; _exit(9); }
int main(void) {
    STATEMENT;
    return 0;
}
"""
SEEN = {
    "in the program": "if (look() < 0) return 1",
    "that fails": 'if (call(SYS_openat, AT_FDCWD, (long)"gone", 0) != -ENOENT) return 1',
    "after harmless ones": "if (call(SYS_getpid, 0, 0, 0) != getpid() || look() < 0) return 1",
    "in a thread": "pthread_t t; void *r; pthread_create(&t, 0, look_apart, 0); pthread_join(t, &r);"
    "if ((long)r < 0) return 1",
    "in a thread of C11": "thrd_t t; int r; thrd_create(&t, look_number, 0); thrd_join(t, &r);"
    "if (r < 0) return 1",
    "in a forked child": "int s; if (!fork()) _exit(look() < 0); wait(&s); if (s) return 1",
    "with a handler of the program's own": "signal(SIGSYS, on_crash);"
    "struct sigaction a = {.sa_handler = on_crash};"
    "sigaction(SIGSYS, &a, 0); if (look() < 0) return 1",
    "with all signals blocked": "sigset_t all; sigfillset(&all); sigprocmask(SIG_SETMASK, &all, 0);"
    "pthread_sigmask(SIG_BLOCK, &all, 0); if (look() < 0) return 1",
    "that starts a program": 'char *a[] = {"true", 0}; int s;'
    'if (!fork()) call(SYS_execve, (long)"/bin/true", (long)a, 0);'
    "wait(&s); if (s) return 1",
    "by libc's function": 'int s; char *a[] = {"true", 0};'
    'if (!fork()) syscall(SYS_execve, "/bin/true", a, 0); wait(&s); if (s) return 1',
}  # fmt: skip
HARMLESS = {
    "of the process": "if (call(SYS_getpid, 0, 0, 0) != getpid() || syscall(SYS_gettid) != getpid()) return 1",
    "that fails": "errno = 0; if (call(SYS_close, 99, 0, 0) != -EBADF || errno) return 1",
    "on what is open": 'int fd = open("there", 0); char c;'
    'if (call(SYS_read, fd, (long)&c, 1) != 1 || c != 120) return 1',
    "by libc, of all kinds": "pthread_t t; pthread_create(&t, 0, (void *(*)(void *))getpid, 0);"
    "pthread_join(t, 0);"
    "if (!fork()) _exit(0); wait(0); free(malloc(1 << 20)); usleep(1); raise(SIGCHLD)",
    "of the loader": 'if (!dlopen("libm.so.6", RTLD_NOW)) return 1',
    "that ends the process": "call(SYS_exit_group, 0, 0, 0)",
}  # fmt: skip

only_x86_64 = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="Linux watches system calls on x86-64 alone"
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return make_log(str(tmp_path_factory.mktemp("shim")))


def run_statement(
    log: Log, place: Path, statement: str, compiler: str = "gcc", *flags: str
) -> None:
    needs(compiler)
    (place / "there").write_text("x")
    (place / "program.c").write_text(PROGRAM.replace("STATEMENT", statement))
    command = [compiler, "-w", "-O1", "program.c", "-o", "program", "-ldl", "-pthread", *flags]
    subprocess.run(command, cwd=place, check=True)
    log.run(str(place / "program"), cwd=str(place))


@only_x86_64
@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
@pytest.mark.parametrize("where", SEEN)
def test_a_look_up_past_libc_is_seen_and_made(
    log: Log, tmp_path: Path, where: str, compiler: str
) -> None:
    run_statement(log, tmp_path, SEEN[where], compiler)
    number = 59 if "starts" in where or "function" in where else 257
    assert log.unseen() == {f"system call {number}"}


@only_x86_64
@pytest.mark.parametrize("what", HARMLESS)
def test_a_harmless_call_is_made_and_not_mentioned(log: Log, tmp_path: Path, what: str) -> None:
    run_statement(log, tmp_path, HARMLESS[what])
    assert not log.unseen()


@pytest.mark.parametrize(
    ("call", "record"),
    [
        ('syscall(SYS_openat, AT_FDCWD, "there", O_RDONLY)', "H/there"),
        ('syscall(SYS_openat, AT_FDCWD, "gone", O_RDONLY)', "R/gone"),
        ('syscall(SYS_openat, AT_FDCWD, "new", O_CREAT | O_WRONLY, 0644)', "W/new"),
        ('syscall(SYS_openat, open("/", O_RDONLY), "gone", O_RDONLY)', "R/gone"),
        ('syscall(SYS_faccessat, AT_FDCWD, "gone", 0)', "M/gone"),
        ('char b[9]; syscall(SYS_readlinkat, AT_FDCWD, "gone", b, 9)', "M/gone"),
    ],
)
def test_a_look_up_by_number_is_logged(log: Log, tmp_path: Path, call: str, record: str) -> None:
    run_statement(log, tmp_path, call)
    at = "" if '"/"' in call else str(tmp_path)
    assert f"{record[0]}{at}{record[1:]}" in log.records()
    assert not log.unseen()


def test_what_an_allocator_asks_the_kernel_is_no_look_up(log: Log, tmp_path: Path) -> None:
    run_statement(
        log, tmp_path, 'syscall(SYS_openat, AT_FDCWD, "/proc/sys/vm/overcommit_memory", 0)'
    )
    assert not any("overcommit" in record for record in log.records())


@only_x86_64
def test_a_library_of_libcs_own_may_make_calls(log: Log, tmp_path: Path) -> None:
    """libpthread has open and read of its own before glibc 2.34."""
    source = PROGRAM.replace("int main(void)", "long look_within(void)").replace(
        "STATEMENT;", "return look();"
    )
    (tmp_path / "part.c").write_text(source)
    command = "gcc -w -O1 -shared -fPIC part.c -o libpthread-old.so -Wl,-soname,libpthread-old.so"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    statement = "extern long look_within(void); if (look_within() < 0) return 1"
    run_statement(log, tmp_path, statement, "gcc", "-L.", "-lpthread-old", f"-Wl,-rpath,{tmp_path}")
    assert not log.unseen()
    run_statement(
        log,
        tmp_path,
        f"{statement}; look()",
        "gcc",
        "-L.",
        "-lpthread-old",
        f"-Wl,-rpath,{tmp_path}",
    )
    assert log.unseen() == {"system call 257"}


@only_x86_64
def test_a_look_up_of_a_library_that_is_loaded_is_seen(log: Log, tmp_path: Path) -> None:
    """As a plugin's is, while the loader runs what the library begins with."""
    begins = "__attribute__((constructor)) static void begin(void)"
    source = PROGRAM.replace("int main(void)", begins).replace(
        "STATEMENT;\n    return 0;", "look();"
    )
    (tmp_path / "part.c").write_text(source)
    command = "gcc -w -O1 -shared -fPIC part.c -o part.so"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    run_statement(log, tmp_path, 'if (!dlopen("./part.so", RTLD_NOW)) return 1')
    assert log.unseen() == {"system call 257"}
    assert f"H{tmp_path}/./part.so" in log.records()


def test_a_process_can_be_ended_by_the_watchs_signal_as_ever(log: Log, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as ended:
        run_statement(log, tmp_path, "raise(SIGSYS); sleep(9)")
    assert ended.value.returncode == -signal.SIGSYS


def test_a_call_that_a_filter_traps_is_one_that_is_not_there(log: Log, tmp_path: Path) -> None:
    trapped = (
        "struct sock_filter f[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),"
        "BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),"
        "BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};"
        "struct sock_fprog p = {4, f}; prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);"
        "prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);"
        "errno = 0; if (getpriority(0, 0) != -1 || errno != ENOSYS) return 1"
    )
    run_statement(log, tmp_path, trapped)


def test_a_function_that_libc_does_not_have_fails_as_one_that_is_not_there(
    log: Log, tmp_path: Path
) -> None:
    absent = sorted(exports_of(log.library).exported - exports_of(*GLIBC).exported - {"statx"})
    if not absent:
        pytest.skip("this libc has each function that is shadowed")
    run_statement(
        log, tmp_path,
        f'long (*f)() = (long (*)())dlsym(RTLD_DEFAULT, "{absent[0]}");'
        "long r = f(0, 0, 0, 0, 0, 0, 0, 0); if ((r && r != -1) || errno != ENOSYS) return 1",
    )  # fmt: skip
    assert log.raw()[8:16] != bytes(8)
