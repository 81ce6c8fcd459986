"""What a job's thread keeps from the others': the mask of file modes, the network, the host name."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from node.sandbox import seats
from node.sandbox.command_line import Sandbox, SandboxMode
from tests.support.sandbox_toolchain import Farm, make_job, shared_toolchain

SOMEBODY = 60888


def _network() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def _seen_from_a_seat(gate: threading.Barrier) -> tuple[str, str, int, bool]:
    gate.wait()  # so that each has a seat of its own
    mask = os.umask(0)
    return _network(), socket.gethostname(), mask, seats.has_own_network()


def _look(count: int) -> list[tuple[str, str, int, bool]]:
    gate = threading.Barrier(count)
    with seats.job_threads(count) as threads:
        looks = [threads.submit(_seen_from_a_seat, gate) for _ in range(count)]
        return [look.result() for look in looks]


def _as_somebody(check: str) -> None:
    """Run a function of this module in a process of another user, who may become nobody else."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
            os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
            globals()[check]()
        except BaseException as error:  # noqa: BLE001 - told as an exit status
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _check_what_a_user_may_not() -> None:
    assert not _look(1)[0][3]


def _check_what_a_user_namespace_changes() -> None:
    network, name = _network(), socket.gethostname()
    if not seats.own_user_namespace():
        return  # none for such users on this machine
    assert (os.getuid(), os.geteuid(), os.getgid()) == (SOMEBODY, SOMEBODY, SOMEBODY)
    locked = Path(f"/tmp/zcc-locked-{os.getpid()}")
    locked.mkdir(0)
    try:
        with seats.job_threads(1) as threads:
            with pytest.raises(PermissionError):
                os.listdir(locked)
            with pytest.raises(PermissionError):
                threads.submit(os.listdir, locked).result()
            said = threads.submit(Path("/proc/thread-self/status").read_text).result()
    finally:
        locked.rmdir()
    assert "CapPrm:\t0000000000000000" in said
    (other, own_name, _, has_network) = _look(1)[0]
    assert has_network
    assert (other != network, own_name) == (True, "zcc")
    assert (_network(), socket.gethostname()) == (network, name)
    with pytest.raises(OSError, match="Invalid argument"):  # there is nobody of that number
        os.setuid(0)
    with pytest.raises(PermissionError):
        Path("/etc/shadow").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody")
def test_in_a_user_namespace_of_its_own_a_node_has_seats_and_no_more_rights() -> None:
    _as_somebody("_check_what_a_user_may_not")
    _as_somebody("_check_what_a_user_namespace_changes")


@pytest.mark.skipif(os.geteuid() != 0, reason="a user has to be in a namespace of his own")
def test_no_two_seats_share_a_network_and_none_is_this_process() -> None:
    network, name, mask = _network(), socket.gethostname(), os.umask(0o022)
    os.umask(mask)
    looks = _look(2)
    assert len({network, *(look[0] for look in looks)}) == 3
    assert [look[1:] for look in looks] == [("zcc", 0, True)] * 2
    assert (_network(), socket.gethostname(), os.umask(mask)) == (network, name, mask)


def test_where_a_network_is_restricted_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "restricted").write_text("1\n")
    monkeypatch.setattr(seats, "_RESTRICTED", str(tmp_path / "restricted"))
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it was tried"))
    assert not seats.own_user_namespace()


@pytest.mark.parametrize("has_own_network", [True, False])
@pytest.mark.parametrize("mode", list(SandboxMode))
def test_a_network_is_made_where_there_is_none(mode: SandboxMode, has_own_network: bool) -> None:
    options = Sandbox("bwrap", "shim", "filter", mode)._isolation(has_own_network)
    assert (b"--unshare-net" in options) == (not has_own_network)
    assert (b"--unshare-uts" in options) == (not has_own_network)
    assert {b"--unshare-user", b"--unshare-pid", b"--unshare-ipc"} <= set(options)


@pytest.mark.parametrize("has_own_network", [True, False])
def test_a_job_is_in_an_empty_network_whoever_made_it(
    tmp_path: Path, has_own_network: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_own_network:
        monkeypatch.setattr("node.sandbox.runner.has_own_network", lambda: False)
    farm = Farm(str(tmp_path), shared_toolchain())
    (tmp_path / "p").mkdir()
    cwd = os.fsencode(tmp_path / "p")
    outcome = farm.succeed(make_job(farm.store, [b"cat", b"/proc/self/net/dev"], cwd))
    farm.close()
    names = [line.split(b":")[0].strip() for line in outcome.stdout.splitlines()[2:]]
    assert names == [b"lo"]
