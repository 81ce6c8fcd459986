"""A broker's address that is a service's name in DNS: joined, dialled by priority, and asked for again."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support import machines
from tests.support.machines import Machine
from tests.support.name_server import asking
from tests.support.network_farm import NetworkFarm, wait_until

pytestmark = [
    pytest.mark.needs("ip"),
    pytest.mark.needs("gcc"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(machines.why_not()), reason=machines.why_not()),
]

SERVICE = "_zcc._tcp.example.org"
PORT = 8317
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class AskingMachine(Machine):
    """A machine whose programs ask this farm's name server: all are in this process's mount namespace."""

    asking: int = 0

    @property
    def inside(self) -> tuple[str, ...]:
        return (*super().inside, "nsenter", f"--mount=/proc/{self.asking}/ns/mnt")


@pytest.fixture
def farm() -> Iterator[NetworkFarm]:
    with machines.network() as network, tempfile.TemporaryDirectory(prefix="zcc-srv-") as at:
        made = NetworkFarm(network, Path(at))
        own = made.broker.machine.address
        (Path(at) / "resolv.conf").write_text(f"nameserver {own}\noptions timeout:1 attempts:1\n")
        (Path(at) / "records").write_text("")
        server = subprocess.Popen(
            [
                *(*made.broker.machine.inside, sys.executable, "-m", "tests.support.name_server"),
                *("0.0.0.0", str(Path(at) / "records")),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        holder = subprocess.Popen(asking(Path(at) / "resolv.conf"), stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"listens\n"
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"mounted\n"
            plain = network.plug_in

            def plug_in() -> AskingMachine:
                machine = plain()
                return AskingMachine(machine.namespace, machine.address, machine.port, holder.pid)

            network.plug_in = plug_in  # type: ignore[method-assign]
            yield made
        finally:
            made.stop()
            for process in (server, holder):
                process.kill()
                process.communicate()


def name(farm: NetworkFarm, *records: str) -> None:
    """From now on DNS says so; a reader sees all or nothing of it."""
    path = farm.directory / "records.new"
    path.write_text("".join(f"{line}\n" for line in records))
    path.rename(farm.directory / "records")


def test_a_service_in_dns_leads_to_the_broker_wherever_it_is(farm: NetworkFarm) -> None:
    resolv_conf, own = farm.directory / "resolv.conf", farm.broker.machine.address
    # Of three the first is nobody's, and the second refuses.
    name(
        farm,
        f"30 0 {PORT} broker.example.org {own}",
        f"20 0 9 broker.example.org {own}",
        f"10 5 {PORT} gone.example.org 10.83.0.99",
    )
    farm.endpoint = SERVICE
    node = farm.add_node()
    wait_until(lambda: "welcomed by the farm" in farm.log_of(node), "the node to be welcomed")
    dialled = re.findall(r"dialling (\S+)", farm.log_of(node))
    assert dialled == [f"tcp://10.83.0.99:{PORT}", f"tcp://{own}:9", f"tcp://{own}:{PORT}"]
    name(farm, f"10 0 {PORT} broker.example.org {own}")
    client = farm.add_client()
    assert f'endpoint = "{SERVICE}"' in (client.state / "farm.toml").read_text()

    def compiled() -> bool:
        source = client.state / "x.c"
        source.write_text("int x;\n")
        environment = farm.environment(client) | {"ZCC_FALLBACK": "never"}
        command = ("zcc", "gcc", "-c", str(source), "-o", str(client.state / "x.o"))
        return farm.run(client.machine, *command, env=environment, check=False).returncode == 0

    wait_until(compiled, "a compile by the farm")
    # It moves, and DNS says so a while later.
    moved = farm.network.move(farm.broker.machine, "10.83.0.77")
    resolv_conf.write_text("nameserver 10.83.0.77\n")
    farm.broker.machine = replace(moved)
    wait_until(lambda: "lost the broker" in farm.log_of(node), "silence")
    name(farm, f"10 0 {PORT} broker.example.org 10.83.0.77")
    wait_until(compiled, "a compile by the farm where DNS says it is", 120)
    assert f"dialling tcp://10.83.0.77:{PORT}" in farm.log_of(node)
    assert not (node.state / "found.toml").exists()


def test_a_service_that_dns_does_not_know_is_told(farm: NetworkFarm) -> None:
    machine = farm.network.plug_in()
    farm.endpoint = SERVICE
    token = farm.token("client")
    done = farm.run(
        machine,
        *("zcc", "join", "-"),
        input=token.encode(),
        check=False,
        env=farm.environment(farm.broker),
    )
    assert done.returncode == 1
    assert f"DNS has no SRV record of {SERVICE}".encode() in b" ".join(done.stderr.split())
