"""A node that is killed while a job begins. Run inside an enclosure: prints what is left of the job, by when.

bubblewrap has its options, and the node is dead, before it binds its life to the node's. The job would run for
ever; its node's keeper, or the next node's start, ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import replace

from node.probe import probe
from node.sandbox.command_line import Limits
from node.sandbox.keeper import MARK, end_left, kept, mark_of
from node.sandbox.seats import own_user_namespace
from node.sandbox.spawning import Start
from node.user import User, become
from tests.attacks.job import HEADERS, make_attack_toolchain
from tests.support.sandbox_toolchain import Farm, make_job

_USER = User("attacked", 61234, 61234)
_BEGUN_WITHIN_S = 20.0
_GONE_WITHIN_S = 10.0
_HELD_S = 60.0  # it ends with the enclosure


def _left() -> list[str]:
    """The names of what runs of jobs: bubblewraps and attacks."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name in ("bwrap", "attack") and rest.split()[0] not in "ZX":
            found.append(name)
    return sorted(found)


def _wait_left(is_wanted: bool, within_s: float) -> list[str]:
    """What is left, as soon as a job's program is among it, or when nothing is."""
    until = time.monotonic() + within_s
    while (("attack" in _left()) if is_wanted else not _left()) is False:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return _left()


def _hold(handles: set[int]) -> None:
    """Keep open what bubblewrap would die of if nobody had it, and nothing of the node's."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in handles:
            with contextlib.suppress(OSError):
                os.close(int(name))
    time.sleep(_HELD_S)
    os._exit(0)


def _node(place: str, farm: Farm) -> None:
    """The node's life: it ends in the midst of the job's start."""
    job = make_job(farm.store, [b"true"], os.fsencode(place) + b"/src")
    job = replace(job, executable=b"/attack", argv=(b"attack",))
    tell, node = Start.tell, os.getpid()

    def die_and_tell(self: Start, options: list[bytes]) -> None:
        if not os.fork():
            while os.getppid() == node:
                time.sleep(0.01)
            tell(self, options)
            _hold({self.info, self.stdout, self.stderr})
        os.kill(node, signal.SIGKILL)

    Start.tell = die_and_tell  # type: ignore[method-assign]
    farm.run(job, Limits(free_disk_bytes=1 << 20))


def _main(directory: str, is_kept: bool) -> None:
    toolchain = make_attack_toolchain(directory, HEADERS + "int main(void) { for (;;) pause(); }")
    place = os.path.join(directory, "node")
    os.mkdir(place)
    become(_USER, place)
    os.mkdir(place + "/src")
    sandbox = probe(place)
    node = os.fork()
    if not node:
        os.setsid()
        own_user_namespace()
        if not is_kept:
            _node(place, Farm(place, toolchain, sandbox))
        with kept(sandbox.mark):
            _node(place, Farm(place, toolchain, sandbox))
    os.waitpid(node, 0)
    told = {"begun": [] if is_kept else _wait_left(True, _BEGUN_WITHIN_S)}
    told["ended"] = [] if is_kept else [MARK.decode()] * bool(end_left(mark_of(place)))
    told["left"] = _wait_left(False, _GONE_WITHIN_S)
    print(json.dumps(told))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2] == "kept")
