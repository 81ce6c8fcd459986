"""What is told of a launcher by its process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from zcc.agent.launchers import peer
from zcc.agent.launchers.peer import UNHURRIED_S, Caller, CompilerState, Looks

# argv: the descriptor to say a byte on; a directory to make the root.
CODE = """
import os, sys
for directory in sys.argv[2:]:
    os.chroot(directory)
os.write(int(sys.argv[1]), b"x")
os.read(0, 1)
"""


@contextmanager
def process(*before: str, root: str = "", **streams: Any) -> Iterator[Caller]:
    """A process, under the command `before`, that waits until it is left."""
    told, tell = os.pipe()
    command = [*before, sys.executable, "-c", CODE, str(tell), *filter(None, [root])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(tell,), **streams) as child:
        os.close(tell)
        try:
            assert os.read(told, 1) == b"x"
            yield Caller(child.pid)
        finally:
            os.close(told)
            child.kill()


def caller_pid(caller: Caller) -> int:
    return caller._pid


def test_a_process_of_ours_sees_our_files() -> None:
    with process() as caller:
        assert caller.sees_our_files()


def test_a_process_in_another_mount_namespace_does_not() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel gives no user namespaces")
    with process(*unshare) as caller:
        assert not caller.sees_our_files()


def test_a_process_with_another_root_does_not(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("chroot is for root")
    with process(root="/") as caller:
        assert caller.sees_our_files()
    with process(root=str(tmp_path)) as caller:
        assert not caller.sees_our_files()


def test_a_process_has_our_rights_with_our_groups_or_more() -> None:
    own = frozenset((os.getegid(), *os.getgroups()))
    with process() as caller:
        assert caller.has_our_rights()  # as /proc tells
        assert Caller(caller_pid(caller), own).has_our_rights()
        assert Caller(caller_pid(caller), own | {60_123}).has_our_rights()
        assert not Caller(caller_pid(caller), frozenset((60_123,))).has_our_rights()


def test_an_agent_makes_way_to_one_with_fewer_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    pid, namespace = os.getpid(), (0, 0)
    rights = peer._Rights(frozenset((1, 2)), 0, namespace)
    monkeypatch.setattr(peer, "_own_rights", lambda: rights)
    assert Caller(pid, frozenset((1,))).has_fewer_groups()
    assert not Caller(pid, frozenset((1, 2))).has_fewer_groups()
    assert not Caller(pid, frozenset((1, 3))).has_fewer_groups()  # the two would take turns
    assert not Caller(pid).has_fewer_groups()
    rights = peer._Rights(frozenset((1, 2)), 2, namespace)
    assert not Caller(pid, frozenset((1,))).has_fewer_groups()


def test_an_agent_that_may_write_little_makes_way_to_one_that_may_write_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = peer._own_rights().groups
    own, infinity = [0], resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (own[0], own[0]))
    with process() as free, process("sh", "-c", 'ulimit -f 8; exec "$@"', "sh") as held:
        free_pid, held_pid = caller_pid(free), caller_pid(held)
        assert Caller(free_pid, groups).may_write_more()
        assert Caller(held_pid, groups).may_write_more()
        assert not Caller(free_pid, groups | {60_123}).may_write_more()  # the two would take turns
        assert not Caller(free_pid).may_write_more()
        own[0] = resource.prlimit(held_pid, resource.RLIMIT_FSIZE)[1]
        assert not Caller(held_pid, groups).may_write_more()
        own[0] = infinity
        assert not Caller(free_pid, groups).may_write_more()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has such rights")
@pytest.mark.parametrize(
    "given_up",
    [
        ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"],
        ["setpriv", "--bounding-set", "-dac_read_search", "--inh-caps", "-dac_read_search"],
        ["unshare", "--user"],
    ],
)
def test_a_process_that_has_given_rights_up_has_not_ours(given_up: list[str]) -> None:
    if subprocess.run([*given_up, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel or its tools do not give that up")
    with process() as caller:
        assert caller.has_our_rights()
    with process(*given_up) as caller:
        assert not caller.has_our_rights()


def test_a_stopped_process_is_told_from_one_that_runs_or_has_ended() -> None:
    with process() as caller:
        pid = caller_pid(caller)
        now = time.monotonic()
        assert caller.standing(now) is CompilerState.RUNNING
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        assert caller.standing(now) is CompilerState.STOPPED
        os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, os.WCONTINUED)
        assert caller.standing(now) is CompilerState.RUNNING
        # One that has begun since is another process, to which the number has been given.
        assert caller.standing(now - 3600) is CompilerState.ENDED
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert caller.standing(now) is CompilerState.ENDED  # nobody has waited for it yet
    assert caller.standing(now) is CompilerState.ENDED
    assert Caller(0).standing(now) is CompilerState.RUNNING


def test_who_holds_slots_is_looked_at_when_somebody_waits_and_else_seldom() -> None:
    looks = Looks(100.0)
    assert looks.is_time(101.0, is_waited_for=True)
    assert not looks.is_time(102.0, is_waited_for=False)
    assert looks.is_time(101.0 + UNHURRIED_S, is_waited_for=False)


def test_of_a_process_that_cannot_be_seen_the_worst_is_thought() -> None:
    assert not Caller(0).sees_our_files()
    assert Caller(0).merges_streams()


def test_what_was_written_before_a_process_began_is_older_than_it(tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / str(number)
        path.touch()
        with process() as caller:
            age_s = caller.age_s()
            assert path.stat().st_ctime_ns <= time.time_ns() - age_s * 1e9
            time.sleep(0.2)
            assert 0.15 <= caller.age_s() - age_s < 10
    assert Caller(0).age_s() == 0


def test_two_streams_to_one_pipe_are_merged() -> None:
    with process(stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as caller:
        assert caller.merges_streams()
    with process(stdout=subprocess.PIPE, stderr=subprocess.PIPE) as caller:
        assert not caller.merges_streams()
    with process(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as caller:
        assert not caller.merges_streams()


def test_a_caller_is_as_nice_as_its_process() -> None:
    words = [sys.executable, "-c", "import os; os.nice(7); print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert Caller(process.pid).niceness() == min(own + 7, 19)
    assert Caller(0).niceness() == 0
    assert Caller(process.pid).niceness() == 0, "it has ended"
