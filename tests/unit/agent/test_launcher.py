"""The launcher against a fake agent: the real program, real sockets, real signals."""

from __future__ import annotations

import ast
import fcntl
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import needs
from zcc.agent.launchers.starting import last_failure, tell_slots
from zcc.agent.launchers.wire import (
    INTO,
    Request,
    RequestReader,
    encode_fail,
    encode_restart,
    encode_result,
    encode_run,
    encode_wait,
    encode_withdraw,
)

SOURCES = sorted((Path(__file__).parents[3] / "zcc" / "launcher").glob("*.c"))
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"]
# Of the launcher's names for what it has begun (outputs.c).
ATTEMPTS, STEP = 100, 4096
# `make sanitize`: what is out of bounds, freed or undefined ends the launcher, and so the test.
SANITIZERS = os.environ.get("ZCC_SANITIZERS", "").split()
PATIENCE_S = 20  # for what must happen; nothing waits that long unless it is broken
SAYS_WHO = 'echo "$(basename "$0") $*"\n'

Answer = Callable[[socket.socket, Request], None]


@pytest.fixture(scope="session", params=["cc", "musl-gcc"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher with the system's libc, and with the one that the package's build prefers."""
    compiler = request.param
    needs(compiler)
    path = tmp_path_factory.mktemp("launcher") / "zcc"
    if SANITIZERS and compiler == "musl-gcc":
        pytest.skip("gcc's sanitizers need glibc")
    options = ["-O1", *WARNINGS, "-Wno-sign-conversion", *SANITIZERS]
    command = [compiler, *options, "-o", str(path), *map(str, SOURCES), "-lrt"]
    if compiler == "musl-gcc":
        command.append("-static")
    subprocess.run(command, check=True)
    return path


class FakeAgent:
    """Listens where the launcher looks, and answers each request with `answer`."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.requests: list[Request] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        directory = os.open(path.parent, os.O_RDONLY)
        self._listener.bind(f"/proc/self/fd/{directory}/{path.name}")  # paths may be long
        os.close(directory)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        reader, request = RequestReader(), None
        while request is None:
            data = connection.recv(1 << 16)
            if not data:
                return
            request = reader.feed(data)
        self.requests.append(request)
        try:
            self._answer(connection, request)
        except (BrokenPipeError, ConnectionResetError):
            return


@dataclass
class Desk:
    """One user's world: programs in bin, compilers in tools, a project, a state directory."""

    root: Path
    program: Path
    agents: list[FakeAgent] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("bin", "tools", "project", "state"):
            (self.root / name).mkdir(mode=0o700)
        shutil.copy(self.program, self.root / "bin" / "zcc")
        shutil.copy(self.program, self.root / "bin" / "zcc++")
        self.environment = {
            "PATH": f"{self.root}/bin:{self.root}/tools:/usr/bin:/bin",
            "HOME": str(self.root),
            "ZCC_STATE_DIR": str(self.root / "state"),
            "LC_ALL": "C",
        }
        self.prefix = ["zcc"]

    @property
    def project(self) -> Path:
        return self.root / "project"

    def agent(self, answer: Answer, path: Path | None = None) -> FakeAgent:
        agent = FakeAgent(path or self.root / "state" / "agent.sock", answer)
        self.agents.append(agent)
        return agent

    def script(self, name: str, body: str, folder: str = "tools") -> Path:
        path = self.root / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}")
        path.chmod(0o755)
        return path

    def masquerade(self, name: str, folder: str = "masquerade") -> Path:
        path = self.root / folder / name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(self.root / "bin" / "zcc")
        return path

    def start(
        self, *words: str | bytes | Path, stdin: int = subprocess.DEVNULL, **variables: str
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._located(words[0]), *words[1:]],
            cwd=self.project,
            env=self.environment | variables,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str | bytes | Path, **variables: str) -> tuple[int, str, str]:
        with self.start(*words, stdin=subprocess.DEVNULL, **variables) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")

    def _located(self, word: str | bytes | Path) -> str | bytes | Path:
        return self.root / "bin" / word if word in ("zcc", "zcc++") else word


@pytest.fixture
def desk(tmp_path: Path, program: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, program)
    yield desk
    for agent in desk.agents:
        agent.close()


@pytest.fixture
def lonely(desk: Desk) -> Desk:
    """A desk where no agent listens and none may be started."""
    (desk.root / "state" / "agent.failed").touch()
    return desk


def answer_run(connection: socket.socket, request: Request) -> None:
    connection.sendall(encode_run(request.executable, request.argv[0] or b"cc"))


def answering(*pieces: bytes) -> Answer:
    def answer(connection: socket.socket, _: Request) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return answer


def result(*files: tuple[bytes, int, bytes], out: bytes = b"", err: bytes = b"") -> Answer:
    return answering(*encode_result(0, files, out, err))


# ---- who is called ----


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        (["zcc", "gcc-99", "-c", "x.c"], "gcc-99 -c x.c"),
        (["zcc", "-c", "x.c"], "cc -c x.c"),
        (["zcc", "x.c", "y.o"], "cc x.c y.o"),
        (["zcc", "sub/x.c"], "cc sub/x.c"),
        (["zcc", "@flags"], "cc @flags"),
        (["zcc++", "-c", "x.cc"], "c++ -c x.cc"),
        (["zcc++", "gcc-99", "-c"], "gcc-99 -c"),
        (["zcc++", "--version"], "c++ --version"),
        (["zcc", "zcc", "gcc-99", "x.c"], "gcc-99 x.c"),
        (["zcc", "zcc++", "-c", "x.cc"], "c++ -c x.cc"),
    ],
)
def test_the_first_word_says_which_compiler_is_meant(
    lonely: Desk, words: list[str], heard: str
) -> None:
    for name in ("gcc-99", "cc", "c++"):
        lonely.script(name, SAYS_WHO)
    assert lonely.run(*words) == (0, heard + "\n", "")


def test_the_default_compilers_are_the_environments_choice(lonely: Desk) -> None:
    lonely.script("clang-99", SAYS_WHO)
    assert lonely.run("zcc", "-c", ZCC_CC="clang-99")[1] == "clang-99 -c\n"
    assert lonely.run("zcc++", "-c", ZCC_CXX="clang-99")[1] == "clang-99 -c\n"


@pytest.mark.parametrize("words", [[], ["stats", "--json"], ["--help"], ["help"]])
def test_a_command_line_word_runs_the_command_line(lonely: Desk, words: list[str]) -> None:
    lonely.script("zcc-agent", SAYS_WHO, "bin")
    assert lonely.run("zcc", *words)[1].split() == ["zcc-agent", "cli", *words]


def test_the_command_line_may_be_elsewhere_on_path(lonely: Desk) -> None:
    lonely.script("zcc-agent", SAYS_WHO)
    assert lonely.run("zcc", "stats")[1] == "zcc-agent cli stats\n"


def test_without_its_python_program_the_launcher_says_so(lonely: Desk) -> None:
    code, out, err = lonely.run("zcc", "stats")
    assert (code, out) == (127, "")
    assert "reinstall zcc" in err


