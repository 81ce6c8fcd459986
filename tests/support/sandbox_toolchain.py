"""A toolchain and inputs for tests of the sandbox, made of this machine's own gcc and clang."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import glob
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache

from cache.blobs import BlobStore, Form
from cache.digest import digest_of
from node.probe import probe
from node.sandbox.command_line import Limits, Sandbox, view_toolchain
from node.sandbox.freshness import Freshness
from node.sandbox.remains import RunFault, RunOutcome, UnpackedToolchain
from node.sandbox.runner import Runner
from node.sandbox.seats import job_threads
from node.sandbox.trees import TreePool
from node.sandbox.wiping import wipe
from zcc.job import FileInput, Job, Manifest, Terminal

TOOLCHAIN_DIGEST = digest_of(b"the test's toolchain")
GENTLE = Limits(wall_s=30, free_disk_bytes=1 << 20)
_PROGRAMS = ("gcc", "g++", "as", "objcopy", "clang", "sh", "cat", "/usr/bin/python3")
_SEARCHED = (
    "/usr/include",
    "/usr/local/include",
    "/usr/lib/gcc",
    *glob.glob("/usr/lib/llvm-*/lib/clang"),
)


def make_toolchain(root: str) -> None:
    """Copy programs, their libraries and the skeleton that drivers probe below `root`."""
    _make_skeleton(root)
    gcc = subprocess.run(
        ["gcc", "-print-file-name="], check=True, capture_output=True, text=True
    ).stdout.strip()
    installation = os.path.realpath(gcc)
    members = [shutil.which(name) for name in _PROGRAMS]
    members += [_own_program(name) for name in ("cc1", "cc1plus")]
    members += glob.glob(os.path.join(installation, "*.o"))
    for member in members:
        if member:
            _add(root, member)
    for version in glob.glob("/usr/lib/python3*/encodings"):
        standard = os.path.dirname(version)
        shutil.copytree(
            standard, root + standard, symlinks=True, dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("test", "dist-packages", "*.a", "config-*"),
        )  # fmt: skip


def make_small_toolchain(root: str, program: str, place: str) -> None:
    """Copy one program to `place` below `root`, and its libraries."""
    _make_skeleton(root)
    _add(root, program)
    os.rename(root + _physical_parent(program), root + place)


def make_program(path: str, body: str) -> str:
    """A program with this `int main`, at this path: a script would not do in bubblewrap's place, of which a
    copy without a name is executed."""
    headers = "#include <signal.h>\n#include <stdio.h>\n#include <unistd.h>"
    text = f"{headers}\nint main(int argc, char **argv) {{ {body} }}\n"
    command = ["gcc", "-w", "-x", "c", "-", "-o", path]
    subprocess.run(command, input=text, text=True, check=True)
    return path


def _make_skeleton(root: str) -> None:
    for link in ("bin", "lib", "lib64", "sbin"):
        os.makedirs(os.path.join(root, "usr", link), exist_ok=True)
        os.symlink(f"usr/{link}", os.path.join(root, link))


def _own_program(name: str) -> str:
    """Where gcc keeps a program of its own: in some distributions not beside its libraries."""
    asked = ["gcc", f"-print-prog-name={name}"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def _add(root: str, path: str) -> None:
    """Copy a file with every symlink on the way to it, and the libraries it needs."""
    place = _physical_parent(path)
    target = root + place
    if os.path.lexists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(place):
        os.symlink(os.readlink(place), target)
        _add(root, os.path.join(os.path.dirname(place), os.readlink(place)))
        return
    shutil.copy2(place, target)
    needed = subprocess.run(["ldd", place], check=False, capture_output=True, text=True).stdout
    for word in needed.split():
        if word.startswith("/"):
            _add(root, word)


def _physical_parent(path: str) -> str:
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def make_manifest(store: BlobStore, paths: Iterable[bytes]) -> Manifest:
    """Files, symlinks and directories of this machine as a manifest; files go into the store."""
    files, links, directories = {}, {}, set()
    for path in paths:
        parent = os.path.realpath(os.path.dirname(path))
        place = os.path.join(parent, os.path.basename(path))
        if os.path.islink(place):
            links[place] = os.readlink(place)
            place = os.path.realpath(place)
        if os.path.isdir(place):
            directories.add(place)
        else:
            with open(place, "rb") as file:
                files[place] = FileInput(place, store.put(file.read()))
    return Manifest(
        files=tuple(files[path] for path in sorted(files)),
        symlinks=tuple(sorted(links.items())),
        directories=tuple(sorted(directories)),
    )


def make_job(
    store: BlobStore,
    argv: Sequence[bytes],
    cwd: bytes,
    *,
    inputs: Iterable[bytes] = (),
    outputs: Iterable[bytes] = (),
    environment: Iterable[tuple[bytes, bytes]] = (),
    terminal: Terminal | None = None,
) -> Job:
    """A job whose manifest holds `inputs`, the closure of a compile (if it is one), and the usual
    directories."""
    found = shutil.which(os.fsdecode(argv[0]))
    assert found is not None, argv
    wanted = {os.path.join(cwd, path) for path in inputs} | {cwd} | _system_directories()
    if any(word in (b"-c", b"-S") for word in argv):
        wanted |= closure(argv, cwd)
    variables = {b"PATH": b"/usr/bin:/bin", b"PWD": cwd, **dict(environment)}
    return Job(
        toolchain=TOOLCHAIN_DIGEST,
        executable=os.fsencode(found),
        argv=tuple(argv),
        cwd=os.path.realpath(cwd),
        environment=tuple(sorted(variables.items())),
        manifest=make_manifest(store, wanted),
        outputs=tuple(sorted(os.path.join(os.path.realpath(cwd), path) for path in outputs)),
        terminal=terminal,
    )


def closure(argv: Sequence[bytes], cwd: bytes) -> set[bytes]:
    """What the compiler's own -M lists, physical and as a set of absolute paths."""
    words = [word for word in argv if word not in (b"-c", b"-S", b"-MD")]
    if b"-o" in words:
        at = words.index(b"-o")
        del words[at : at + 2]
    listed = subprocess.run([*words, b"-M"], cwd=cwd, check=False, capture_output=True).stdout
    joined = listed.replace(b"\\\n", b" ").replace(b"\\ ", b"\0").partition(b": ")[2]
    names = [word.replace(b"\0", b" ") for word in joined.split()]
    return {os.path.join(cwd, name) for name in names}


