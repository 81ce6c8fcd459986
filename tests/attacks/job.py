"""Runs an attack as a job: a C program is the job's executable, and the node's own Runner runs it.

As a program, inside an enclosure: reads the request from its arguments, prints what came of the job and in
what state the enclosure is afterwards. As a module, for the tests: `attack` does that.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pytest

from node.probe import find_bubblewrap, probe
from node.sandbox.cgroup import Cgroups, claim_at
from node.sandbox.command_line import Limits, view_toolchain
from node.sandbox.remains import RunFault, RunOutcome, UnpackedToolchain
from node.sandbox.seats import own_user_namespace
from node.sandbox.wiping import wipe
from node.user import User, become
from tests.attacks import enclosure
from tests.conftest import needs
from tests.support.sandbox_toolchain import GENTLE, Farm, make_job, make_small_toolchain

# What a job is given where a test does not say otherwise: little, so that an attack that is not stopped by its
# limit is stopped by the amounts that it is written for.
LIMITS = replace(GENTLE, wall_s=10.0, memory_bytes=96 << 20, tasks=64, files=2000)
_PROGRAM = "/attack"
_STRAY_FD = 99
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")
# A node removes what a job left beside its other work.
_WIPED_WITHIN_S = 5.0

HEADERS = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#define MB (1 << 20)
"""


@dataclass(frozen=True)
class Attacked:
    """What came of an attack: the fault that stopped it or its exit status, and what it printed."""

    fault: str
    detail: str
    status: int
    stdout: str
    peak_bytes: int
    modes: dict[str, int]  # of the enclosure's devices, afterwards
    changed: list[str]  # of the node's files that a sandbox is made of, or shows
    left: list[str]  # what jobs wrote that is still on the node's disk


def attack(
    body: str,
    *,
    user: int = 0,
    neighbours: int = 0,
    is_state_without_devices: bool = False,
    executable: str = _PROGRAM,
    cwd: str = "",
    links: Mapping[str, str] | None = None,
    **limits: float,
) -> Attacked:
    """Run `int main` with this body as a job of a node of this user's, who has so many other processes too.
    `executable`, `cwd` and `links`, its symlinks, are the job's: where the first is another program, it is
    loaded with the attack as a library. `limits` are over LIMITS. The user owns bubblewrap."""
    needs("gcc")  # for functions within functions
    if reason := enclosure.why_not():
        pytest.skip(reason)
    if user and not enclosure.is_for_all_users():
        pytest.skip("no interpreter of this version that another user can start")
    directory = tempfile.mkdtemp(prefix="zcc-attack-")
    try:
        os.chmod(directory, 0o755)
        request = {"body": body, "user": user, "neighbours": neighbours}
        request |= {"limits": limits, "directory": directory, "nodev": is_state_without_devices}
        request |= {"executable": executable, "cwd": cwd, "links": dict(links or {})}
        done = enclosure.run_module("tests.attacks.job", json.dumps(request))
    finally:
        # The node's thread that removes what a job leaves may have ended with its process, half-way down.
        wipe(os.fsencode(directory))
    assert done.returncode == 0, done.stderr
    return Attacked(**json.loads(done.stdout.splitlines()[-1]))


def attempts(bodies: Mapping[str, str]) -> str:
    """A body that makes one attempt after the other, and prints the names of those that got through: that
    returned something else than 0."""
    lines = []
    for number, (name, body) in enumerate(bodies.items()):
        lines.append(f"int attempt{number}(void) {{ {body} }}")
        lines.append(f'if (attempt{number}()) puts("{name}");')
    return "\n".join([*lines, "return 0;"])


def make_attack_toolchain(directory: str, text: str) -> UnpackedToolchain:
    """The attack, its libraries and nothing else."""
    source, program = f"{directory}/attack.c", f"{directory}/attack"
    with open(source, "w") as file:
        file.write(text)
    subprocess.run(["gcc", "-O0", "-w", "-pthread", source, "-o", program], check=True)
    root = f"{directory}/toolchain"
    make_small_toolchain(root, program, _PROGRAM)
    return UnpackedToolchain(os.fsencode(root), view_toolchain(os.fsencode(root)))


def _preload(root: str, directory: str, text: str, program: str) -> None:
    """Have this program, and all others below `root`, begin and end with the attack."""
    begin = "__attribute__((constructor)) static void begin(void) { int s = main(); fflush(stdout); _exit(s); }"
    with open(f"{directory}/library.c", "w") as file:
        file.write(f"{text}\n{begin}\n")
    library = [f"{directory}/library.c", "-o", f"{root}/attack.so"]
    subprocess.run(["gcc", "-w", "-shared", "-fPIC", *library], check=True)
    os.makedirs(f"{root}/etc")
    with open(f"{root}/etc/ld.so.preload", "w") as file:
        file.write("/attack.so\n")
    needed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = [path for path in needed.split() if os.path.isabs(path)]
    libc = next(path for path in libraries if os.path.basename(path) == "libc.so.6")
    for path in libraries:
        place = root + os.path.realpath(os.path.dirname(libc)) + "/" + os.path.basename(path)
        if not os.path.exists(place):
            shutil.copy2(path, place)