def test_a_masquerade_runs_the_compiler_behind_it(lonely: Desk) -> None:
    lonely.script("gcc-99", SAYS_WHO)
    lonely.masquerade("gcc-99")
    lonely.masquerade("gcc-99", "bin")  # a second one, also not to be taken
    path = f"{lonely.root}/masquerade:{lonely.environment['PATH']}"
    called = lonely.root / "masquerade" / "gcc-99"
    assert lonely.run(called, "-c", PATH=path) == (0, "gcc-99 -c\n", "")
    assert lonely.run("zcc", called, "-c", PATH=path) == (0, "gcc-99 -c\n", "")


def test_two_installations_do_not_take_turns(lonely: Desk) -> None:
    lonely.script("gcc-99", SAYS_WHO)
    first = lonely.masquerade("gcc-99")
    other = lonely.root / "other"
    (other / "bin").mkdir(parents=True)
    shutil.copy(lonely.program, other / "bin" / "zcc++")
    (other / "gcc-99").symlink_to("bin/zcc++")
    for places in (f"{first.parent}:{other}", f"{other}:{first.parent}"):
        path = f"{places}:{lonely.environment['PATH']}"
        for called in (first, other / "gcc-99"):
            assert lonely.run(called, "-c", PATH=path) == (0, "gcc-99 -c\n", "")


def test_a_masquerade_through_the_sibling_is_zcc_too(lonely: Desk) -> None:
    lonely.script("g++-99", SAYS_WHO)
    link = lonely.root / "masquerade" / "g++-99"
    link.parent.mkdir()
    link.symlink_to(lonely.root / "bin" / "zcc++")
    path = f"{link.parent}:{lonely.environment['PATH']}"
    assert lonely.run("zcc", "g++-99", PATH=path)[1] == "g++-99 \n"


def test_a_file_that_cannot_be_executed_does_not_hide_the_compiler(lonely: Desk) -> None:
    (lonely.root / "bin" / "gcc-99").write_text("")
    (lonely.root / "bin" / "clang-99").mkdir()
    lonely.script("gcc-99", SAYS_WHO)
    lonely.script("clang-99", SAYS_WHO)
    assert lonely.run("zcc", "gcc-99")[0] == 0
    assert lonely.run("zcc", "clang-99")[0] == 0


def test_a_compiler_keeps_the_name_it_was_called_by(lonely: Desk) -> None:
    shell = "/bin/sh"
    (lonely.root / "tools" / "gcc-99").symlink_to(shell)
    assert lonely.run("zcc", "gcc-99", "-c", "echo $0")[1] == "gcc-99\n"


def test_a_compiler_behind_a_masquerade_is_called_by_its_path(lonely: Desk) -> None:
    """gcc looks for its argv[0] on PATH, and takes what lies around it for its installation."""
    (lonely.root / "tools" / "gcc-99").symlink_to("/bin/sh")
    link = lonely.masquerade("gcc-99")
    path = f"{link.parent}:{lonely.environment['PATH']}"
    expected = f"{lonely.root}/tools/gcc-99\n"
    for command in ([link], ["zcc", "gcc-99"], ["zcc", link]):
        assert lonely.run(*command, "-c", "echo $0", PATH=path)[1] == expected


def test_a_masquerades_path_is_nothing_to_the_agent(desk: Desk) -> None:
    agent = desk.agent(result())
    desk.script("gcc-99", SAYS_WHO)
    link = desk.masquerade("gcc-99")
    path = f"{link.parent}:{desk.environment['PATH']}"
    for command in ([link], ["zcc", "gcc-99"], ["zcc", link]):
        assert desk.run(*command, "-c", PATH=path)[0] == 0
    assert {request.argv for request in agent.requests} == {(b"gcc-99", b"-c")}


def test_a_missing_compiler_ends_as_in_a_shell(desk: Desk) -> None:
    assert desk.run("zcc", "gcc-98") == (127, "", "zcc: gcc-98: command not found\n")
    assert desk.run("zcc", "./gcc-98") == (127, "", "zcc: ./gcc-98: command not found\n")


def test_a_compiler_that_may_not_be_executed_ends_as_in_a_shell(desk: Desk) -> None:
    (desk.root / "tools" / "gcc-98").write_text("")
    code, out, err = desk.run("zcc", "gcc-98", ZCC_DISABLE="1")
    assert (code, out, err) == (126, "", "zcc: gcc-98: Permission denied\n")


def test_a_compiler_that_calls_itself_through_zcc_ends_with_one_sentence(lonely: Desk) -> None:
    lonely.masquerade("gcc-99")
    lonely.script("gcc-99", 'echo turn; exec gcc-99 "$@"\n')
    path = f"{lonely.root}/masquerade:{lonely.environment['PATH']}"
    code, out, err = lonely.run("zcc", "gcc-99", PATH=path)
    assert code == 1
    assert out.count("turn") == 6
    assert err == (
        "zcc: gcc-99 calls itself through zcc, 6 deep: name the real compiler by its full path\n"
    )


def test_a_ccache_that_is_told_not_to_cache_is_passed_over(lonely: Desk) -> None:
    """It says so to whom it calls, and would look for the compiler on PATH again, where zcc is."""
    lonely.script("gcc-99", SAYS_WHO)
    links = lonely.root / "ccache-links"
    links.mkdir()
    (links / "ccache-9.9").write_text("#!/bin/sh\necho ccache\n")
    (links / "ccache-9.9").chmod(0o755)
    (links / "gcc-99").symlink_to("ccache-9.9")
    path = f"{links}:{lonely.environment['PATH']}"
    assert lonely.run("zcc", "gcc-99", "-c", PATH=path)[1] == "ccache\n"
    assert lonely.run("zcc", "gcc-99", "-c", PATH=path, CCACHE_DISABLE="1")[1] == "gcc-99 -c\n"


def test_a_compiler_behind_another_of_its_name_is_called_by_its_path(lonely: Desk) -> None:
    """gcc looks for its argv[0] on PATH as well, and would take what ccache brings for its own."""
    (lonely.root / "tools" / "gcc-99").symlink_to("/bin/sh")
    links = lonely.root / "ccache-links"
    links.mkdir()
    (links / "gcc-99").symlink_to("ccache")
    (links / "ccache").write_text("#!/bin/sh\n")
    (links / "ccache").chmod(0o755)
    path = f"{links}:{lonely.environment['PATH']}"
    said = lonely.run("zcc", "gcc-99", "-c", "echo $0", PATH=path, CCACHE_DISABLE="1")[1]
    assert said == f"{lonely.root}/tools/gcc-99\n"


def test_honest_nesting_is_no_recursion(lonely: Desk) -> None:
    lonely.script("gcc-99", SAYS_WHO)
    nested = ["zcc", "env", "zcc", "env", "zcc", "gcc-99", "-c"]
    assert lonely.run(*nested)[1] == "gcc-99 -c\n"


# ---- what the agent hears ----


def test_the_agent_hears_everything(desk: Desk) -> None:
    compiler = desk.script("gcc-99", "true")
    agent = desk.agent(answer_run)
    script = f"umask 027; exec {desk.root}/bin/zcc gcc-99 -c x.c ''"
    assert desk.run("/bin/sh", "-c", script, FLAVOUR="mint", UNCACHED_ERR_FD="2")[0] == 0
    request = agent.requests[0]
    assert request.argv == (b"gcc-99", b"-c", b"x.c", b"")
    assert request.executable == os.fsencode(compiler)
    assert request.cwd == os.fsencode(desk.project)
    assert request.environment[b"FLAVOUR"] == b"mint"
    assert request.umask == 0o027
    assert (request.terminal, request.stdin_is_terminal) == (None, False)
    assert (request.is_cxx, request.use_default, request.depth) == (False, False, 0)


