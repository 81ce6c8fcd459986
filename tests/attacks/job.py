"""Runs an attack as a job: a C program is the job's executable, and the node's own Runner runs it.

As a program, inside an enclosure: reads the request from its arguments, prints what came of the job and in
what state the enclosure is afterwards. As a module, for the tests: `attack` does that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from node.cgroup import Cgroups, claim_at
from node.probe import probe
from node.remains import RunOutcome, Toolchain
from node.sandbox import Limits, view_toolchain
from node.seats import own_user_namespace
from node.user import User, become
from node.wiping import wipe
from tests.attacks import enclosure
from tests.conftest import needs
from tests.unit.sandbox_toolchain import GENTLE, Farm, make_job, make_small_toolchain

# What a job is given where a test does not say otherwise: little, so that an attack that is not stopped by its
# limit is stopped by the amounts that it is written for.
LIMITS = replace(GENTLE, wall_s=10.0, memory_bytes=96 << 20, tasks=64, files=2000)
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
    left: list[str]  # what jobs wrote that is still on the node's disk


def attack(
    body: str,
    *,
    user: int = 0,
    neighbours: int = 0,
    is_state_without_devices: bool = False,
    **limits: float,
) -> Attacked:
    """Run `int main` with this body as a job of a node of this user's, who has so many other processes too.
    `limits` are over LIMITS."""
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


def make_attack_toolchain(directory: str, text: str) -> Toolchain:
    """The attack, its libraries and nothing else."""
    source, program = f"{directory}/attack.c", f"{directory}/attack"
    with open(source, "w") as file:
        file.write(text)
    subprocess.run(["gcc", "-O0", "-w", "-pthread", source, "-o", program], check=True)
    root = f"{directory}/toolchain"
    make_small_toolchain(root, program, "/attack")
    return Toolchain(os.fsencode(root), view_toolchain(os.fsencode(root)))


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
    place = os.path.join(directory, "node")
    os.mkdir(place)
    if asked["nodev"]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nodev", "none", place], check=True)
        # Where the devices lie then; the machine's own is left alone.
        subprocess.run(["mount", "-t", "tmpfs", "none", "/var/lib"], check=True)
    os.mkdir(place + "/src")
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
    job = make_job(farm.store, [b"true"], os.fsencode(place) + b"/src")
    job = replace(job, executable=b"/attack", argv=(b"attack",))
    outcome = farm.run(job, limits)
    farm.close()
    until = time.monotonic() + _WIPED_WITHIN_S
    while left := [name for name in os.listdir(place) if name.startswith("scratch")]:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    is_done = isinstance(outcome, RunOutcome)
    print(
        json.dumps(
            {
                "fault": "" if is_done else outcome.fault.value,
                "detail": "" if is_done else outcome.detail,
                "status": outcome.exit_status if is_done else 0,
                "stdout": outcome.stdout.decode() if is_done else "",
                "peak_bytes": outcome.usage.peak_bytes if is_done else 0,
                "modes": {path: os.stat(path).st_mode & 0o7777 for path in _DEVICES},
                "left": left,
            }
        )
    )


if __name__ == "__main__":
    _main(sys.argv[1])
