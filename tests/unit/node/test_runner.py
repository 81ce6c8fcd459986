"""Real compilers in real sandboxes: what comes back equals a local run, and nothing else happens."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.sandbox.command_line import Limits
from node.sandbox.proof import ToolchainView
from node.sandbox.remains import RunFault, RunOutcome, UnpackedToolchain
from node.sandbox.runner import JobRun
from tests.support.sandbox_toolchain import (
    GENTLE,
    Farm,
    compare_with_local,
    make_job,
    make_manifest,
    make_program,
    shared_toolchain,
)
from zcc.job import Job, Manifest, Terminal
from zcc.messages import Fault


@pytest.fixture
def farm(tmp_path: object) -> Iterator[Farm]:
    farm = Farm(str(tmp_path), shared_toolchain())
    yield farm
    left = [name for name in os.listdir(farm.directory) if name.startswith(b"scratch")]
    assert not [name for name in left if b"trash" not in name]
    farm.close()


@pytest.fixture
def cwd(tmp_path: object) -> bytes:
    path = os.fsencode(str(tmp_path)) + b"/project"
    os.makedirs(path + b"/inc")
    write(path + b"/inc/x.h", "#define X 1\n")
    write(path + b"/a.c", '#include <stdio.h>\n#include "inc/x.h"\nint main(void) { return X; }\n')
    write(path + b"/b.cc", "#include <vector>\nint f() { return std::vector<int>(3).size(); }\n")
    return path


def write(path: bytes, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def fault_of(outcome: RunOutcome | RunFault) -> Fault:
    assert isinstance(outcome, RunFault), outcome
    return outcome.fault


def compile_job(farm: Farm, cwd: bytes, *argv: str, outputs: tuple[bytes, ...] = (b"a.o",)) -> Job:
    return make_job(farm.store, [os.fsencode(word) for word in argv], cwd, outputs=outputs)


# ---- the same as a local run ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "outputs"),
    [
        ("gcc -g -O2 -c a.c -MD -o a.o", (b"a.o", b"a.d")),
        ("gcc -g -gsplit-dwarf -fstack-usage -c a.c -o a.o", (b"a.o", b"a.dwo", b"a.su")),
        ("gcc -g -pipe -S a.c -o a.s", (b"a.s",)),
        ("g++ -g -O1 -c b.cc -o a.o", (b"a.o",)),
        ("clang -g -O2 -c a.c -MD -o a.o", (b"a.o", b"a.d")),
        ("clang -g -gsplit-dwarf -c a.c -o a.o", (b"a.o", b"a.dwo")),
    ],
)
def test_outputs_equal_those_of_a_local_run(
    farm: Farm, cwd: bytes, command: str, outputs: tuple[bytes, ...]
) -> None:
    outcome = compare_with_local(farm, compile_job(farm, cwd, *command.split(), outputs=outputs))
    assert outcome.lookups.flaw == ""
    assert outcome.lookups.undeclared == ()
    assert outcome.usage.cpu_s > 0
    assert outcome.usage.peak_bytes > 1 << 20
    assert {file.mode for file in outcome.outputs} == {0o666}


@pytest.mark.parametrize("top", [b"/tmp", b"/run", b"/usr/src", b"/dev/shm", b"/opt"])
def test_a_source_tree_may_lie_anywhere(farm: Farm, top: bytes) -> None:
    if not os.access(top, os.W_OK):
        pytest.skip(f"{top!r} is not writable here")
    cwd = top + b"/zcc test \xff\n,:\\'\""
    os.makedirs(cwd)
    try:
        write(cwd + b"/a b.c", "int f(void) { return __LINE__; }\n")
        job = make_job(
            farm.store, [b"gcc", b"-g", b"-c", b"a b.c", b"-o", b"a\xe9.o"], cwd,
            inputs=[b"a b.c"], outputs=[b"a\xe9.o"],
        )  # fmt: skip
        assert compare_with_local(farm, job).lookups.flaw == ""
    finally:
        shutil.rmtree(cwd)


@pytest.mark.parametrize("pwd", [b"link", None, b"/nonexistent"])
def test_pwd_is_what_the_job_says(farm: Farm, cwd: bytes, pwd: bytes | None) -> None:
    link = os.path.dirname(cwd) + b"/link"
    os.symlink(b"project", link)
    job = make_job(
        farm.store, [b"gcc", b"-g", b"-c", b"a.c", b"-o", b"a.o"], cwd,
        inputs=[link], outputs=[b"a.o"],
    )  # fmt: skip
    variables = {name: value for name, value in job.environment if name != b"PWD"}
    if pwd is not None:
        variables[b"PWD"] = link if pwd == b"link" else pwd
    job = replace(job, environment=tuple(sorted(variables.items())))
    outcome = compare_with_local(farm, job)
    assert (link in outcome.outputs[0].data) == (pwd == b"link")


def test_messages_on_a_terminal_have_its_colours_and_width(farm: Farm, cwd: bytes) -> None:
    write(cwd + b"/w.c", f"int f(void) {{ /* {'-' * 150} */ int x = 1; return 0; }}\n")
    command = [b"gcc", b"-Wall", b"-c", b"w.c", b"-o", b"a.o"]
    environment = [(b"TERM", b"xterm")]
    job = make_job(
        farm.store, command, cwd, outputs=[b"a.o"], environment=environment,
        terminal=Terminal(24, 60),
    )  # fmt: skip
    remote = farm.succeed(job).stderr
    assert b"\x1b[" in remote
    assert remote == local_under_a_terminal(job)
    assert farm.succeed(replace(job, terminal=Terminal(24, 200))).stderr != remote


def local_under_a_terminal(job: Job) -> bytes:
    from zcc.terminal import open_terminal

    assert job.terminal is not None
    master, slave = open_terminal(job.terminal)
    subprocess.run(
        job.argv, cwd=job.cwd, env=dict(job.environment), stdin=slave, stderr=slave, check=True
    )
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:
        pass
    os.close(master)
    return shown


def test_a_failing_compile_is_an_outcome(farm: Farm, cwd: bytes) -> None:
    write(cwd + b"/bad.c", "int f(void) { return x; }\n")
    outcome = farm.run(compile_job(farm, cwd, "gcc", "-c", "bad.c", "-o", "a.o"))
    assert isinstance(outcome, RunOutcome)
    assert outcome.exit_status == 1
    assert b"bad.c:1:22: error" in outcome.stderr
    assert outcome.outputs == ()


def test_death_by_signal_is_a_negative_status(farm: Farm, cwd: bytes) -> None:
    outcome = farm.run(farm.python("import os; os.kill(os.getpid(), 11)", cwd))
    assert isinstance(outcome, RunOutcome)
    assert outcome.exit_status == -signal.SIGSEGV


def test_it_works_without_privileges(tmp_path: object) -> None:
    if os.getuid():
        pytest.skip("the other tests are unprivileged already")
    # Not this interpreter, which may lie where only root can read.
    interpreter = "/usr/bin/python3"
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    place = f"/tmp/zcc-unprivileged-{os.getpid()}"
    os.mkdir(place)
    os.chown(place, 65534, 65534)

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [interpreter, *words], user=65534, group=65534, extra_groups=[], check=False,
            capture_output=True, env=environment,
        )  # fmt: skip

    try:
        if run("-c", "import node.sandbox.runner, tests.unit").returncode:
            pytest.skip("no interpreter that another user can start with these packages")
        done = run("-m", "tests.support.sandbox_toolchain", place)
        assert done.returncode == 0, done.stderr.decode()
    finally:
        shutil.rmtree(place)


# ---- the proof ------------------------------------------------------------------------------------


def test_a_probe_hidden_behind_a_macro_shows_as_a_miss(farm: Farm, cwd: bytes) -> None:
    write(
        cwd + b"/p.c",
        '#define H "secret.h"\n#if __has_include(H)\n#error\n#endif\nint x;\n',
    )
    outcome = farm.succeed(compile_job(farm, cwd, "gcc", "-c", "p.c", "-o", "a.o"))
    assert b"secret.h" in dict(outcome.lookups.misses)[cwd]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_file_that_a_job_before_had_and_this_one_does_not_name_is_missed(
    farm: Farm, cwd: bytes, compiler: str
) -> None:
    job = compile_job(farm, cwd, compiler, "-c", "a.c", "-o", "a.o")
    farm.succeed(job)
    files = tuple(file for file in job.manifest.files if not file.path.endswith(b"/x.h"))
    manifest = replace(job.manifest, files=files)
    outcome = farm.run(replace(job, manifest=manifest))
    assert isinstance(outcome, RunOutcome)
    assert outcome.exit_status == 1
    assert outcome.lookups.undeclared == ()
    missed = {at + b"/" + name for at, names in outcome.lookups.misses for name in names}
    assert {cwd + b"/inc", cwd + b"/inc/x.h"} & set(map(os.path.normpath, missed))


def test_a_file_of_the_assembler_is_seen(farm: Farm, cwd: bytes) -> None:
    write(cwd + b"/i.c", '__asm__(".incbin \\"blob.bin\\"");\n')
    outcome = farm.run(compile_job(farm, cwd, "gcc", "-c", "i.c", "-o", "a.o"))
    assert isinstance(outcome, RunOutcome)
    assert outcome.exit_status == 1
    assert any(b"blob.bin" in names for _, names in outcome.lookups.misses)


def test_a_static_program_proves_nothing(farm: Farm, cwd: bytes) -> None:
    write(cwd + b"/s.c", "int main(void) { return 0; }\n")
    made = subprocess.run(["gcc", "-static", "s.c", "-o", "static"], cwd=cwd, check=False)
    if made.returncode:
        pytest.skip("no static libc here")
    farm.toolchain = with_member(farm, cwd + b"/static", b"/static")
    job = replace(farm.python("", cwd), executable=b"/static", argv=(b"static",))
    assert "without the look-up log" in farm.succeed(job).lookups.flaw
    caller = farm.python("import os; os.spawnv(os.P_WAIT, '/static', ['static'])", cwd)
    assert "without the look-up log" in farm.succeed(caller).lookups.flaw


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="seen on x86-64 alone")
def test_a_look_up_past_libc_proves_nothing(farm: Farm, cwd: bytes) -> None:
    """The sandbox's filter lets the shim ask the kernel for the watch."""
    code = """#include <sys/syscall.h>
int main(int count, char **words) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(count > 1 ? SYS_open : SYS_getpid), "D"("."), "S"(0)
                     : "rcx", "r11", "memory");
    return !words || result < 0;
}
"""
    write(cwd + b"/past.c", code)
    subprocess.run(["gcc", "past.c", "-o", "past"], cwd=cwd, check=True)
    farm.toolchain = with_member(farm, cwd + b"/past", b"/past")
    job = replace(farm.python("", cwd), executable=b"/past", argv=(b"past",))
    assert farm.succeed(job).lookups.flaw == ""
    looking = farm.succeed(replace(job, argv=(b"past", b"look")))
    assert looking.lookups.flaw.startswith("system call 2 was called")