class Ccache:
    """A shell of that name, which calls the launcher, waits, and says how that ended; or becomes it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._program = shutil.copy("/bin/sh", desk.root / "tools" / "ccache-9")
        desk.script("gcc-99", SAYS_WHO)

    def run(self, words: str, end: str = "; echo $?", **variables: str) -> str:
        script = (
            f"exec 7>&2; export UNCACHED_ERR_FD=7; {'' if end else 'exec '}zcc gcc-99 {words}{end}"
        )
        return self._desk.run(self._program, "-c", script, **variables)[1]


@pytest.mark.parametrize(
    ("words", "end", "is_named"),
    [
        ("-c -o x.o x.c", "; true", True),
        ("-S -o x.s -- x.c", "; true", True),
        ("-c -o x.o x.c", "", False),  # ccache has become it, and keeps nothing
        ("-c x.c", "; true", False),
        ("-E -o x.i x.c", "; true", False),
        ("-o x x.o", "; true", False),
    ],
)
def test_the_agent_hears_what_ccache_will_keep(
    desk: Desk, words: str, end: str, is_named: bool
) -> None:
    agent = desk.agent(answer_run)
    Ccache(desk).run(words, end)
    assert agent.requests[0].is_named is is_named


@pytest.mark.parametrize("there", ["nothing", "object", "link"])
def test_what_is_withdrawn_leaves_no_object_and_succeeds(desk: Desk, there: str) -> None:
    desk.agent(answering(encode_withdraw()))
    output = desk.project / "x.o"
    if there == "link":
        output.symlink_to("gone")
    elif there == "object":
        output.write_bytes(b"of before")
    assert Ccache(desk).run("-c -o x.o x.c") == "0\n"
    assert not os.path.lexists(output)


def test_what_cannot_be_withdrawn_is_compiled(desk: Desk) -> None:
    desk.agent(answering(encode_withdraw()))
    (desk.project / "x.o").mkdir()
    assert Ccache(desk).run("-c -o x.o x.c") == "gcc-99 -c -o x.o x.c\n0\n"
    assert desk.run("zcc", "gcc-99", "-c", "-o", "y.o", "y.c")[1] == "gcc-99 -c -o y.o y.c\n"


@pytest.mark.parametrize(("pause_s", "said"), [(0.0, "gcc-99 -c -o x.o x.c\n0\n"), (2.1, "0\n")])
def test_a_launcher_whose_agent_leaves_late_leaves_nothing_to_ccache(
    desk: Desk, pause_s: float, said: str
) -> None:
    desk.agent(lambda *_: time.sleep(pause_s))
    (desk.project / "x.o").write_bytes(b"of before")
    assert Ccache(desk).run("-c -o x.o x.c") == said
    assert (desk.project / "x.o").exists() is not (said == "0\n")


def test_the_default_compiler_is_left_to_the_agent(desk: Desk) -> None:
    default = desk.script("c++", "true")
    desk.script("clang-99", SAYS_WHO)
    agent = desk.agent(answering(encode_run(os.fsencode(desk.root / "tools/clang-99"), b"clang")))
    assert desk.run("zcc++", "-c", "x.cc")[1] == "clang-99 -c x.cc\n"
    request = agent.requests[0]
    assert (request.use_default, request.is_cxx) == (True, True)
    assert request.argv == (b"", b"-c", b"x.cc")
    assert request.executable == os.fsencode(default)


def test_arguments_are_bytes(desk: Desk) -> None:
    desk.script("gcc-99", 'printf %s "$1" | od -An -tx1\n')
    agent = desk.agent(answer_run)
    assert desk.run("zcc", "gcc-99", b"\xff\xfe \n\\'\"x")[1].split()[:3] == ["ff", "fe", "20"]
    assert agent.requests[0].argv[1] == b"\xff\xfe \n\\'\"x"


def test_a_large_command_line_goes_whole(desk: Desk) -> None:
    desk.script("gcc-99", 'echo "$#"\n')
    agent = desk.agent(answer_run)
    words = ["x" * 100_000] * 10
    assert desk.run("zcc", "gcc-99", *words)[1] == "10\n"
    assert agent.requests[0].argv[1:] == tuple(os.fsencode(word) for word in words)


def test_the_physical_directory_goes_to_the_agent(desk: Desk) -> None:
    desk.script("gcc-99", "true")
    agent = desk.agent(answer_run)
    (desk.root / "link").symlink_to(desk.project)
    script = f"cd {desk.root}/link && exec {desk.root}/bin/zcc gcc-99"
    assert desk.run("/bin/sh", "-c", script)[0] == 0
    assert agent.requests[0].cwd == os.fsencode(desk.project)
    assert agent.requests[0].environment[b"PWD"] == os.fsencode(desk.root / "link")


def test_a_terminal_is_told_with_its_size(desk: Desk) -> None:
    desk.script("gcc-99", "true")
    agent = desk.agent(answer_run)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 43, 132, 0, 0))
    command = [os.fspath(desk.root / "bin" / "zcc"), "gcc-99"]
    subprocess.run(command, env=desk.environment, stdin=theirs, stderr=theirs, check=True)
    os.close(ours)
    os.close(theirs)
    terminal = agent.requests[0].terminal
    assert terminal is not None
    assert (terminal.rows, terminal.columns) == (43, 132)
    assert agent.requests[0].stdin_is_terminal


def test_a_nested_launcher_says_so(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    agent = desk.agent(answer_run)
    assert desk.run("zcc", "env", "zcc", "gcc-99")[1] == "gcc-99 \n"
    assert [request.depth for request in agent.requests] == [0, 1]


# ---- where the agent is ----


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"ZCC_SOCKET": "{}/own/x.sock"}, "own/x.sock"),
        ({"ZCC_STATE_DIR": "{}/own"}, "own/agent.sock"),
        ({"ZCC_STATE_DIR": "", "XDG_RUNTIME_DIR": "{}/run"}, "run/zcc/agent.sock"),
        ({"ZCC_STATE_DIR": "", "XDG_STATE_HOME": "{}/own"}, "own/zcc/agent.HOST.sock"),
        ({"ZCC_STATE_DIR": ""}, ".local/state/zcc/agent.HOST.sock"),
        # The XDG specification: what is relative is to be ignored.
        ({"ZCC_STATE_DIR": "", "XDG_RUNTIME_DIR": "run"}, ".local/state/zcc/agent.HOST.sock"),
        ({"ZCC_STATE_DIR": "", "XDG_STATE_HOME": "own"}, ".local/state/zcc/agent.HOST.sock"),
    ],
)
def test_the_socket_is_where_the_environment_says(
    desk: Desk, variables: dict[str, str], place: str
) -> None:
    desk.script("gcc-99", "exit 3")
    path = desk.root / place.replace("HOST", os.uname().nodename)
    path.parent.mkdir(parents=True, mode=0o700)
    agent = desk.agent(answer_run, path)
    values = {name: value.format(desk.root) for name, value in variables.items()}
    assert desk.run("zcc", "gcc-99", **values)[0] == 3
    assert len(agent.requests) == 1


def test_a_home_that_is_relative_is_no_place_for_an_agent(desk: Desk) -> None:
    """There would be one in each directory in which something is compiled."""
    desk.script("gcc-99", "exit 3")
    before = set(os.listdir(desk.root))
    assert desk.run("zcc", "gcc-99", ZCC_STATE_DIR="", HOME=".")[0] == 3
    assert set(os.listdir(desk.root)) == before


def test_a_socket_path_may_be_long(desk: Desk) -> None:
    desk.script("gcc-99", "true")
    path = desk.root / ("d" * 100) / ("e" * 100) / "agent.sock"
    path.parent.mkdir(parents=True, mode=0o700)
    agent = desk.agent(answer_run, path)
    assert desk.run("zcc", "gcc-99", ZCC_SOCKET=str(path))[0] == 0
    assert len(agent.requests) == 1


def test_a_directory_that_others_can_write_is_not_trusted(desk: Desk) -> None:
    desk.script("gcc-99", "exit 3")
    agent = desk.agent(answer_run)
    (desk.root / "state").chmod(0o770)
    assert desk.run("zcc", "gcc-99")[0] == 3
    assert agent.requests == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_not_trusted(desk: Desk) -> None:
    desk.script("gcc-99", "exit 3")
    agent = desk.agent(answer_run)
    os.chown(desk.root / "state", 12345, -1)
    assert desk.run("zcc", "gcc-99")[0] == 3
    assert agent.requests == []


def test_a_disabled_launcher_asks_nobody(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    agent = desk.agent(answer_run)
    assert desk.run("zcc", "gcc-99", "-c", ZCC_DISABLE="1") == (0, "gcc-99 -c\n", "")
    assert agent.requests == []
    assert desk.run("zcc", "gcc-99", ZCC_DISABLE="0")[0] == 0
    assert len(agent.requests) == 1


# ---- RUN ----


def test_the_compiler_holds_its_slot_until_it_ends(desk: Desk) -> None:
    desk.script("gcc-99", "echo started; read line; exit 4\n")
    running, ended, seen = threading.Event(), threading.Event(), []

    def answer(connection: socket.socket, request: Request) -> None:
        answer_run(connection, request)
        assert running.wait(PATIENCE_S)
        connection.setblocking(False)
        try:
            seen.append(connection.recv(1))
        except BlockingIOError:
            seen.append(b"still open")
        ended.set()
        connection.setblocking(True)
        seen.append(connection.recv(1))

    agent = desk.agent(answer)
    with desk.start("zcc", "gcc-99", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"started\n"
        running.set()
        assert ended.wait(PATIENCE_S)
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 4
    agent.close()
    desk.agents.clear()
    assert seen == [b"still open", b""]


def test_the_slot_is_a_high_descriptor_and_the_only_one(desk: Desk) -> None:
    desk.script("gcc-99", "exec ls /proc/self/fd")
    desk.agent(answer_run)
    descriptors = {int(word) for word in desk.run("zcc", "gcc-99")[1].split()}
    assert descriptors == {0, 1, 2, 3, 100}  # 3 is ls's own


def test_a_script_that_does_not_say_what_runs_it_is_the_shells(desk: Desk) -> None:
    script = desk.script("gcc-99", "")
    script.write_text('echo "$1" "$2"; exit 3\n')
    desk.agent(answer_run)
    assert desk.run("zcc", "gcc-99", "a b", "c") == (3, "a b c\n", "")


def test_a_closed_stream_stays_closed(desk: Desk) -> None:
    desk.script("gcc-99", "exec ls /proc/self/fd >&2")
    desk.agent(answer_run)
    script = f"exec {desk.root}/bin/zcc gcc-99 <&- >&-"
    _, _, err = desk.run("/bin/sh", "-c", script)
    # 0 was free for ls to open, 1 is the 2 that the script put there.
    assert {int(word) for word in err.split()} == {0, 1, 2, 100}


def test_the_compiler_of_ccache_keeps_its_descriptor(desk: Desk) -> None:
    desk.script("gcc-99", 'echo words >&"$UNCACHED_ERR_FD"\n')
    desk.agent(answer_run)
    script = f"exec 7>{desk.root}/uncached; UNCACHED_ERR_FD=7 {desk.root}/bin/zcc gcc-99"
    assert desk.run("/bin/sh", "-c", script) == (0, "", "")
    assert (desk.root / "uncached").read_text() == "words\n"


def test_waiting_resets_the_deadline(desk: Desk) -> None:
    desk.script("gcc-99", "exit 5")

    def answer(connection: socket.socket, request: Request) -> None:
        for _ in range(8):
            connection.sendall(encode_wait())
            time.sleep(0.1)  # the passing of real time is what is tested
        connection.sendall(encode_fail("the end"))

    desk.agent(answer)
    assert desk.run("zcc", "gcc-99", ZCC_DEADLINE_MS="500") == (1, "", "zcc: the end\n")


# ---- RESULT ----


def leftovers(desk: Desk, folder: str = ".") -> list[str]:
    paths = (desk.project / folder).iterdir()
    return sorted(path.name for path in paths if ".zcc-" in path.name)


def test_a_result_is_placed(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    (desk.project / "sub").mkdir()
    content = os.urandom(3_000_000)
    absolute = os.fsencode(desk.project / "x.d")
    desk.agent(
        result(
            (absolute, 0o644, b"x.o: x.c\n"), (b"empty.su", 0o644, b""), (b"sub/x.o", 0o666, content),
            out=b"said\n", err=b"warned\n",
        )
    )  # fmt: skip
    script = f"umask 027; exec {desk.root}/bin/zcc gcc-99 -c x.c"
    assert desk.run("/bin/sh", "-c", script) == (0, "said\n", "warned\n")
    assert (desk.project / "sub" / "x.o").read_bytes() == content
    assert (desk.project / "sub" / "x.o").stat().st_mode & 0o777 == 0o640
    assert (desk.project / "x.d").read_bytes() == b"x.o: x.c\n"
    assert (desk.project / "empty.su").read_bytes() == b""
    assert sorted(os.listdir(desk.project)) == ["empty.su", "sub", "x.d"]
    assert os.listdir(desk.project / "sub") == ["x.o"]


def test_an_old_output_is_replaced_whole(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    old = desk.project / "x.o"
    old.write_bytes(b"old")
    with old.open("rb") as opened:
        desk.agent(result((b"x.o", 0o644, b"new")))
        assert desk.run("zcc", "gcc-99")[0] == 0
        assert opened.read() == b"old"
    assert old.read_bytes() == b"new"


def test_an_output_that_the_compiler_writes_into_keeps_its_inode(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    kept, other = desk.project / "x.d", desk.project / "other"
    kept.write_text("a longer one that was there before")
    kept.chmod(0o600)
    os.link(kept, other)
    desk.agent(result((os.fsencode(kept), 0o666 | INTO, b"new"), (b"x.o", 0o666, b"object")))
    assert desk.run("zcc", "gcc-99", "-c")[0] == 0
    assert other.read_text() == "new"
    assert (kept.stat().st_nlink, kept.stat().st_mode & 0o777) == (2, 0o600)
    assert sorted(os.listdir(desk.project)) == ["other", "x.d", "x.o"]


@pytest.mark.parametrize("kind", ["gone", "symlink"])
def test_an_output_that_cannot_be_written_into_is_compiled_here(desk: Desk, kind: str) -> None:
    desk.script("gcc-99", SAYS_WHO)
    if kind == "symlink":
        (desk.project / "other").write_text("old")
        (desk.project / "x.d").symlink_to("other")
    desk.agent(result((b"x.d", 0o666 | INTO, b"new"), (b"x.o", 0o666, b"object")))
    before = sorted(os.listdir(desk.project))
    assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")
    assert sorted(os.listdir(desk.project)) == before
    if kind == "symlink":
        assert (desk.project / "other").read_text() == "old"


def test_an_output_with_the_longest_name_is_placed(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    name = b"n" * 255
    desk.agent(result((name, 0o644, b"new")))
    assert desk.run("zcc", "gcc-99")[0] == 0
    assert os.listdir(os.fsencode(desk.project)) == [name]


@pytest.mark.parametrize("name", [b"missing/x.o", b"directory"])
def test_an_output_that_cannot_be_placed_is_compiled_here(desk: Desk, name: bytes) -> None:
    desk.script("gcc-99", SAYS_WHO)
    (desk.project / "directory").mkdir()
    desk.agent(result((b"x.d", 0o644, b"dep"), (name, 0o644, b"new"), out=b"said"))
    assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")
    assert leftovers(desk) == []


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", [b"x.o", b"sub/x.o", b"./x.o"])
def test_a_directory_that_was_renamed_is_written_under_its_new_name(
    desk: Desk,
    name: bytes,
) -> None:
    desk.script("gcc-99", SAYS_WHO)
    old = desk.root / "old"

    def answer(connection: socket.socket, _: Request) -> None:
        desk.project.rename(old)
        (desk.project / "sub").mkdir(parents=True)
        (desk.project / "x.d").write_text("new")
        files = [(b"x.d", 0o666 | INTO, b"dependencies"), (name, 0o666, b"object")]
        connection.sendall(b"".join(encode_result(0, files, b"", b"")))

    (desk.project / "sub").mkdir()
    (desk.project / "x.d").write_text("old")
    desk.agent(answer)
    assert desk.run("zcc", "gcc-99", "-c")[0] == 0
    assert contents(desk.project) == {"x.d": b"new"}
    placed = os.path.normpath(name.decode())
    assert contents(old) == {"x.d": b"dependencies", placed: b"object"}


def test_a_directory_that_was_made_anew_is_not_the_launchers(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)

    def answer(connection: socket.socket, _: Request) -> None:
        desk.project.rmdir()
        desk.project.mkdir()
        connection.sendall(b"".join(encode_result(0, [(b"x.o", 0o666, b"object")], b"", b"")))

    desk.agent(answer)
    assert desk.run("zcc", "gcc-99", "-c")[:2] == (0, "gcc-99 -c\n")  # sh has something to say
    assert contents(desk.project) == {}


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_what_was_begun_is_ended_in_the_directory_that_it_was_begun_in(
    desk: Desk,
    is_interrupted: bool,
) -> None:
    desk.script("gcc-99", SAYS_WHO)
    first, second = desk.project / "first", desk.project / "second"
    first.mkdir()
    begun, go_on = threading.Event(), threading.Event()
    reply = b"".join(encode_result(0, [(b"first/x.o", 0o666, b"n" * 1_000_000)], b"", b""))

    def answer(connection: socket.socket, _: Request) -> None:
        connection.sendall(reply[:900_000])
        begun.set()
        go_on.wait(PATIENCE_S)
        connection.sendall(reply[900_000:])

    desk.agent(answer)
    launcher = desk.start("zcc", "gcc-99", "-c")
    assert begun.wait(PATIENCE_S)
    while not leftovers(desk, "first"):
        assert launcher.poll() is None
    first.rename(second)
    first.mkdir()
    if is_interrupted:
        launcher.send_signal(signal.SIGTERM)
        launcher.communicate(timeout=PATIENCE_S)
    go_on.set()
    launcher.communicate(timeout=PATIENCE_S)
    assert contents(first) == {}
    assert contents(second) == ({} if is_interrupted else {"x.o": b"n" * 1_000_000})


def test_what_others_have_begun_under_its_names_is_left_alone(desk: Desk) -> None:
    """As it is where two process namespaces share a directory."""
    desk.script("gcc-99", SAYS_WHO)
    asked, go_on = threading.Event(), threading.Event()

    def answer(connection: socket.socket, _: Request) -> None:
        asked.set()
        go_on.wait(PATIENCE_S)
        connection.sendall(b"".join(encode_result(0, [(b"x.o", 0o666, b"object")], b"", b"")))

    desk.agent(answer)
    launcher = desk.start("zcc", "gcc-99", "-c")
    assert asked.wait(PATIENCE_S)
    others = [f".x.o.zcc-{launcher.pid}-{attempt * STEP}" for attempt in range(ATTEMPTS)]
    for name in others:
        (desk.project / name).touch()
    go_on.set()
    assert launcher.communicate(timeout=PATIENCE_S)[0] == b"gcc-99 -c\n"
    assert sorted(os.listdir(desk.project)) == sorted(others)


@pytest.mark.parametrize("trap", ["", "trap '' XFSZ; "])
def test_a_full_disk_compiles_here_and_leaves_nothing(desk: Desk, trap: str) -> None:
    """With the signal ignored a write fails as on a full disk; without, the compiler is to say what it says."""
    desk.script("gcc-99", SAYS_WHO)
    desk.agent(result((b"x.o", 0o644, b"n" * 100_000)))
    script = f"{trap}ulimit -f 8; exec {desk.root}/bin/zcc gcc-99 -c"
    assert desk.run("/bin/bash", "-c", script) == (0, "gcc-99 -c\n", "")
    assert os.listdir(desk.project) == []


def halting_after(size: int, pause: Callable[[], object]) -> Answer:
    """The answer's first `size` bytes, then `pause`, then the end of the connection."""
    reply = b"".join(encode_result(0, [(b"x.o", 0o644, b"n" * 1_000_000)], b"", b"e" * 100))

    def answer(connection: socket.socket, _: Request) -> None:
        connection.sendall(reply[:size])
        pause()

    return answer


