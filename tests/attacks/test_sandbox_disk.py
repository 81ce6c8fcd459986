"""A job that fills the disk of a node, within its own limits, goes alone.

As a program, inside an enclosure: runs one that does beside one that waits, and prints what came of both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace

import pytest

from node.probe import probe
from node.sandbox.remains import RunFault, RunOutcome
from node.sandbox.runner import JobRun
from node.sandbox.seats import job_threads
from node.sandbox.wiping import wipe
from tests.attacks import enclosure
from tests.attacks.job import HEADERS, LIMITS, make_attack_toolchain
from tests.conftest import needs
from tests.support.sandbox_toolchain import Farm, make_job

_DISK_MIB, _FREE_MIB = 512, 256
_JOBS = f"""{HEADERS}
int main(int count, char **words) {{
    if (!strcmp(words[1], "fill")) {{
        static char b[MB]; int f = open("big", O_CREAT | O_WRONLY, 0600);
        for (int i = 0; i < {_DISK_MIB - 64}; i++) write(f, b, MB);
        sleep(20);
    }}
    int f = open("small", O_CREAT | O_WRONLY, 0600); write(f, words, 8);
    sleep(4);
    return 0;
}}
"""


def test_a_job_that_fills_the_disk_takes_no_other_with_it() -> None:
    needs("gcc")
    if reason := enclosure.why_not():
        pytest.skip(reason)
    directory = tempfile.mkdtemp(prefix="zcc-attack-")
    try:
        done = enclosure.run_module("tests.attacks.test_sandbox_disk", directory)
    finally:
        wipe(os.fsencode(directory))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"fill": "resources", "wait": "exit 0"}


def _main(directory: str) -> None:
    toolchain = make_attack_toolchain(directory, _JOBS)
    place = os.path.join(directory, "node")
    os.mkdir(place)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "none", place]
    subprocess.run(mount, check=True)
    os.mkdir(place + "/src")
    farm, threads = Farm(place, toolchain, probe(place)), job_threads(2)
    job = make_job(farm.store, [b"true"], os.fsencode(place) + b"/src")
    limits = replace(LIMITS, wall_s=30.0, written_bytes=1 << 30, file_bytes=1 << 30)
    limits = replace(limits, free_disk_bytes=_FREE_MIB << 20)

    def run_of(word: str) -> JobRun:
        tree = farm.pool.acquire(word.encode())
        own = replace(job, executable=b"/attack", argv=(b"attack", word.encode()))
        tree.fit(own.manifest)
        scratch = os.fsencode(place) + b"/scratch-" + word.encode()
        return farm.runner.prepare(own, toolchain, tree.root, scratch=scratch, limits=limits)

    # The one that waits is older: where nobody knows who has written most, it would go first.
    both = {word: threads.submit(run_of(word).carry_out) for word in ("wait", "fill")}
    print(json.dumps({word: _told(each.result()) for word, each in sorted(both.items())}))
    farm.close()


def _told(outcome: RunOutcome | RunFault) -> str:
    if isinstance(outcome, RunFault):
        return outcome.fault.value
    return f"exit {outcome.exit_status}"


if __name__ == "__main__":
    _main(sys.argv[1])