def with_member(farm: Farm, source: bytes, place: bytes) -> UnpackedToolchain:
    root = farm.directory + b"/toolchain"
    there, here = os.fsdecode(farm.toolchain.root), os.fsdecode(root)
    shutil.copytree(there, here, symlinks=True, copy_function=os.link)
    shutil.copy2(source, root + place)
    view = farm.toolchain.view
    return UnpackedToolchain(root, ToolchainView(view.members | {place}, view.links))


# ---- hostile code ---------------------------------------------------------------------------------


def test_nothing_of_the_host_is_visible(farm: Farm, cwd: bytes) -> None:
    code = """
import os
for path in ('/etc/passwd', '/home', '/root', '/var', '/sys', '/tmp/zcc-canary', '/dev/sda'):
    assert not os.path.exists(path), path
assert sorted(os.listdir('/dev')) in (['null', 'urandom'], ['null', 'shm', 'urandom'])
assert len([name for name in os.listdir('/proc') if name.isdigit()]) == 2
assert os.uname().nodename == 'zcc'
assert 'HOME' not in os.environ
for path in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/.zcc/lookups.so'):
    try:
        open(path, 'r+b').close()
    except OSError:
        continue
    raise AssertionError(path)
"""
    write(b"/tmp/zcc-canary", "")
    try:
        farm.succeed(farm.python(code, cwd))
    finally:
        os.unlink(b"/tmp/zcc-canary")


