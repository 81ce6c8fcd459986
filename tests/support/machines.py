"""Network namespaces as machines: each has an address of its own, and a cable that can be cut.

All hang on one bridge in a namespace of its own, so nothing here touches the networks of the host. Needs
root and iproute2; `why_not` says what is missing.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

_numbers = itertools.count()
# The namespaces are connected to nothing else, so every network of tests may have the same addresses.
_ADDRESS = "10.83.0."


@functools.cache
def why_not() -> str:
    """Empty where namespaces can be made, else the reason why not."""
    if shutil.which("ip") is None:
        return "ip is missing"
    name = f"zcc-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces need root: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@dataclass(frozen=True)
class Machine:
    """One namespace. `inside` is what stands in front of a command that is to run there."""

    namespace: str
    address: str
    port: str

    @property
    def inside(self) -> tuple[str, ...]:
        # Not `ip netns exec`, which makes a mount namespace each time: machines are more than one process.
        return ("nsenter", f"--net=/run/netns/{self.namespace}")


@dataclass
class Network:
    """A bridge and the machines that are plugged into it."""

    hub: str
    machines: list[Machine] = field(default_factory=list)

    def plug_in(self) -> Machine:
        """One more machine."""
        number = len(self.machines) + 1
        machine = Machine(f"{self.hub}-{number}", f"{_ADDRESS}{number}", f"port{number}")
        _ip("netns", "add", machine.namespace)
        self.machines.append(machine)
        inside = ("-n", machine.namespace, "link")
        _ip(
            *("-n", self.hub, "link", "add", machine.port, "type", "veth"),
            *("peer", "name", "eth0", "netns", machine.namespace),
        )
        _ip("-n", self.hub, "link", "set", machine.port, "master", "bridge", "up")
        _ip("-n", machine.namespace, "addr", "add", f"{machine.address}/24", "dev", "eth0")
        _ip(*inside, "set", "lo", "up")
        _ip(*inside, "set", "eth0", "up")
        return machine

    def cut(self, machine: Machine) -> None:
        """From now on nothing goes to this machine or comes from it, and nobody is told."""
        _ip("-n", self.hub, "link", "set", machine.port, "down")

    def slow(self, machine: Machine, rate_mbit: int) -> None:
        """Let through no more than so many million bits a second from this machine."""
        _run(
            *("tc", "-n", machine.namespace, "qdisc", "add", "dev", "eth0", "root", "tbf"),
            *("rate", f"{rate_mbit}mbit", "burst", "256kb", "latency", "400ms"),
        )

    def move(self, machine: Machine, address: str) -> Machine:
        """Give this machine another address, as a laptop gets one in another network: whoever talks to the old
        one is never answered again, not even by a reset."""
        _ip("-n", machine.namespace, "addr", "flush", "dev", "eth0", "scope", "global")
        _ip("-n", machine.namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        return replace(machine, address=address)

    def mend(self, machine: Machine) -> None:
        _ip("-n", self.hub, "link", "set", machine.port, "up")


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network without machines; everything in it is gone at the end."""
    made = Network(f"zcc-{os.getpid()}-{next(_numbers)}")
    _ip("netns", "add", made.hub)
    try:
        _ip("-n", made.hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", made.hub, "link", "set", "bridge", "up")
        yield made
    finally:
        for machine in made.machines:
            _ip("netns", "del", machine.namespace)
        _ip("netns", "del", made.hub)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