def _system_directories() -> set[bytes]:
    """Every directory below which headers are searched: the drivers probe for some of them."""
    found = set()
    for top in _SEARCHED:
        if os.path.isdir(top):
            found.add(os.fsencode(top))
            for name in os.listdir(top):
                place = os.path.join(top, name)
                if os.path.isdir(place) and not os.path.islink(place):
                    found.add(os.fsencode(place))
    for place in glob.glob("/usr/lib/gcc/*/*/include") + glob.glob("/usr/include/c++/*"):
        found.add(os.fsencode(place))
    for place in ("/usr/include/x86_64-linux-gnu/c++/12", "/usr/include/c++/12/backward"):
        with contextlib.suppress(OSError):
            os.stat(place)
            found.add(os.fsencode(place))
    return found


class Farm:
    """All that it takes to run jobs on this machine, below one directory."""

    def __init__(
        self, directory: str, toolchain: UnpackedToolchain, sandbox: Sandbox | None = None
    ) -> None:
        self.directory = os.fsencode(directory)
        self.toolchain = toolchain
        self.sandbox = sandbox or shared_sandbox()
        self.store = BlobStore(os.path.join(directory, "blobs"), 1 << 30, Form.PLAIN)
        self.pool = TreePool(
            os.path.join(directory, "trees"), self.store, Freshness(), discard=wipe
        )
        self.tree = self.pool.acquire(b"client")
        self.loop = asyncio.new_event_loop()
        self.workers = job_threads(1)
        self.runner = Runner(self.sandbox)
        self._count = 0

    def run(
        self, job: Job, limits: Limits = GENTLE, stop_after_s: float | None = None
    ) -> RunOutcome | RunFault:
        self._count += 1
        self.tree.fit(job.manifest)
        run = self.runner.prepare(
            job,
            self.toolchain,
            self.tree.root,
            scratch=self.directory + b"/scratch-%d" % self._count,
            limits=limits,
        )
        done = self.loop.run_in_executor(self.workers, run.carry_out)
        if stop_after_s is not None:
            self.loop.call_later(stop_after_s, run.stop)
        return self.loop.run_until_complete(done)

    def succeed(self, job: Job) -> RunOutcome:
        outcome = self.run(job)
        assert isinstance(outcome, RunOutcome), outcome
        assert outcome.exit_status == 0, outcome.stderr
        return outcome

    def python(self, code: str, cwd: bytes, outputs: Iterable[bytes] = ()) -> Job:
        """A job that runs foreign code."""
        argv = [b"/usr/bin/python3", b"-S", b"-E", b"-c", os.fsencode(code)]
        return make_job(self.store, argv, cwd, outputs=outputs)

    def close(self) -> None:
        self.workers.shutdown()
        self.loop.close()


@cache
def shared_sandbox() -> Sandbox:
    directory = tempfile.mkdtemp(prefix="zcc-test-sandbox-")
    atexit.register(shutil.rmtree, directory, True)
    return probe(directory)


@cache
def shared_toolchain() -> UnpackedToolchain:
    """One copy for all tests of a run: it takes some seconds to make."""
    directory = tempfile.mkdtemp(prefix="zcc-test-toolchain-")
    atexit.register(shutil.rmtree, directory, True)
    make_toolchain(directory)
    root = os.fsencode(directory)
    return UnpackedToolchain(root, view_toolchain(root))


def compare_with_local(farm: Farm, job: Job) -> RunOutcome:
    """Run the job in the sandbox and its command here, and hold each output against the local one."""
    outcome = farm.succeed(job)
    environment = dict(job.environment)
    local = subprocess.run(
        job.argv, executable=job.executable, cwd=job.cwd, env=environment, check=True,
        capture_output=True,
    )  # fmt: skip
    assert (outcome.stdout, outcome.stderr) == (local.stdout, local.stderr)
    assert [file.path for file in outcome.outputs] == [p for p in job.outputs if os.path.exists(p)]
    for file in outcome.outputs:
        with open(file.path, "rb") as written:
            assert file.data == written.read(), file.path
    return outcome


def _try_as_this_user(directory: str) -> None:
    """Compile once in the sandbox and once here: for a process that runs as another user."""
    farm = Farm(directory, shared_toolchain())
    cwd = os.fsencode(directory) + b"/src"
    os.mkdir(cwd)
    with open(cwd + b"/a.c", "w") as file:
        file.write("#include <stdio.h>\nint main(void) { return puts(__FILE__); }\n")
    job = make_job(farm.store, [b"gcc", b"-g", b"-c", b"a.c", b"-o", b"a.o"], cwd, outputs=[b"a.o"])
    assert compare_with_local(farm, job).lookups.flaw == ""
    farm.close()


if __name__ == "__main__":
    _try_as_this_user(sys.argv[1])