@pytest.mark.parametrize("size", [0, 7, 8, 20, 30, 50, 600_000, 1_000_000])
def test_an_agent_that_dies_in_the_middle_is_no_harm(desk: Desk, size: int) -> None:
    desk.script("gcc-99", SAYS_WHO)
    desk.agent(halting_after(size, lambda: None))
    assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")
    assert os.listdir(desk.project) == []


@pytest.mark.parametrize("size", [0, 600_000])
def test_a_silent_agent_is_not_waited_for(desk: Desk, size: int) -> None:
    desk.script("gcc-99", SAYS_WHO)
    done = threading.Event()
    desk.agent(halting_after(size, done.wait))
    assert desk.run("zcc", "gcc-99", "-c", ZCC_DEADLINE_MS="100") == (0, "gcc-99 -c\n", "")
    assert os.listdir(desk.project) == []
    done.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_temporary(desk: Desk, number: signal.Signals) -> None:
    desk.script("gcc-99", SAYS_WHO)
    done = threading.Event()
    desk.agent(halting_after(600_000, done.wait))
    with desk.start("zcc", "gcc-99") as process:
        deadline = time.monotonic() + PATIENCE_S
        while not leftovers(desk) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == -number
    done.set()
    assert os.listdir(desk.project) == []


def test_a_dead_launcher_is_the_end_of_the_connection(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    heard, seen = threading.Event(), []

    def answer(connection: socket.socket, _: Request) -> None:
        heard.set()
        seen.append(connection.recv(1))

    agent = desk.agent(answer)
    with desk.start("zcc", "gcc-99") as process:
        assert heard.wait(PATIENCE_S)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == -signal.SIGINT
    agent.close()
    desk.agents.clear()
    assert seen == [b""]


def test_a_full_pipe_gets_every_byte(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    desk.agent(result(out=b"o" * 1_000_000))
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    command = [os.fspath(desk.root / "bin" / "zcc"), "gcc-99"]
    with subprocess.Popen(command, env=desk.environment, stdout=write_end) as process:
        os.close(write_end)
        with open(read_end, "rb") as pipe:
            assert len(pipe.read()) == 1_000_000
        assert process.wait(PATIENCE_S) == 0


def test_a_reader_that_leaves_kills_like_a_compiler(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    desk.agent(result(out=b"o" * 1_000_000))
    read_end, write_end = os.pipe()
    command = [os.fspath(desk.root / "bin" / "zcc"), "gcc-99"]
    with subprocess.Popen(command, env=desk.environment, stdout=write_end) as process:
        os.close(write_end)
        assert os.read(read_end, 1) == b"o"
        os.close(read_end)
        assert process.wait(PATIENCE_S) == -signal.SIGPIPE


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_messages_without_a_reader_are_left_to_the_compiler(desk: Desk, stream: str) -> None:
    desk.script("gcc-99", "exit 9")
    desk.agent(result((b"x.o", 0o644, b"new"), **{stream[3:]: b"a warning"}))
    read_end, write_end = os.pipe()
    os.close(read_end)
    stdout, stderr = (
        write_end if name == stream else subprocess.DEVNULL for name in ("stdout", "stderr")
    )
    command = [os.fspath(desk.root / "bin" / "zcc"), "gcc-99"]
    with subprocess.Popen(
        command, cwd=desk.project, env=desk.environment, stdout=stdout, stderr=stderr
    ) as process:
        os.close(write_end)
        assert process.wait(PATIENCE_S) == 9
    assert not (desk.project / "x.o").exists()


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2</dev/null"])
def test_messages_that_cannot_be_written_are_left_to_the_compiler(desk: Desk, stderr: str) -> None:
    """And nothing is placed before: it may fail, and write nothing."""
    desk.script("gcc-99", "echo $0 $* | sed s,.*/,,; exit 3")
    desk.agent(result((b"x.o", 0o644, b"new"), err=b"x.c:1: warning\n"))
    script = f"exec {desk.root}/bin/zcc gcc-99 -c {stderr}"
    assert desk.run("/bin/sh", "-c", script) == (3, "gcc-99 -c\n", "")
    assert not (desk.project / "x.o").exists()


def test_a_closed_stream_without_messages_is_no_harm(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    desk.agent(result((b"x.o", 0o644, b"new")))
    script = f"exec {desk.root}/bin/zcc gcc-99 -c <&- >&- 2>&-"
    assert desk.run("/bin/sh", "-c", script) == (0, "", "")
    assert (desk.project / "x.o").read_bytes() == b"new"


MALFORMED = [
    struct.pack("<II", 0, 0),
    struct.pack("<II", 9, 0),
    struct.pack("<II", 3, 1) + b"x",
    struct.pack("<II", 1, 0),
    struct.pack("<II", 1, 1) + b"\0",
    struct.pack("<II", 1, 4) + b"abcd",
    struct.pack("<II", 1, 4) + b"abc\0",
    struct.pack("<II", 1, 6) + b"a\0b\0c\0",
    struct.pack("<II", 1, 1 << 31),
    struct.pack("<II", 2, 8) + bytes(8),
    struct.pack("<IIiIII", 2, 16, 256, 0, 0, 0),
    struct.pack("<IIiIII", 2, 16, 0, 1 << 31, 0, 0),
    struct.pack("<IIiIII", 2, 16, 0, 0, 1 << 31, 1 << 31),
    struct.pack("<IIiIII", 2, 17, 0, 0, 0, 0),
    struct.pack("<IIiIIIIIQ", 2, 32, 0, 1, 0, 0, 0, 0, 0),
    struct.pack("<IIiIIIIIQ", 2, 36, 0, 1, 0, 0, 4, 0, 0) + b"a\0bc",
    struct.pack("<IIiIIIIIQ", 2, 36, 0, 1, 0, 0, 4, 0, 1 << 63) + b"abcd",
    struct.pack("<IIiIIIIIQ", 2, 40, 0, 1, 0, 0, 1 << 31, 0, 0),
]


@pytest.mark.parametrize("reply", MALFORMED)
def test_a_malformed_reply_is_no_harm(desk: Desk, reply: bytes) -> None:
    desk.script("gcc-99", SAYS_WHO)
    desk.agent(answering(reply))
    assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")
    assert os.listdir(desk.project) == []


# ---- strict mode ----


def test_fail_is_told_to_the_user(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    desk.agent(answering(encode_wait(), encode_fail("the farm is away")))
    assert desk.run("zcc", "gcc-99") == (1, "", "zcc: the farm is away\n")


def test_fail_stays_out_of_ccaches_sight(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    desk.agent(answering(encode_fail("the farm is away")))
    script = f"exec 7>{desk.root}/uncached; UNCACHED_ERR_FD=7 {desk.root}/bin/zcc gcc-99"
    assert desk.run("/bin/sh", "-c", script) == (1, "", "")
    assert (desk.root / "uncached").read_text() == "zcc: the farm is away\n"


def test_strict_mode_names_a_missing_agent(lonely: Desk) -> None:
    lonely.script("gcc-99", SAYS_WHO)
    code, out, err = lonely.run("zcc", "gcc-99", ZCC_FALLBACK="never")
    assert (code, out) == (1, "")
    assert "no agent answers" in err


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answering(), "went away"),
        (answering(struct.pack("<II", 9, 0)), "makes no sense"),
        (result((b"missing/x.o", 0o644, b"")), "cannot be created"),
    ],
)
def test_strict_mode_turns_a_fallback_into_an_error(
    desk: Desk, answer: Answer, reason: str
) -> None:
    desk.script("gcc-99", SAYS_WHO)
    desk.agent(answer)
    code, out, err = desk.run("zcc", "gcc-99", ZCC_FALLBACK="never")
    assert (code, out) == (1, "")
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("variables", [{}, {"ZCC_DISABLE": "1"}])
def test_who_forbids_it_has_nothing_run_here_without_an_agent(
    lonely: Desk, variables: dict[str, str]
) -> None:
    lonely.script("gcc-99", SAYS_WHO)
    code, out, err = lonely.run("zcc", "gcc-99", "-v", ZCC_FALLBACK="forbid", **variables)
    assert (code, out) == (1, "")
    assert "(ZCC_FALLBACK=forbid)" in err
    assert err.count("\n") == 1


def test_who_forbids_it_has_nothing_run_here_though_an_agent_says_so(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    desk.agent(answer_run)
    said = "zcc: gcc-99 would have run here (ZCC_FALLBACK=forbid)\n"
    assert desk.run("zcc", "gcc-99", "x.o", ZCC_FALLBACK="forbid") == (1, "", said)


@pytest.mark.parametrize("policy", ["nevr", "1", "Never"])
def test_a_policy_that_is_none_is_told_and_ends_nothing(lonely: Desk, policy: str) -> None:
    lonely.script("gcc-99", SAYS_WHO)
    said = f"zcc: ZCC_FALLBACK={policy} is not obeyed: expected never, forbid or always\n"
    assert lonely.run("zcc", "gcc-99", "-c", ZCC_FALLBACK=policy) == (0, "gcc-99 -c\n", said)
    inner = lonely.run("zcc", "gcc-99", "-c", ZCC_FALLBACK=policy, ZCC_GUARD="1")
    assert inner == (0, "gcc-99 -c\n", "")


@pytest.mark.parametrize("policy", ["", "always"])
def test_to_fall_back_always_is_a_policy(lonely: Desk, policy: str) -> None:
    lonely.script("gcc-99", SAYS_WHO)
    assert lonely.run("zcc", "gcc-99", "-c", ZCC_FALLBACK=policy) == (0, "gcc-99 -c\n", "")


# ---- starting the agent ----

AGENT = """#!{python}
import os, socket, struct, sys
state = os.path.dirname(os.environ["ZCC_SOCKET"])
with open(state + "/starts", "a") as log:
    print(sys.argv[1:], file=log)
descriptors = sorted(map(int, os.listdir("/proc/self/fd")))[:-1]
here = [os.readlink(f"/proc/self/fd/{{fd}}") for fd in (0, 1, 2)]
mask = os.umask(0)
with open(state + "/seen", "w") as log:
    leads = os.getsid(0) == os.getpid()
    print(repr((descriptors, here, os.getcwd(), mask, dict(os.environ), leads)), file=log)
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["ZCC_SOCKET"])
listener.listen(64)
listener.settimeout({patience})
ready = int(os.environ["ZCC_READY_FD"])
try:
    os.write(ready, b"1")
except BrokenPipeError:
    pass
os.close(ready)
os.close(int(os.environ["ZCC_START_LOCK_FD"]))
for _ in range({calls}):
    connection, _ = listener.accept()
    got = connection.recv(65536)
    while len(got) < 8 + struct.unpack("<I", got[4:8])[0]:
        got += connection.recv(65536)
    connection.sendall(struct.pack("<IIiIII", 2, 19, 0, 0, 3, 0) + b"hi\\n")
    connection.close()
"""


def write_agent(desk: Desk, calls: int, folder: str = "bin") -> None:
    text = AGENT.format(python=f"{sys.executable} -ISE", calls=calls, patience=PATIENCE_S)
    path = desk.root / folder / "zcc-agent"
    path.write_text(text)
    path.chmod(0o755)


def read_seen(desk: Desk) -> tuple[list[int], list[str], str, int, dict[str, str], bool]:
    seen: tuple[list[int], list[str], str, int, dict[str, str], bool]
    seen = ast.literal_eval((desk.root / "state" / "seen").read_text())
    return seen


def test_eight_launchers_at_once_start_one_agent(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    write_agent(desk, calls=8)
    processes = [desk.start("zcc", "gcc-99") for _ in range(8)]
    for process in processes:
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out, err) == (0, b"hi\n", b"")
    assert (desk.root / "state" / "starts").read_text() == "['serve']\n"


def test_the_agent_inherits_nothing_of_the_build(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    write_agent(desk, calls=1)
    script = (
        "umask 022; trap '' INT; exec 3<. 7<. 50<.; "
        f"MAKEFLAGS=-j UNCACHED_ERR_FD=7 LD_DEBUG_OUTPUT=x ZCC_GUARD=2 XDG_DATA_HOME=/d LANG=C "
        f"exec {desk.root}/bin/zcc gcc-99"
    )
    assert desk.run("/bin/bash", "-c", script) == (0, "hi\n", "")
    descriptors, streams, directory, mask, environment, leads = read_seen(desk)
    assert descriptors == [0, 1, 2, 3, 4]  # 3: "I listen", 4: the lock of the start
    assert streams[:2] == ["/dev/null"] * 2
    assert streams[2].startswith(str(desk.root / "state" / "agent.starting"))
    assert (directory, mask) == ("/", 0o077)
    assert not leads  # it has no way to a controlling terminal
    assert environment["ZCC_SOCKET"] == str(desk.root / "state" / "agent.sock")
    assert environment["XDG_DATA_HOME"] == "/d"
    assert {"HOME", "PATH", "LANG", "ZCC_STATE_DIR"} <= environment.keys()
    gone = {"MAKEFLAGS", "UNCACHED_ERR_FD", "LD_DEBUG_OUTPUT", "ZCC_GUARD", "LC_ALL"}
    assert not gone & environment.keys()


def test_the_agent_may_be_elsewhere_on_path(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    write_agent(desk, calls=1, folder="tools")
    assert desk.run("zcc", "gcc-99") == (0, "hi\n", "")


def test_a_stale_socket_is_no_agent(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(desk.root / "state" / "agent.sock"))
    starts = desk.root / "state" / "starts"
    desk.script("zcc-agent", f"echo start >>{starts}; exit 1\n", "bin")
    assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")
    assert starts.read_text() == "start\n"


def test_an_agent_that_cannot_start_is_not_tried_for_every_compile(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    starts = desk.root / "state" / "starts"
    desk.script("zcc-agent", f"echo start >>{starts}; exit 1\n", "bin")
    for _ in range(3):
        assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")
    assert starts.read_text() == "start\n"
    mark = desk.root / "state" / "agent.failed"
    os.utime(mark, (time.time() - 31,) * 2)
    assert desk.run("zcc", "gcc-99", "-c")[0] == 0
    assert starts.read_text() == "start\nstart\n"


def test_an_agent_that_never_gets_ready_is_not_waited_for(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    go_on = desk.root / "go-on"
    os.mkfifo(go_on)
    desk.script("zcc-agent", f"read line <{go_on}\n", "bin")
    assert desk.run("zcc", "gcc-99", "-c", ZCC_DEADLINE_MS="100") == (0, "gcc-99 -c\n", "")
    assert not (desk.root / "state" / "agent.failed").exists()  # it may yet come
    go_on.write_text("\n")


def test_an_agent_that_makes_way_is_followed_by_another(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    write_agent(desk, calls=1)
    place = desk.root / "state" / "agent.sock"

    def answer(connection: socket.socket, _: Request) -> None:
        place.unlink()
        connection.sendall(encode_restart())

    desk.agent(answer)
    assert desk.run("zcc", "gcc-99", "-c") == (0, "hi\n", "")
    assert (desk.root / "state" / "starts").read_text() == "['serve']\n"


def test_agents_that_all_make_way_are_no_harm(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    agent = desk.agent(answering(encode_restart()))
    assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")
    assert len(agent.requests) == 2


def test_a_slow_start_is_waited_for_once_and_then_taken(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    starts, go_on = desk.root / "state" / "starts", desk.root / "go-on"
    os.mkfifo(go_on)
    write_agent(desk, calls=1, folder="tools")
    slow = (
        f"echo start >>{starts}.all; read line <{go_on}; exec {desk.root}/tools/zcc-agent serve\n"
    )
    desk.script("zcc-agent", slow, "bin")
    assert desk.run("zcc", "gcc-99", "-c", ZCC_DEADLINE_MS="100") == (0, "gcc-99 -c\n", "")
    mark = desk.root / "state" / "agent.starting"
    os.utime(mark, (time.time() - 6,) * 2)
    assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")  # waits for nothing
    assert (desk.root / "state" / "starts.all").read_text() == "start\n"
    go_on.write_text("\n")
    os.utime(mark)
    assert desk.run("zcc", "gcc-99", "-c") == (0, "hi\n", "")
    assert (desk.root / "state" / "starts.all").read_text() == "start\n"


def test_a_slow_start_that_failed_is_known_as_a_failure(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    starts, go_on = desk.root / "state" / "starts", desk.root / "go-on"
    os.mkfifo(go_on)
    reason = "zcc-agent: no such luck"
    script = (
        f"echo start >>{starts}; read line <{go_on}; echo {reason} >&2; echo >{go_on}; exit 1\n"
    )
    desk.script("zcc-agent", script, "bin")
    assert desk.run("zcc", "gcc-99", "-c", ZCC_DEADLINE_MS="100") == (0, "gcc-99 -c\n", "")
    go_on.write_text("\n")
    go_on.read_text()
    with (desk.root / "state" / "agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it has gone
    assert desk.run("zcc", "gcc-99", "-c") == (0, "gcc-99 -c\n", "")
    assert starts.read_text() == "start\n"
    failed = last_failure(str(desk.root / "state" / "agent.sock"))
    assert failed is not None
    assert (failed.reason, failed.ago_s < PATIENCE_S) == (reason, True)


def test_a_lock_that_somebody_keeps_is_not_waited_for(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    write_agent(desk, calls=1)
    with (desk.root / "state" / "agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert desk.run("zcc", "gcc-99", "-c", ZCC_DEADLINE_MS="100") == (0, "gcc-99 -c\n", "")
    assert not (desk.root / "state" / "starts").exists()


# ---- local slots without an agent ----


class Crowd:
    """Launchers whose compilers run until one is ended."""

    def __init__(self, desk: Desk, count: int) -> None:
        self._begun = desk.root / "begun"
        self._begun.mkdir()
        self._ended: set[str] = set()
        desk.script("gcc-99", f"echo >{self._begun}/$$; exec sleep {3 * PATIENCE_S}\n")
        self._processes = [desk.start("zcc", "gcc-99", "-c") for _ in range(count)]

    def begun(self) -> int:
        return len(os.listdir(self._begun))

    def wait_for(self, count: int) -> None:
        """Until so many compilers have begun in all."""
        deadline = time.monotonic() + PATIENCE_S
        while self.begun() < count:
            assert time.monotonic() < deadline, self.begun()
            time.sleep(0.005)

    def end_one(self) -> None:
        pid = next(name for name in os.listdir(self._begun) if name not in self._ended)
        self._ended.add(pid)
        os.kill(int(pid), signal.SIGKILL)

    def stop_all(self) -> None:
        for pid in os.listdir(self._begun):
            os.kill(int(pid), signal.SIGSTOP)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def test_without_an_agent_no_more_compilers_run_than_there_are_slots(lonely: Desk) -> None:
    tell_slots(str(lonely.root / "state" / "agent.sock"), 3)
    crowd = Crowd(lonely, 12)
    try:
        crowd.wait_for(3)
        for ended in range(1, 10):
            assert crowd.begun() == 2 + ended
            crowd.end_one()
            crowd.wait_for(3 + ended)
    finally:
        crowd.close()


def test_one_slot_is_passed_on_from_killed_compiler_to_compiler(lonely: Desk) -> None:
    tell_slots(str(lonely.root / "state" / "agent.sock"), 1)
    crowd = Crowd(lonely, 3)
    try:
        for begun in (1, 2, 3):
            crowd.wait_for(begun)
            crowd.end_one()
    finally:
        crowd.close()


def test_what_a_compiler_leaves_behind_holds_no_slot(lonely: Desk) -> None:
    """As a wrapper does that starts its cache's server."""
    tell_slots(str(lonely.root / "state" / "agent.sock"), 1)
    left = lonely.root / "left"
    lonely.script("gcc-99", f"sleep {3 * PATIENCE_S} >&- 2>&- & echo $! >>{left}\n")
    try:
        for _ in range(2):
            assert lonely.run("zcc", "gcc-99", "-c")[0] == 0
    finally:
        for pid in left.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def test_compilers_that_are_stopped_make_way_for_as_many(lonely: Desk) -> None:
    tell_slots(str(lonely.root / "state" / "agent.sock"), 2)
    crowd = Crowd(lonely, 4)
    try:
        crowd.wait_for(2)
        crowd.stop_all()
        crowd.wait_for(4)
    finally:
        crowd.close()


def test_launchers_whose_agent_dies_run_no_more_than_the_slots(desk: Desk) -> None:
    tell_slots(str(desk.root / "state" / "agent.sock"), 2)
    connections: list[socket.socket] = []

    def answer(connection: socket.socket, _: Request) -> None:
        connections.append(connection.dup())
        if len(connections) == 8:
            (desk.root / "state" / "agent.failed").touch()
            for each in connections:
                each.shutdown(socket.SHUT_RDWR)
                each.close()

    desk.agent(answer)
    crowd = Crowd(desk, 8)
    try:
        crowd.wait_for(2)
        for ended in range(1, 7):
            assert crowd.begun() == 1 + ended
            crowd.end_one()
            crowd.wait_for(2 + ended)
    finally:
        crowd.close()


def test_a_nested_launcher_waits_for_no_slot(lonely: Desk) -> None:
    tell_slots(str(lonely.root / "state" / "agent.sock"), 1)
    lonely.script("wrapper", 'exec zcc gcc-99 "$@"\n')
    lonely.script("gcc-99", SAYS_WHO)
    assert lonely.run("zcc", "wrapper", "-c") == (0, "gcc-99 -c\n", "")


def test_who_disables_zcc_waits_for_no_slot(lonely: Desk) -> None:
    slots = lonely.root / "state" / "agent.slots"
    tell_slots(str(lonely.root / "state" / "agent.sock"), 1)
    crowd = Crowd(lonely, 1)
    try:
        crowd.wait_for(1)
        lonely.script("gcc-99", SAYS_WHO)
        assert lonely.run("zcc", "gcc-99", ZCC_DISABLE="1") == (0, "gcc-99 \n", "")
        assert slots.stat().st_size == 1
    finally:
        crowd.close()


def test_the_state_directory_is_made_for_this_user_alone(desk: Desk) -> None:
    desk.script("gcc-99", "exit 9")
    write_agent(desk, calls=1)
    socket_path = desk.root / "a" / "b" / "agent.sock"
    assert desk.run("zcc", "gcc-99", ZCC_SOCKET=str(socket_path)) == (0, "hi\n", "")
    assert [path.stat().st_mode & 0o777 for path in socket_path.parents[:2]] == [0o700, 0o700]


def test_a_home_that_cannot_be_used_is_no_harm(desk: Desk) -> None:
    desk.script("gcc-99", SAYS_WHO)
    for home in ("/proc/nowhere", ""):
        answer = desk.run("zcc", "gcc-99", "-c", ZCC_STATE_DIR="", HOME=home)
        assert answer == (0, "gcc-99 -c\n", "")
