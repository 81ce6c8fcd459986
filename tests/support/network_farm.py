"""A farm of several machines (network namespaces), made with the commands that the README gives its users."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import machines
from tests.support.machines import Machine, Network
from zcc.agent.launchers import control

BIN = Path(sys.executable).parent
WAIT_S = 60.0
_STOP_S = 20.0
_PORT = 8317


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Look again until it holds; a condition that never comes true fails the test by name."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain for: {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def ready_farm(clients: int = 1) -> Iterator[NetworkFarm]:
    """A farm of two nodes that is ready; at its end cables are mended and frozen parts go on, so that all can
    stop."""
    with machines.network() as network, tempfile.TemporaryDirectory(prefix="zcc-network-") as at:
        made = NetworkFarm(network, Path(at))
        try:
            made.add_node()
            made.add_node()
            for _ in range(clients):
                made.wait_for_nodes(made.add_client(), 2)
            yield made
        finally:
            for member in (*made.nodes, *made.clients, made.broker):
                network.mend(member.machine)
                if member.process is not None and member.process.poll() is None:
                    member.process.send_signal(signal.SIGCONT)
            made.stop()


@dataclass
class Member:
    """One machine with one part of the farm on it; `state` is that part's directory."""

    machine: Machine
    state: Path
    process: subprocess.Popen[bytes] | None = None


@dataclass
class NetworkFarm:
    """Broker, nodes and clients, each on a machine of its own; `serve` is what the broker is told besides."""

    network: Network
    directory: Path
    serve: tuple[str, ...] = ("--listen", f"tcp://0.0.0.0:{_PORT}")
    nodes: list[Member] = field(default_factory=list)
    clients: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker = self._member("broker")
        self.endpoint = f"tcp://{self.broker.machine.address}:{_PORT}"
        self.start_broker()

    def start_broker(self) -> None:
        self.broker.process = self._spawn(
            self.broker,
            *("zcc-broker", "serve", *self.serve, "--state", str(self.broker.state)),
        )

    def add_node(self, slots: int = 1) -> Member:
        """Join and serve."""
        node = self._member(f"node{len(self.nodes) + 1}")
        name = node.state.name
        token, state = self.token("node"), ("--state", str(node.state))
        self.run(node.machine, str(BIN / "zcc-node"), "join", token, *state, "--name", name)
        self.start_node(node, slots)
        self.nodes.append(node)
        return node

    def start_node(self, node: Member, slots: int = 1) -> None:
        """Serve, with the key that it has."""
        serve = ("--state", str(node.state), "--slots", str(slots), "--user", "any")
        node.process = self._spawn(node, "zcc-node", "serve", *serve)

    def add_client(self, reach: Callable[[Machine], str] | None = None) -> Member:
        """A developer's machine that has joined; `reach` says by which endpoint it gets to the broker."""
        client = self._member(f"client{len(self.clients) + 1}")
        endpoint = self.endpoint if reach is None else reach(client.machine)
        token = self.broker_says("token", "--role", "client", "--endpoint", endpoint)
        self.zcc(client, "join", token, "--label", client.state.name)
        self.clients.append(client)
        return client

    def token(self, role: str) -> str:
        return self.broker_says("token", "--role", role, "--endpoint", self.endpoint)

    def broker_says(self, *arguments: str) -> str:
        command = (str(BIN / "zcc-broker"), *arguments, "--state", str(self.broker.state))
        return self.run(self.broker.machine, *command).stdout.decode().strip()

    def zcc(self, client: Member, *arguments: str, check: bool = True) -> str:
        """What a subcommand prints on this client."""
        command = (str(BIN / "zcc"), *arguments)
        done = self.run(client.machine, *command, env=self.environment(client), check=check)
        return (done.stdout + done.stderr).decode()

    def stats(self, client: Member) -> dict[str, Any]:
        """Asked of the agent itself, which is 20 times as fast; while none runs, of `zcc stats`."""
        answer = control.ask(str(client.state / "agent.sock"), {"op": "stats"})
        if answer is not None:
            return answer
        document: dict[str, Any] = json.loads(self.zcc(client, "stats", "--json"))
        return document

    def wait_for_nodes(self, client: Member, count: int) -> None:
        """Until the broker lists exactly so many as ready for jobs."""

        def is_so() -> bool:
            answer = control.ask(str(client.state / "agent.sock"), {"op": "nodes"})
            if answer is None:
                self.zcc(client, "nodes", check=False)  # starts the agent
                return False
            return len(answer.get("nodes", ())) == count and "error" not in answer

        wait_until(is_so, f"{count} nodes in zcc nodes")

    def environment(self, client: Member, cache: str = "off") -> dict[str, str]:
        """By default every build compiles: what is remembered does not answer for it."""
        return {
            **os.environ,
            "ZCC_CACHE": cache,
            # What the farm does is to be seen, and the machines are all this one.
            "ZCC_LOCAL": "fallback",
            "PATH": f"{os.environ['PATH']}:{BIN}",
            "ZCC_CONFIG_DIR": str(client.state),
            "ZCC_STATE_DIR": str(client.state),
            "ZCC_SOCKET": str(client.state / "agent.sock"),
        }

    def run(
        self, machine: Machine, *command: str, check: bool = True, **extra: Any
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [*machine.inside, *command], capture_output=True, check=False, timeout=100, **extra
        )
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    def log_of(self, member: Member) -> str:
        return (self.directory / f"{member.state.name}.log").read_text()

    def stop(self) -> None:
        """End everything, and wait until it is gone."""
        for client in self.clients:
            self.zcc(client, "agent", "stop", check=False)
        members = [member for member in (*self.nodes, self.broker) if member.process is not None]
        for member in members:
            if member.process is not None and member.process.poll() is None:
                member.process.send_signal(signal.SIGTERM)
        for member in members:
            assert member.process is not None
            try:
                member.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()

    def _member(self, name: str) -> Member:
        state = self.directory / name
        state.mkdir()
        return Member(self.network.plug_in(), state)

    def _spawn(self, member: Member, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self.directory / f"{member.state.name}.log", "ab") as log:
            return subprocess.Popen(
                [*member.machine.inside, str(BIN / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
