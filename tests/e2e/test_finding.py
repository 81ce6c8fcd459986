"""A farm is found: announced, listed, joined, and followed to another address, between network namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import machines
from tests.support.machines import Machine, Network
from tests.support.network_farm import BIN, Member, NetworkFarm, wait_until
from zcc.discovery.announcement import fingerprint_of

pytestmark = [
    pytest.mark.needs("ip"),
    pytest.mark.needs("gcc"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(machines.why_not()), reason=machines.why_not()),
]

PORT = 8317
ROOT = Path(__file__).parents[2]


@contextmanager
def farm_on(
    network: Network, directory: Path, *options: str, listen: str = f"tcp://0.0.0.0:{PORT}"
) -> Iterator[NetworkFarm]:
    """A broker that announces itself."""
    directory.mkdir()
    made = NetworkFarm(network, directory, ("--listen", listen, "--announce", *options))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def network() -> Iterator[Network]:
    with machines.network() as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zcc-finding-") as at:
        yield Path(at)


@contextmanager
def said_by(
    machine: Machine, name: str, address: str, *texts: str, port: int = PORT
) -> Iterator[None]:
    """Somebody on this machine announces that."""
    process = subprocess.Popen(
        [
            *(*machine.inside, sys.executable, "-m", "tests.support.announce"),
            *(name, address, str(port), *texts),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"announced\n"
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def running(machine: Machine, script: str, *arguments: str) -> Iterator[None]:
    """A Python program on this machine, from when it has written a line."""
    process = subprocess.Popen(
        [*machine.inside, sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def key_of(farm: NetworkFarm) -> str:
    """The public key of its broker, which is made when it starts."""
    path = farm.broker.state / "broker.key"
    wait_until(path.exists, "the broker's key")
    return path.read_text().split("\n")[0]


def stranger(farm: NetworkFarm) -> Member:
    """A developer's machine that has joined nothing."""
    return farm._member("stranger")


def seen(farm: NetworkFarm, member: Member, wait_s: str = "2") -> list[dict[str, Any]]:
    command = (str(BIN / "zcc"), "farms", "--json", "--wait", wait_s)
    done = farm.run(member.machine, *command, env=farm.environment(member))
    found: list[dict[str, Any]] = json.loads(done.stdout)["farms"]
    return found


def wait_announced(farm: NetworkFarm) -> None:
    wait_until(lambda: "INFO root: announces 1" in log(farm) or "announces 1" in log(farm), "it")


def log(farm: NetworkFarm) -> str:
    return farm.log_of(farm.broker)


def compile_on(farm: NetworkFarm, member: Member, policy: str = "never") -> int:
    """The exit status of one compile; `never`: of one that has to be done by the farm."""
    source = member.state / "x.c"
    source.write_text("int x(void) { return 1; }\n")
    environment = farm.environment(member) | {"ZCC_FALLBACK": policy}
    command = ("zcc", "gcc", "-c", str(source), "-o", str(member.state / "x.o"))
    done = farm.run(member.machine, *command, env=environment, check=False, cwd=member.state)
    return done.returncode


def wait_remote(farm: NetworkFarm, member: Member) -> None:
    wait_until(lambda: compile_on(farm, member) == 0, "a compile by the farm")


def join(
    farm: NetworkFarm, member: Member, token: str, *options: str
) -> subprocess.CompletedProcess[bytes]:
    command = (str(BIN / "zcc"), "join", "-", *options)
    environment = farm.environment(member)
    return farm.run(
        member.machine, *command, env=environment, check=False, input=f"{token}\n".encode()
    )


def test_farms_are_listed_and_told_apart(network: Network, place: Path) -> None:
    """Two farms of one name are two, hostile text gives a terminal no orders, and broken ones are not shown."""
    with (
        farm_on(network, place / "a", "--farm", "lab") as lab,
        farm_on(network, place / "b", "--farm", "lab") as other,
    ):
        wait_announced(lab)
        wait_announced(other)
        member = lab.add_client()
        evil = network.plug_in()
        texts = (r"farm=\x1b[31mlab\x07\n" + "x" * 200, "proto=zcc/2", f"key={'0' * 64}", "fp=0")
        with (
            said_by(evil, "evil", evil.address, *texts),
            said_by(evil, "broken", evil.address, "farm=lab", "key=abc"),
        ):
            rows = seen(lab, member)
            shown = lab.zcc(member, "farms", "--wait", "2")
    lab_key, other_key = fingerprint_of(key_of(lab)), fingerprint_of(key_of(other))
    assert {(r["farm"], r["fingerprint"], tuple(r["endpoints"]), r["is_member"]) for r in rows} == {
        ("lab", lab_key, (f"tcp://{lab.broker.machine.address}:{PORT}",), True),
        ("lab", other_key, (f"tcp://{other.broker.machine.address}:{PORT}",), False),
        (("?[31mlab??" + "x" * 200)[:64], "0" * 64, (f"tcp://{evil.address}:{PORT}",), False),
    }
    assert all(row["protocol"] == "zcc/2" for row in rows)
    assert "\x1b" not in shown
    assert "2 farms with different keys call themselves lab" in shown
    assert lab_key[:16] in shown