def _own_bubblewrap(directory: str, uid: int) -> str:
    """Have the user own what stands for bubblewrap in this enclosure; its path."""
    path = find_bubblewrap()
    own = shutil.copy2(path, f"{directory}/bubblewrap")
    os.chown(own, uid, uid)
    subprocess.run(["mount", "--bind", own, path], check=True)
    return path


def _state_of(paths: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """What a job may not change of these files. Links come and go with input trees."""
    found = {path: os.stat(path) for path in paths}
    return {
        path: (each.st_mode, each.st_uid, each.st_gid, each.st_size, each.st_mtime_ns)
        for path, each in found.items()
    }


def _claim_cgroups() -> Cgroups | str:
    """Control groups for jobs, where $ZCC_TEST_CGROUP names a group in which groups can be made."""
    parent = os.environ.get("ZCC_TEST_CGROUP")
    if parent is None:
        return "not asked for"
    group = f"{parent}/zcc-attack-{time.monotonic_ns()}"
    os.mkdir(group)
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write("0")  # this process, whatever its number is outside
    return claim_at(group, os.getpid())


def _main(request: str) -> None:
    asked = json.loads(request)
    limits: Limits = replace(LIMITS, **asked["limits"])
    directory = asked["directory"]
    text = f"{HEADERS}\nint main(void) {{\n{asked['body']}\n}}\n"
    toolchain = make_attack_toolchain(directory, text)
    bubblewrap = _own_bubblewrap(directory, asked["user"])
    if asked["executable"] != _PROGRAM:
        _preload(os.fsdecode(toolchain.root), directory, text, bubblewrap)
    place = os.path.join(directory, "node")
    os.mkdir(place)
    if asked["nodev"]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nodev", "none", place], check=True)
        # Where the devices lie then; the machine's own is left alone.
        subprocess.run(["mount", "-t", "tmpfs", "none", "/var/lib"], check=True)
    os.mkdir(place + "/src")
    with open(place + "/src/input", "w") as file:
        file.write("an input\n")
    # As a shell may have left something open to what it starts.
    os.dup2(os.open("/", os.O_RDONLY | os.O_DIRECTORY), _STRAY_FD)
    cgroups = _claim_cgroups()
    if asked["user"]:
        if isinstance(cgroups, Cgroups):
            cgroups.give_to(asked["user"])
        become(User("attacked", asked["user"], asked["user"]), place)
    own_user_namespace()
    # They end with the enclosure.
    for _ in range(asked["neighbours"]):
        subprocess.Popen(["sleep", "60"])
    farm = Farm(place, toolchain, probe(place, cgroups=cgroups))
    job = make_job(farm.store, [b"true"], os.fsencode(place) + b"/src", inputs=[b"input"])
    cwd = os.fsencode(asked["cwd"]) or job.cwd
    links = ((os.fsencode(path), os.fsencode(target)) for path, target in asked["links"].items())
    symlinks = tuple(sorted((*job.manifest.symlinks, *links)))
    job = replace(job, executable=os.fsencode(asked["executable"]), argv=(b"attack",), cwd=cwd)
    job = replace(job, manifest=replace(job.manifest, symlinks=symlinks))
    blobs = glob.glob(f"{place}/blobs/**", recursive=True)
    root = os.fsdecode(toolchain.root)
    shown = [bubblewrap, farm.sandbox.shim, root + _PROGRAM, *filter(os.path.isfile, blobs)]
    before = _state_of(shown)
    outcome = farm.run(job, limits)
    after = _state_of(shown)
    farm.close()
    until = time.monotonic() + _WIPED_WITHIN_S
    while left := [name for name in os.listdir(place) if name.startswith("scratch")]:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    done = outcome if isinstance(outcome, RunOutcome) else None
    fault = outcome if isinstance(outcome, RunFault) else None
    print(
        json.dumps(
            {
                "fault": fault.fault.value if fault else "",
                "detail": fault.detail if fault else "",
                "status": done.exit_status if done else 0,
                "stdout": done.stdout.decode() if done else "",
                "peak_bytes": done.usage.peak_bytes if done else 0,
                "modes": {path: os.stat(path).st_mode & 0o7777 for path in _DEVICES},
                "changed": [path for path in shown if before[path] != after[path]],
                "left": left,
            }
        )
    )


if __name__ == "__main__":
    _main(sys.argv[1])
