"""Whom a node that root starts becomes, and when it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import user as user_module
from node.errors import NodeError
from node.user import ANY, OWN_NUMBER, ROOTS_STATE, User, choose_user, default_state
from tests.attacks.enclosure import interpreter, is_for_all_users

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody to become")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A directory that everybody can enter, where zcc counts as installed too."""
    with tempfile.TemporaryDirectory(prefix="zcc-user-") as directory:
        os.chmod(directory, 0o755)
        for module in ("sys.executable", "os.__file__", "zmq.__file__"):
            monkeypatch.setattr(f"node.user.{module}", "/usr/bin/env")
        monkeypatch.setattr(user_module, "__file__", "/usr/bin/env")
        yield directory


def no_account(name: str) -> User:
    raise NodeError(f"no {name} here")


@needs_root
def test_a_state_that_somebody_owns_names_the_user(place: str) -> None:
    state = f"{place}/state"
    os.mkdir(state)
    os.chown(state, 4711, 4712)
    assert choose_user("", state) == User("4711", 4711, 4712)


@needs_root
def test_without_an_account_a_number_of_its_own_does(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_module, "_named", no_account)
    expected = User(str(OWN_NUMBER), OWN_NUMBER, OWN_NUMBER)
    assert choose_user("", f"{place}/state") == choose_user(ANY, f"{place}/state") == expected


@needs_root
def test_a_user_can_be_named_by_name_and_number(place: str) -> None:
    by_name = choose_user("nobody", f"{place}/state")
    assert by_name is not None
    assert by_name == choose_user(str(by_name.uid), f"{place}/state")
    with pytest.raises(NodeError, match="no such user"):
        choose_user("nobody-at-all", f"{place}/state")


@needs_root
def test_a_state_that_cannot_be_reached_is_refused_with_the_command_that_mends_it(
    place: str,
) -> None:
    os.mkdir(f"{place}/home", 0o700)
    state = f"{place}/home/state"
    with pytest.raises(NodeError, match=rf"cannot enter {place}/home: .*mv {state} {ROOTS_STATE}"):
        choose_user("", state)
    assert choose_user(ANY, state) is None
    assert choose_user("root", state) is None


@needs_root
def test_an_installation_that_only_root_can_read_is_refused(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(f"{place}/venv", 0o700)
    monkeypatch.setattr("node.user.zmq.__file__", f"{place}/venv/zmq/__init__.py")
    with pytest.raises(NodeError, match=f"cannot enter {place}/venv, where zcc is installed"):
        choose_user("", f"{place}/state")


@needs_root
def test_root_of_a_user_namespace_is_somebody_outside_and_stays(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_module, "_is_nobody_outside", lambda: True)
    assert choose_user("", f"{place}/state") is None


def test_who_is_not_root_stays_and_cannot_be_asked(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert choose_user("", f"{place}/state") is None
    assert choose_user(ANY, f"{place}/state") is None
    with pytest.raises(NodeError, match="only root"):
        choose_user("nobody", f"{place}/state")


def test_roots_state_lies_where_others_can_enter_unless_there_is_an_older_one(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_state(place) == place
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_state(f"{place}/none") == ROOTS_STATE
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert default_state(f"{place}/none") == f"{place}/none"


BECOME = """
import ctypes, os, signal, sys
from node.user import User, become
libc = ctypes.CDLL(None)
libc.prctl(1, signal.SIGUSR1, 0, 0, 0)
become(User("x", 60606, 60607), sys.argv[1])
asked = ctypes.c_int()
libc.prctl(2, ctypes.byref(asked), 0, 0, 0)
assert asked.value == signal.SIGUSR1, asked.value
assert (os.getresuid(), os.getresgid(), os.getgroups()) == ((60606,) * 3, (60607,) * 3, [])
open(sys.argv[1] + "/sub/new", "w").close()
try:
    os.setresuid(0, 0, 0)
except PermissionError:
    print("for good")
"""


@needs_root
def test_becoming_is_for_good_and_takes_the_state_along(place: str) -> None:
    if not is_for_all_users():
        pytest.skip("no interpreter of this version that another user can start")
    state = f"{place}/state"
    os.makedirs(f"{state}/sub")
    os.symlink("/etc", f"{state}/link")
    etc = os.stat("/etc")
    path = os.pathsep.join(entry for entry in (os.getcwd(), *sys.path) if entry)

    def begin() -> tuple[str, str]:
        done = subprocess.run(
            [interpreter(), "-c", BECOME, state], capture_output=True, text=True, check=False,
            env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        return done.stdout, done.stderr

    assert begin() == ("for good\n", "")
    assert {os.lstat(f"{state}/{name}").st_uid for name in ("", "sub", "sub/new", "link")} == {
        60606
    }
    assert os.stat("/etc").st_uid == etc.st_uid

    # What root puts there later is given too, but nothing that is somebody's elsewhere.
    for name in ("farm.toml", "elsewhere"):
        Path(state, name).touch()
    os.link(f"{state}/elsewhere", f"{place}/elsewhere")
    assert begin() == ("for good\n", "")
    assert os.stat(f"{state}/farm.toml").st_uid == 60606
    assert os.stat(f"{place}/elsewhere").st_uid == 0