def test_the_network_is_unreachable(farm: Farm, cwd: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        outcome = farm.run(farm.python(code, cwd))
    assert isinstance(outcome, RunOutcome)
    assert outcome.exit_status == 1


_HOLDING = (
    "import mmap, os, time\n"
    "def hold(i):\n"
    " f = open('u%d' % i, 'w+b')\n os.unlink('u%d' % i)\n"
    " f.write(b'x' * (20 << 20))\n f.flush()\n return f\n"
)

HOSTILE = {
    "files without a name": (
        f"{_HOLDING}held = [hold(i) for i in range(3)]\ntime.sleep(9)",
        Fault.RESOURCES,
    ),
    "mapped files without a name": (
        f"{_HOLDING}libc = __import__('ctypes').CDLL(None)\n"
        "libc.mmap.argtypes = [__import__('ctypes').c_long] * 6\n"
        "for i in range(3):\n"
        " f = hold(i)\n libc.mmap(0, 20 << 20, 1, 2, f.fileno(), 0)\n f.close()\n"
        "time.sleep(9)",
        Fault.RESOURCES,
    ),
    "log": (
        "import os, time\nos.truncate('/.zcc/log', (16 << 20) + 1)\ntime.sleep(9)",
        Fault.RESOURCES,
    ),
    "log at the end": (
        "import os\nos.truncate('/.zcc/log', (16 << 20) + 1)",
        Fault.RESOURCES,
    ),
    "flood": ("import os\nwhile 1: os.write(1, b'x' * 65536)", Fault.RESOURCES),
    "error flood": ("import os\nwhile 1: os.write(2, b'x' * 65536)", Fault.RESOURCES),
    "endless": ("while 1: pass", Fault.DEADLINE),
    "asleep": ("import time; time.sleep(99)", Fault.DEADLINE),
    "fork bomb": (
        # The parent stays: its end would be the end of them all, perhaps before they are counted.
        "import os, time\nfor _ in range(300): os.fork() or time.sleep(9)\ntime.sleep(9)",
        Fault.RESOURCES,
    ),
    "memory": ("import time; x = b'x' * (300 << 20); time.sleep(9)", Fault.MEMORY),
    "orphans": (
        "import os, time\nif os.fork() == 0:\n os.fork()\n time.sleep(99)\ntime.sleep(99)",
        Fault.DEADLINE,
    ),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_greedy_program_is_killed(farm: Farm, cwd: bytes, attack: str) -> None:
    code, fault = HOSTILE[attack]
    limits = replace(GENTLE, wall_s=3.0, tasks=64, memory_bytes=256 << 20, written_bytes=48 << 20)
    if fault is Fault.DEADLINE:
        limits = replace(limits, wall_s=0.4)
    assert fault_of(farm.run(farm.python(code, cwd), limits)) is fault


def test_a_small_file_without_a_name_may_be_held(farm: Farm, cwd: bytes) -> None:
    code = (
        f"{_HOLDING}other = hold(2)\n"
        "held = [hold(1), mmap.mmap(other.fileno(), 0)]\ntime.sleep(0.5)"
    )
    outcome = farm.run(farm.python(code, cwd), replace(GENTLE, written_bytes=200 << 20))
    assert isinstance(outcome, RunOutcome), outcome
    assert outcome.exit_status == 0, outcome.stderr


def test_a_file_of_any_size_is_cut_off(farm: Farm, cwd: bytes) -> None:
    code = "f = open('a.o', 'wb')\nwhile 1: f.write(b'x' * 65536)"
    limits = replace(GENTLE, file_bytes=1 << 20)
    outcome = farm.run(farm.python(code, cwd, [b"a.o"]), limits)
    assert isinstance(outcome, RunOutcome)
    assert outcome.exit_status != 0
    assert len(outcome.outputs[0].data) <= 1 << 20


def test_outputs_beyond_the_limit_are_refused(farm: Farm, cwd: bytes) -> None:
    job = farm.python("open('a.o', 'wb').truncate(2 << 20)", cwd, [b"a.o"])
    assert fault_of(farm.run(job, replace(GENTLE, outputs_bytes=1 << 20))) is Fault.RESOURCES


@pytest.mark.parametrize(
    "code",
    [
        "os.symlink('/etc/passwd', 'a.o')",
        "os.symlink('a.c', 'a.o')",
        "os.mkfifo('a.o')",
        "os.mkdir('a.o')",
        "open('a.o', 'w').close(); os.link('a.o', 'b.o')",
        "os.mknod('a.o', 0o140644)",
        "os.rmdir('out'); os.symlink('/etc', 'out')",
        "open('elsewhere', 'w').close()",
        "open('/usr/bin/gcc', 'w').close()",
        "os.chmod('a.c', 0o777); open('a.c', 'a').close()",
        "os.unlink('a.c')",
        "os.mkdir('d')",
        "os.mkdir('d'); os.chmod('d', 0)",
    ],
)
def test_an_output_that_is_no_plain_file_is_not_taken(farm: Farm, cwd: bytes, code: str) -> None:
    os.mkdir(cwd + b"/out")
    job = make_job(
        farm.store, [b"/usr/bin/python3", b"-S", b"-E", b"-c", b"import os; " + os.fsencode(code)],
        cwd, inputs=[b"a.c", b"out"], outputs=[b"a.o", b"out/passwd"],
    )  # fmt: skip
    outcome = farm.succeed(job)
    assert outcome.lookups.flaw != ""
    assert all(file.data == b"" for file in outcome.outputs)


def test_a_deep_tree_of_directories_is_cleared_away(farm: Farm, cwd: bytes) -> None:
    code = "import os\nfor _ in range(300): os.mkdir('d'); os.chdir('d')"
    outcome = farm.run(farm.python(code, cwd))
    assert fault_of(outcome) is Fault.RESOURCES
    assert "nested too deeply" in str(outcome)


def test_nothing_writes_after_the_outputs_were_read(farm: Farm, cwd: bytes) -> None:
    code = """
import os, time
if os.fork() == 0:
    while True:
        with open('a.o', 'ab') as file: file.write(b'x')
time.sleep(0.1)
os._exit(0)
"""
    outcome = farm.succeed(farm.python(code, cwd, [b"a.o"]))
    assert outcome.outputs[0].data


def test_a_job_can_be_stopped(farm: Farm, cwd: bytes) -> None:
    job = farm.python("import time; time.sleep(60)", cwd)
    assert fault_of(farm.run(job, stop_after_s=0)) is Fault.STOPPING
    assert fault_of(farm.run(job, stop_after_s=0.2)) is Fault.STOPPING


def test_a_job_that_is_stopped_while_it_starts_leaves_nothing(
    farm: Farm, cwd: bytes, of_runs: Callable[[], set[str]]
) -> None:
    """Between its birth and its first instructions bubblewrap's child knows nothing of its parent's end."""
    job = farm.python("import time; time.sleep(60)", cwd)
    for tenth_ms in range(0, 200, 4):
        assert fault_of(farm.run(job, stop_after_s=tenth_ms / 10_000)) is Fault.STOPPING
    assert of_runs() == set()


def test_a_child_that_was_not_told_of_is_buried_with_bubblewrap(
    farm: Farm, cwd: bytes, of_runs: Callable[[], set[str]], tmp_path: Path
) -> None:
    sleeps = 'if (!fork()) execl("/bin/sleep", "sleep", "60", NULL);'
    starts = make_program(f"{tmp_path}/bubblewrap", f"{sleeps} pause();")
    dies = make_program(f"{tmp_path}/dies", f"{sleeps} kill(getpid(), SIGKILL);")
    job = farm.python("", cwd)
    for program, stop_after_s in ((starts, 0.5), (dies, None)):
        farm.runner.sandbox = replace(farm.sandbox, bubblewrap=program)
        try:
            assert isinstance(farm.run(job, stop_after_s=stop_after_s), RunFault)
        finally:
            farm.runner.sandbox = farm.sandbox
        assert of_runs() == set()


def test_no_descriptor_and_no_child_is_left(
    farm: Farm, cwd: bytes, of_runs: Callable[[], set[str]]
) -> None:
    job = farm.python("", cwd)
    terminal = replace(job, terminal=Terminal(24, 80))
    farm.succeed(job)
    before = sorted(os.listdir("/proc/self/fd"))
    farm.succeed(job)
    farm.succeed(terminal)
    farm.run(job, replace(GENTLE, wall_s=0))
    until = time.monotonic() + 10
    # A thread of its own removes what the last one left.
    while sorted(os.listdir("/proc/self/fd")) != before and time.monotonic() < until:
        time.sleep(0.01)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert of_runs() == set()


@pytest.fixture
def of_runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Gives the children that this test's runs have left. As a subreaper this process inherits what other tests
    have orphaned, at any moment; but each run has a process group of its own."""
    spawn, groups = os.posix_spawn, set[str]()

    def noted(*arguments: Any, **more: Any) -> int:
        pid = spawn(*arguments, **more)
        groups.add(str(pid))
        return pid

    def children() -> set[str]:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return {pid for pid in file.read().split() if stat_of(pid)[2] in groups}

    monkeypatch.setattr(os, "posix_spawn", noted)
    return children


def stat_of(pid: str) -> list[str]:
    """State, parent, process group, and what follows in proc(5)."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


# ---- faults of the farm ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [b"/usr/bin/none", b"/usr", b"/usr/bin/python3/x", (b"/" + b"y" * 200) * 20]
)
def test_a_program_that_the_toolchain_has_not_is_refused(
    farm: Farm, cwd: bytes, name: bytes
) -> None:
    job = replace(farm.python("", cwd), executable=name)
    assert fault_of(farm.run(job)) is Fault.REFUSED


def test_a_job_that_covers_up_its_toolchain_is_refused(farm: Farm, cwd: bytes) -> None:
    job = farm.python("", cwd)
    for path in (b"/usr/bin/python3", b"/lib64", b"/usr/lib"):
        links = tuple(link for link in job.manifest.symlinks if not link[0].startswith(path))
        manifest = Manifest(symlinks=((path, b"/none"), *links), directories=(cwd,))
        assert fault_of(farm.run(replace(job, manifest=manifest))) is Fault.REFUSED, path
    for path in (b"/lib64/x", b"/usr/bin/python3/x"):
        manifest = Manifest(directories=(cwd, path))
        assert fault_of(farm.run(replace(job, manifest=manifest))) is Fault.REFUSED, path


def test_an_executable_that_is_no_program_is_refused(farm: Farm, cwd: bytes) -> None:
    write(cwd + b"/text", "no program")
    job = make_job(farm.store, [b"gcc", b"-c", b"a.c"], cwd, inputs=[b"text"])
    assert fault_of(farm.run(replace(job, executable=cwd + b"/text"))) is Fault.REFUSED


def test_a_program_that_cannot_be_loaded_is_the_toolchains_fault(farm: Farm, cwd: bytes) -> None:
    job = farm.python("", cwd)
    broken = cwd + b"/broken"
    shutil.copy2(b"/usr/bin/cat", broken)
    libless = UnpackedToolchain(cwd, ToolchainView(frozenset((b"/broken",))))
    farm.toolchain = libless
    job = replace(job, executable=b"/broken", manifest=make_manifest(farm.store, [cwd]))
    assert fault_of(farm.run(job)) is Fault.TOOLCHAIN


def test_a_cwd_that_the_job_has_not_is_refused(farm: Farm, cwd: bytes) -> None:
    job = replace(farm.python("", cwd), cwd=b"/none")
    assert fault_of(farm.run(job)) is Fault.REFUSED


def test_a_cwd_that_was_lost_here_is_the_inputs_fault(farm: Farm, cwd: bytes) -> None:
    job = farm.python("", cwd)
    farm.tree.fit(job.manifest)
    shutil.rmtree(farm.tree.root + cwd)
    assert fault_of(farm.run(job)) is Fault.INPUT


def test_what_breaks_while_a_job_runs_ends_the_run(
    farm: Farm, cwd: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = farm.python("import time; time.sleep(20)", cwd)
    for place in ("_look", "_hear", "_readable", "_bury", "_finish", "_judge", "_settle_group"):
        with monkeypatch.context() as patched:
            patched.setattr(JobRun, place, _breaks)
            sleeping = place in ("_look",)
            outcome = farm.run(job if sleeping else farm.python("print(1)", cwd))
            assert fault_of(outcome) is Fault.INTERNAL, place


def _breaks(*_: object) -> None:
    raise KeyError("a bug")


def test_limits_may_be_left_out(farm: Farm, cwd: bytes) -> None:
    limits = Limits(
        wall_s=None, cpu_s=None, memory_bytes=None, tasks=None, open_files=None,
        file_bytes=None, free_disk_bytes=0,
    )  # fmt: skip
    assert isinstance(farm.run(farm.python("", cwd), limits), RunOutcome)


def test_a_start_that_fails_half_way_leaves_nothing(
    farm: Farm, cwd: bytes, of_runs: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no limits today")

    handles = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(resource, "prlimit", refuse)
    with pytest.raises(PermissionError, match="no limits today"):
        farm.run(farm.python("", cwd))
    assert of_runs() == set()
    assert set(os.listdir("/proc/self/fd")) <= handles