def test_a_broker_says_nothing_unless_told_and_what_was_looked_at_is_said(
    network: Network, place: Path
) -> None:
    (place / "a").mkdir()
    farm = NetworkFarm(network, place / "a")
    try:
        member = farm.add_client()
        assert seen(farm, member) == []
        said = farm.zcc(member, "farms", "--wait", "1")
        assert f"no farm is announced on eth0 ({member.machine.address}/24)" in said
        assert "zcc-broker serve --announce" in said
    finally:
        farm.stop()


def test_a_broker_that_nobody_else_reaches_is_not_announced(place: Path) -> None:
    command = (str(BIN / "zcc-broker"), "serve", "--announce", "--state", str(place / "state"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no other machine reaches tcp://127.0.0.1:8317" in done.stderr


def test_who_joins_what_is_announced_needs_its_token(network: Network, place: Path) -> None:
    """The token's key decides: another farm of that name is refused, and so is who repeats the fingerprint."""
    with farm_on(network, place / "a", "--farm", "lab") as farm:
        wait_announced(farm)
        fingerprint = fingerprint_of(key_of(farm))
        member, elsewhere = stranger(farm), "tcp://192.0.2.1:1"
        token = farm.broker_says("token", "--role", "client", "--endpoint", elsewhere)
        done = join(farm, member, token, "--discover", "nobodys")
        assert b"no farm nobodys is announced here, only: lab" in done.stderr
        done = join(farm, member, "zcc1.x", "--discover")
        assert done.returncode == 1
        assert fingerprint.encode() in done.stderr
        assert b"this join token is damaged" in done.stderr
        evil = network.plug_in()
        assert join(farm, member, token, "--discover", "lab").returncode == 0
        assert (
            f"tcp://{farm.broker.machine.address}:{PORT}"
            in (member.state / "farm.toml").read_text()
        )
    late = Member(member.machine, place / "late")
    late.state.mkdir()
    with said_by(evil, "evil", evil.address, "farm=lab", "proto=zcc/2", f"key={'1' * 64}"):
        done = join(farm, late, token, "--discover", "lab")
    assert done.returncode == 1
    assert b"it is another farm, or somebody who takes this one's name" in done.stderr
    assert fingerprint.encode() in done.stderr
    assert not (late.state / "farm.toml").exists()
    # It says to be the farm, and even listens there.
    with (
        running(evil, TURNS_AWAY, evil.address, str(PORT)),
        said_by(evil, "evil", evil.address, "farm=lab", "proto=zcc/2", f"key={fingerprint}"),
    ):
        done = join(farm, late, token, "--discover", "lab")
    assert done.returncode == 1
    assert b"is not the farm's broker or does not take the token" in done.stderr, done.stderr
    assert not (late.state / "farm.toml").exists()


# Who listens here speaks ZMTP, and answers each greeting with the error that a broker gives a key that was
# revoked: it takes no key to say so. Lines say who has come.
TURNS_AWAY = """
import socket, sys, threading
listening = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listens", flush=True)
def serve(connection):
    try:
        greeting = b"\\xff" + bytes(8) + b"\\x7f\\x03\\x01" + b"CURVE".ljust(20, b"\\0") + b"\\1" + bytes(31)
        connection.sendall(greeting)
        got = b""
        while len(got) < 64 + 202:
            piece = connection.recv(4096)
            if not piece:
                return
            got += piece
        connection.sendall(b"\\x04\\x0a\\x05ERROR\\x03400")
        print("said no", file=sys.stderr, flush=True)
        connection.recv(1)
    except OSError:
        pass
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""


def test_a_broker_that_has_moved_is_followed_by_its_key(network: Network, place: Path) -> None:
    """Node and agent go where the broker of their key is announced. A liar with its fingerprint, who turns keys
    away, costs a try and ends nobody."""
    with farm_on(network, place / "a", "--farm", "lab") as farm:
        wait_announced(farm)
        node, client = farm.add_node(), farm.add_client()
        farm.wait_for_nodes(client, 1)
        wait_remote(farm, client)
        fingerprint = fingerprint_of(key_of(farm))
        evil = network.plug_in()
        with (
            running(evil, TURNS_AWAY, evil.address, str(PORT)),
            said_by(evil, "evil", evil.address, "farm=lab", "proto=zcc/2", f"key={fingerprint}"),
        ):
            network.cut(farm.broker.machine)
            turned = f"what is announced at tcp://{evil.address}:{PORT} turns our key away"
            wait_until(lambda: turned in farm.log_of(node), "the node to ask the liar")
            wait_until(
                lambda: turned in (client.state / "agent.log").read_text(),
                "the agent to ask the liar",
            )
            # Meanwhile compiles are done here.
            assert compile_on(farm, client, "") == 0
            assert not (client.state / "found.toml").exists()
            moved = network.move(farm.broker.machine, "10.83.0.77")
            network.mend(moved)
            farm.broker.machine = moved
            wait_remote(farm, client)
        assert node.process is not None
        assert node.process.poll() is None
        for member in (node, client):
            found = member.state / "found.toml"
            wait_until(found.exists, "its new address to be kept")
            assert f'endpoint = "tcp://10.83.0.77:{PORT}"' in found.read_text()
            assert "10.83.0.77" not in (member.state / "farm.toml").read_text()
        # Whoever starts anew goes there first.
        farm.zcc(client, "agent", "stop")
        wait_remote(farm, client)
        assert json.loads(farm.zcc(client, "config", "--json"))["broker"] == (
            f"tcp://10.83.0.77:{PORT}"
        )


def test_who_does_not_follow_stays(network: Network, place: Path) -> None:
    with farm_on(network, place / "a", "--farm", "lab") as farm:
        wait_announced(farm)
        client = farm.add_client()
        (client.state / "config.toml").write_text('follow = "off"\nlog = "debug"\n')
        farm.zcc(client, "agent", "start")
        farm.broker.machine = network.move(farm.broker.machine, "10.83.0.77")
        wait_until(lambda: "announces 10.83.0.77" in log(farm), "the broker to be announced anew")
        follower = stranger(farm)
        token = farm.token("client").encode()
        assert farm.run(
            follower.machine,
            *(str(BIN / "zcc"), "join", "-", "--discover"),
            env=farm.environment(follower),
            input=token + b"\n",
        )
        agent_log = client.state / "agent.log"
        wait_until(lambda: "lost the farm (broker-silent" in agent_log.read_text(), "silence")
        # It has looked, as one does who has nowhere else to look.
        wait_until(lambda: "not looked for" in agent_log.read_text(), "a look", 30)
        assert not (client.state / "found.toml").exists()
        assert "10.83.0.77" not in agent_log.read_text()


def test_a_container_behind_a_bridge_joins_by_its_token(network: Network, place: Path) -> None:
    """Multicast ends at a router, as it does at Docker's bridge; all else works there."""
    with farm_on(network, place / "a", "--farm", "lab") as farm:
        wait_announced(farm)
        farm.add_node()
        host = farm._member("host")
        inside = Machine(f"{host.machine.namespace}-c", "172.17.0.2", "c")
        ip("netns", "add", inside.namespace)
        try:
            ip("-n", inside.namespace, "link", "set", "lo", "up")
            at_host = ("-n", host.machine.namespace)
            ip(*at_host, "link", "add", "docker0", "type", "bridge")
            ip(*at_host, "addr", "add", "172.17.0.1/16", "dev", "docker0")
            ip(*at_host, "link", "set", "docker0", "up")
            ip(
                *(*at_host, "link", "add", "veth0", "type", "veth"),
                *("peer", "name", "eth0", "netns", inside.namespace),
            )
            ip(*at_host, "link", "set", "veth0", "master", "docker0", "up")
            ip("-n", inside.namespace, "addr", "add", "172.17.0.2/16", "dev", "eth0")
            ip("-n", inside.namespace, "link", "set", "eth0", "up")
            ip("-n", inside.namespace, "route", "add", "default", "via", "172.17.0.1")
            farm.run(host.machine, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
            # No NAT is at hand in every kernel: the way back is a route.
            route = ("route", "add", "172.17.0.0/16", "via", host.machine.address)
            ip("-n", farm.broker.machine.namespace, *route)
            member = Member(inside, place / "c")
            member.state.mkdir()
            assert seen(farm, member) == []
            assert "no farm is announced on eth0 (172.17.0.2/16)" in farm.zcc(
                member, "farms", "--wait", "1"
            )
            assert join(farm, member, farm.token("client")).returncode == 0
            farm.clients.append(member)
            wait_remote(farm, member)
        finally:
            farm.stop()
            ip("netns", "del", inside.namespace)


def ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)
