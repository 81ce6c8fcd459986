"""Several users on one machine: nobody reaches or leads another's agent; and names that others can guess."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import needs
from zcc.agent.launchers import control
from zcc.agent.launchers.wire import encode_result

ROOT = Path(__file__).parents[2]
SITE = next(path for path in sys.path if path.endswith("site-packages"))
OTHER = 65534  # nobody
PATIENCE_S = 30
BODY = struct.pack("<IIHHII", 0, 0o022, 0, 0, 2, 1) + b"/\0gcc\0/usr/bin/gcc\0-c\0a.c\0PATH=/bin\0"
REQUEST = struct.pack("<4sI", b"ZCC\1", len(BODY)) + BODY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


@dataclass
class User:
    """Somebody with a home of his own and the programs that all share."""

    number: int
    root: Path
    programs: Path

    def __post_init__(self) -> None:
        for name in ("home", "project"):
            (self.root / name).mkdir(parents=True)
            os.chown(self.root / name, self.number, self.number)
        (self.root / "project" / "a.c").write_text(f"int of_user_{self.number};\n")

    @property
    def place(self) -> Path:
        """Where the agent's socket is: no runtime directory, so in the home."""
        return self.root / "home" / ".local" / "state" / "zcc"

    @property
    def socket(self) -> Path:
        return self.place / f"agent.{os.uname().nodename}.sock"

    def compile(
        self, groups: tuple[int, ...] = (), **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.programs / "zcc", "gcc", "-c", "a.c"],
            cwd=self.root / "project",
            env={
                "PATH": f"{self.programs}:/usr/bin:/bin",
                "HOME": str(self.root / "home"),
                **variables,
            },
            user=self.number,
            group=self.number,
            extra_groups=groups,
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def become(self, work: Callable[[], object]) -> int:
        """What `work` comes to in a process of this user's; 0: it held."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(self.number)
                os.setuid(self.number)
                status = 0 if work() else 2
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def stop(self) -> None:
        self.become(lambda: control.ask(str(self.socket), {"op": "stop"}) or True)
        deadline = time.monotonic() + PATIENCE_S
        while self.socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)


@pytest.fixture
def users() -> Iterator[list[User]]:
    """Root and nobody, in a directory that both can enter."""
    needs("gcc")
    place = Path(tempfile.mkdtemp(prefix="zcc-users-"))
    place.chmod(0o755)
    programs = place / "bin"
    programs.mkdir()
    sources = sorted(map(str, (ROOT / "zcc" / "launcher").glob("*.c")))
    subprocess.run(["cc", "-O1", "-o", programs / "zcc", *sources, "-lrt"], check=True)
    found = [User(number, place / str(number), programs) for number in (0, OTHER)]
    try:
        yield found
    finally:
        for user in found:
            user.stop()
        deadline = time.monotonic() + PATIENCE_S
        while place.exists() and time.monotonic() < deadline:  # an agent closes its files last
            shutil.rmtree(place, ignore_errors=True)


def install_agent(users: list[User]) -> None:
    """With a Python that every user may run."""
    python = "/usr/bin/python3"
    needs("python3")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    program = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {SITE!r}]; import zmq, zcc.entrance"
    same = f"{program}; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
    if users[1].become(lambda: subprocess.run([python, "-c", same], check=True)) != 0:
        pytest.skip(f"the system's Python is not {version}, or other users cannot read {ROOT}")
    script = users[0].programs / "zcc-agent"
    script.write_text(f"#!{python}\n{program}\nsys.exit(zcc.entrance.main())\n")
    script.chmod(0o755)


def test_two_users_have_an_agent_each(users: list[User]) -> None:
    install_agent(users)
    pids = set()
    for user in users:
        done = user.compile()
        assert (done.returncode, done.stderr) == (0, b"")
        assert (user.root / "project" / "a.o").stat().st_uid == user.number
        assert user.socket.stat().st_uid == user.number
        assert stat.S_IMODE(user.place.stat().st_mode) == 0o700
        status = control.ask(str(user.socket), {"op": "status"}) if user.number == 0 else None
        assert user.number != 0 or status is not None
        for path in [user.place, *user.place.rglob("*")]:
            assert path.lstat().st_uid == user.number
            assert not path.lstat().st_mode & 0o077 or not stat.S_ISDIR(path.lstat().st_mode)
        pids.add(user.socket.stat().st_ino)
    assert len(pids) == 2


def test_a_call_with_fewer_groups_gets_an_agent_with_no_more(users: list[User]) -> None:
    """The first call came out of `sg`; the agent that it started could read files that others may not."""
    install_agent(users)
    user = users[1]
    agents = []
    for groups in ((60_001,), (60_001, 60_002), (), (60_001,), (60_002,)):
        done = user.compile(groups)
        assert (done.returncode, done.stderr) == (0, b"")
        status = user.socket.stat()
        agents.append((status.st_ino, status.st_ctime_ns))
    assert agents[0] == agents[1] != agents[2]
    assert agents[2] == agents[3] == agents[4]


def test_anothers_agent_is_neither_reached_nor_obeyed(users: list[User]) -> None:
    """By its path, with the directory closed and then open: the compile is a plain one."""
    install_agent(users)
    root, other = users
    assert root.compile().returncode == 0
    for mode in (0o700, 0o755):
        root.place.chmod(mode)
        for parent in root.place.relative_to(root.root).parents:
            (root.root / parent).chmod(0o755)
        os.chmod(root.socket, 0o777)
        before = control.ask(str(root.socket), {"op": "stats"})
        done = other.compile(ZCC_SOCKET=str(root.socket))
        assert (done.returncode, done.stderr) == (0, b"")
        assert (other.root / "project" / "a.o").stat().st_uid == other.number
        after = control.ask(str(root.socket), {"op": "stats"})
        assert before is not None
        assert after is not None
        assert after["outcomes"] == before["outcomes"]


def test_an_agent_hears_its_own_user_only(users: list[User]) -> None:
    """Whoever gets as far as its socket gets the end of the connection, for calls and for questions."""
    install_agent(users)
    root, other = users
    assert root.compile().returncode == 0
    for directory in [root.place, *root.place.parents][:5]:
        directory.chmod(directory.stat().st_mode | 0o055)
    os.chmod(root.socket, 0o777)

    def knock() -> bool:
        for said in (REQUEST, control.HEAD.pack(control.MAGIC, 2) + b"{}"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(root.socket))
                try:
                    connection.sendall(said)
                    if connection.recv(100):
                        return False
                except (BrokenPipeError, ConnectionResetError):
                    pass
        return True

    assert other.become(knock) == 0
    assert root.become(lambda: not knock()) == 0


def test_a_launcher_does_not_obey_anothers_agent_in_its_own_directory(users: list[User]) -> None:
    """Only root could put one there; the rule is the same."""
    _, other = users
    other.place.mkdir(parents=True)
    for directory in (other.place, *list(other.place.parents)[:2]):
        os.chown(directory, other.number, other.number)
        directory.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(other.socket))
        other.socket.chmod(0o777)
        foreign.listen()
        foreign.settimeout(0)
        done = other.compile()
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"of_user_" in (other.root / "project" / "a.o").read_bytes()
        connection, _ = foreign.accept()
        assert connection.recv(100) == b""
        connection.close()
    other.socket.unlink()


@pytest.mark.parametrize("count", [1, 200])
def test_a_name_that_others_can_guess_leads_a_launcher_nowhere(
    users: list[User], count: int
) -> None:
    """The temporary file beside an output: whoever may write there can put a symlink in its place."""
    needs("unshare")
    root, _ = users
    project, victim = root.root / "project", root.root / "victim"
    victim.write_text("untouched")
    for attempt in range(count):  # a process of its own namespace has a number that is known
        (project / f".a.o.zcc-1-{attempt * 4096}").symlink_to(victim)
    root.place.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(root.socket))
        agent.listen()
        with subprocess.Popen(
            ["unshare", "--pid", "--fork", root.programs / "zcc", "gcc", "-c", "a.c"],
            cwd=project,
            env={"PATH": "/usr/bin:/bin", "HOME": str(root.root / "home")},
        ) as process:
            connection, _ = agent.accept()
            output = os.fsencode(project / "a.o")
            with connection:
                connection.recv(1 << 20)
                # A launcher that finds no free name hangs up before it has read all of the result.
                with contextlib.suppress(BrokenPipeError):
                    for piece in encode_result(0, [(output, 0o666, b"from the farm")], b"", b""):
                        connection.sendall(piece)
                assert process.wait(PATIENCE_S) == 0
    root.socket.unlink()
    assert victim.read_text() == "untouched"
    made = (project / "a.o").read_bytes()
    assert (made == b"from the farm") == (count == 1)
    assert made == b"from the farm" or b"of_user_" in made
