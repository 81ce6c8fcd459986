"""`zcc up`: a whole farm on loopback, for one command's duration or until Ctrl-C."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import typer

from zcc import farm
from zcc.agent.launchers import control
from zcc.agent.launchers.inheritance import MANAGER_VARIABLE
from zcc.bounds import MAX_SLOTS
from zcc.capacity import processors
from zcc.cli.agent import sibling
from zcc.cli.progress import is_shown, named, wait_shown
from zcc.cli.supervisor import (
    Ended,
    Work,
    ask_to_end,
    die_with_parent,
    join_front,
    make_directory,
    not_ended,
    supervise,
)
from zcc.cli.terminal import complaint
from zcc.config import FALLBACK
from zcc.errors import ConfigError

# Each is a process that this machine has to carry.
MAX_NODES = 1_000
START_TIMEOUT_S = 30.0
# All waits of the end together: the nodes' have what is left when the broker has its own.
STOP_TIMEOUT_S = 15.0
BROKER_STOP_S = 3.0
# As of a shell, for a command that there is not, and one that is no program.
_NOT_FOUND, _NOT_RUN = 127, 126
_PLACES = ("ZCC_CONFIG_DIR", "ZCC_SYSTEM_CONFIG_DIR")
# Its temporary directory's name.
_PREFIX = "zcc-up-"


@dataclass
class LocalFarm:
    """A broker and nodes as child processes, with an environment that points at them."""

    directory: str
    environment: dict[str, str] = field(default_factory=dict)
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    broker: subprocess.Popen[bytes] | None = None
    dies_with_us: bool = (
        False  # when this process is killed; what started it has to be its main thread
    )
    endpoint: str = ""
    broker_options: tuple[str, ...] = ()  # of `zcc-broker serve`, besides

    def start(self, nodes: int, slots: int) -> None:
        """Start and enrol everything; returns when all nodes are welcomed.

        Raises:
            ConfigError: a part did not start; its log says why.
        """
        if not os.geteuid():
            # The nodes give up root, and have to come through to their own directories.
            os.chmod(self.directory, 0o711)
        self._start_broker("tcp://127.0.0.1:0")
        client, node = self._ask_token("client"), self._ask_token("node", max(1, nodes))
        own = self._at("client")
        self.environment = os.environ | {
            "ZCC_CONFIG_DIR": own,
            "ZCC_SYSTEM_CONFIG_DIR": own,
            "ZCC_STATE_DIR": own,
            "ZCC_SOCKET": os.path.join(own, "agent.sock"),
            # The nodes are this machine: a slot beside theirs is no further processor.
            "ZCC_LOCAL": FALLBACK,
            MANAGER_VARIABLE: "off",
        }
        for_nodes = node()
        for number in range(1, nodes + 1):
            self.add_node(f"node{number}", slots, token=for_nodes)
        farm.join(client(), own, "zcc up", ("client",))
        self._wait_for_nodes(nodes)

    def add_node(
        self, name: str, slots: int, *options: str, token: str = ""
    ) -> subprocess.Popen[bytes]:
        """Enrol and start one more node, with these options of `zcc-node serve` besides.

        `token` is one that is good for it; without it the broker is asked for one.
        """
        state = self._at(name)
        farm.join(token or self.token("node"), state, name, ("node",))
        command = [sibling("zcc-node"), "serve", "--state", state, "--name", name]
        # Every job here is this user's own: no guest, and root stays root where nobody else can do it.
        command += ["--user", "any", "--nice", "0"]
        node = self._spawn(name, [*command, "--slots", str(slots), *options])
        self.nodes.append(node)
        return node

    def token(self, role: str) -> str:
        """A join token of the broker's, good for one member."""
        return self._ask_token(role)()

    def restart_broker(self) -> None:
        """Kill the broker and start it anew at the same endpoint."""
        assert self.broker is not None
        self.broker.kill()
        self.broker.wait()
        self._start_broker(self.endpoint)

    def stop(self) -> None:
        """End agent and nodes, then the broker, and wait until they are gone: a node that leaves gives its jobs
        back to a broker that is there."""
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        if self.environment:
            control.ask(self.environment["ZCC_SOCKET"], {"op": "stop"}, BROKER_STOP_S)
        _end(self.nodes, deadline_s - BROKER_STOP_S)
        _end([self.broker] if self.broker else [], deadline_s)

    def _start_broker(self, listen: str) -> None:
        readable, writable = os.pipe()
        self.broker = self._spawn(
            "broker",
            [sibling("zcc-broker"), "serve", "--listen", listen, "--state", self._at("broker")]
            # All nodes are this machine: none of them can tell on another.
            + ["--ready-fd", str(writable), "--audit", "0", *self.broker_options],
            pass_fds=(writable,),
        )
        os.close(writable)
        self.endpoint = self._first_line(readable)

    def _at(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _spawn(
        self, name: str, command: list[str], pass_fds: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        with open(self._at(name + ".log"), "ab") as log:
            return subprocess.Popen(
                command,
                # Settings of services, in their files, are not this farm's.
                env=os.environ | dict.fromkeys(_PLACES, self._at("settings")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=die_with_parent if self.dies_with_us else None,  # noqa: PLW1509 - one thread
            )

    def _ask_token(self, role: str, uses: int = 1) -> Callable[[], str]:
        """Ask the broker for a join token, and go on; what is returned waits for it."""
        command = [sibling("zcc-broker"), "token", "--role", role, "--uses", str(uses)]
        program = subprocess.Popen(
            [*command, "--state", self._at("broker")], stdout=subprocess.PIPE, text=True
        )
        return partial(_told, program)

    def _first_line(self, readable: int) -> str:
        with open(readable, "rb") as ready:
            is_there, _, _ = select.select([ready], [], [], START_TIMEOUT_S)
            line = ready.readline().decode().strip() if is_there else ""
        if not line:
            raise ConfigError(f"the broker did not start: {last_words(self._at('broker.log'))}")
        return line

    def _wait_for_nodes(self, count: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        environment = self.environment
        subprocess.run(
            [sibling("zcc"), "agent", "start"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        while True:
            answer = control.ask(environment["ZCC_SOCKET"], {"op": "nodes"}) or {}
            if len(answer.get("nodes", ())) >= count:
                return
            dead = [at for at, node in enumerate(self.nodes, 1) if node.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise ConfigError(self._why_no_nodes(dead))
            time.sleep(0.05)

    def _why_no_nodes(self, dead: list[int]) -> str:
        if not dead:
            return f"the nodes were not ready within {START_TIMEOUT_S:.0f} s: zcc doctor says more"
        why = last_words(self._at(f"node{dead[0]}.log"))
        return f"the farm has no node, and nothing was run: {why}"


def _told(program: subprocess.Popen[str]) -> str:
    """What this program prints; it has to end well."""
    printed, _ = program.communicate()
    if program.returncode:
        raise subprocess.CalledProcessError(program.returncode, program.args, printed)
    return printed.strip()


def _end(processes: list[subprocess.Popen[bytes]], deadline_s: float) -> None:
    """Ask all of them to end, and kill who has not by then."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_words(log_path: str) -> str:
    """Why one of our programs ended, in its own words: its log may be gone when the user could read it."""
    with open(log_path, errors="replace") as log:
        lines = log.read().splitlines() or ["it said nothing"]
    at = len(lines) - 1
    # What it says in the end may be folded, for a terminal of COLUMNS.
    while at and lines[at].startswith(" "):
        at -= 1
    words = " ".join(line.strip() for line in lines[at:])
    return words.removeprefix("zcc-node: ").removeprefix("zcc-broker: ")


def up(
    command: list[str] = typer.Argument(
        None, metavar="COMMAND", help="What to run with the farm; none: until Ctrl-C."
    ),
    nodes: int = typer.Option(2, min=1, max=MAX_NODES, metavar="N", help="How many nodes."),
    slots: int = typer.Option(
        0,
        min=0,
        max=MAX_SLOTS,
        metavar="N",
        help="Slots of each node; 0: the processors, shared out.",
    ),
    is_progress: bool = typer.Option(
        False, "--progress", help="A line below the command that says how far it is, as zcc watch."
    ),
) -> None:
    """Run a farm on this machine: a broker and nodes on loopback, enrolled without a question."""
    slots = slots or max(1, processors() // nodes)

    def run(group: int) -> int:
        local = LocalFarm(make_directory(_PREFIX), dies_with_us=True)
        try:
            local.start(nodes, slots)
            environment = named(local.environment) if is_progress else local.environment
            return _run(command, environment, group, is_shown=is_progress and is_shown())
        finally:
            local.stop()

    raise typer.Exit(supervise(Work(run, bool(command), _PREFIX)))


def run_command(
    command: list[str], environment: Mapping[str, str], group: int, *, is_shown: bool = False
) -> int:
    """Run the user's command in this process group, with zcc on its PATH; its exit status as a shell would
    give it, for one that cannot be run too. What is left of it is asked to end when this work is ended.
    `is_shown`: with a line on the terminal that says how far it is.
    """
    path = f"{environment.get('PATH', os.defpath)}:{os.path.dirname(sys.executable)}"
    process: subprocess.Popen[bytes] | None = None
    try:
        with not_ended() as mask:
            process = subprocess.Popen(
                command,
                env={**environment, "PATH": path},
                preexec_fn=lambda: join_front(group, mask),  # noqa: PLW1509 - one thread
            )
        status = wait_shown(process, environment) if is_shown else process.wait()
    except FileNotFoundError:
        print(complaint(f"zcc: {command[0]}: command not found"), file=sys.stderr)
        return _NOT_FOUND
    except OSError as error:
        print(complaint(f"zcc: {command[0]}: {error.strerror}"), file=sys.stderr)
        return _NOT_RUN
    except Ended:
        if process is not None:
            ask_to_end(process.pid)
        raise
    return status if status >= 0 else 128 - status


def _run(
    command: list[str] | None, environment: dict[str, str], group: int, *, is_shown: bool
) -> int:
    if command:
        return run_command(command, environment, group, is_shown=is_shown)
    for name in ("ZCC_CONFIG_DIR", "ZCC_STATE_DIR", "ZCC_SOCKET"):
        typer.echo(f"export {name}={environment[name]}")
    typer.echo("the farm is up; set these where you build, then press Ctrl-C here to end it")
    sys.stdout.flush()
    while True:
        signal.pause()
