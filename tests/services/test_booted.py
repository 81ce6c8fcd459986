"""The services under a real systemd: installed, started, watched, reloaded, stopped, and gone without a trace.

`make services` runs these: they boot a Debian in a container, take minutes, and want root and the network of a
package manager. The tests of one machine follow each other.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.machine import PATH, Machine, booted, make_root, why_not
from tests.unit.zcc.test_service_units import NOT_FOR_NODES

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]

_SOURCE = "#include <stdio.h>\nint main(void) { return puts(NAME) < 0; }\n"
# So long to compile that a stop comes in between, on a slow machine too.
_SLOW = "int f{0}(int a, int b) {{ int s = 0; for (int i = 0; i < a; i++) s += b * i ^ {0}; return s; }}\n"
# What of systemd's hardening breaks the sandbox, as was seen.
_BREAK = ("RestrictNamespaces", "ProcSubset", "ProtectKernelTunables", "ProtectHostname")
# Everything that is there, but for what any machine's life changes.
_SNAPSHOT = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log"
    " -o -path /opt/zcc -o -path /dev -o -path /var/lib/systemd -o -path /root/work \\) -prune -o -print | sort"
)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    if reason := why_not():
        pytest.skip(f"NO SERVICE WAS TRIED: {reason}")
    with (
        tempfile.TemporaryDirectory(prefix="zcc-services-", dir="/var/tmp") as directory,
        booted(make_root(Path(directory))) as machine,
    ):
        yield machine


def compile_(machine: Machine, name: str, extra: str = "") -> None:
    """One compile on the farm or not at all, equal to the plain one."""
    machine.run(
        f"cd /root/work && {extra} ZCC_FALLBACK=never zcc gcc -O2 -DNAME='\"{name}\"' -c x.c -o {name}.o &&"
        f" gcc -O2 -DNAME='\"{name}\"' -c x.c -o plain.o && cmp {name}.o plain.o"
    )


def journal(machine: Machine, unit: str, *options: str) -> list[dict[str, str]]:
    text = machine.say(f"journalctl -o json --no-pager -u {unit} {' '.join(options)}")
    return [json.loads(line) for line in text.splitlines()]


def test_a_user_has_services_of_his_own(machine: Machine) -> None:
    """Before the machine's own are there: both dial the same port by themselves."""
    machine.run("useradd --create-home --uid 1000 ann && systemctl start user@1000.service")
    # A source that no farm of the machine has seen.
    (machine.root / "home/ann/x.c").write_text("int ann;\n")

    def as_ann(script: str) -> str:
        own = "export XDG_RUNTIME_DIR=/run/user/1000 HOME=/home/ann USER=ann; cd"
        return machine.say(f"su ann -s /bin/sh -c '{own} && PATH={PATH} && {script}'")

    before = as_ann("find .")
    as_ann("zcc-broker install-service --now")
    as_ann("zcc-broker token --role node | zcc-node join -")
    as_ann("zcc-broker token --role client | zcc join -")
    as_ann("zcc-node install-service --now")
    assert as_ann("systemctl --user is-active zcc-broker zcc-node") == "active\nactive"
    machine.wait("journalctl --no-pager _UID=1000 | grep 'welcomed by the farm'")
    as_ann(
        "ZCC_FALLBACK=never zcc gcc -c x.c && rm x.o && systemctl --user reload zcc-broker zcc-node"
    )
    as_ann("zcc leave --purge --yes && zcc-node leave --purge --yes")
    as_ann("zcc-broker uninstall-service --purge --yes")
    left = set(as_ann("find .").splitlines()) - set(before.splitlines())
    assert [each for each in left if "zcc" in each] == []
    machine.run("systemctl stop user@1000.service")


def test_both_are_installed_and_start(machine: Machine) -> None:
    (machine.root / "before").write_text(machine.say(_SNAPSHOT))
    printed = machine.say("zcc-broker install-service --print")
    assert not (machine.root / "etc/systemd/system/zcc-broker.service").exists()
    machine.run("zcc-broker install-service --now")
    unit = machine.root / "etc/systemd/system/zcc-broker.service"
    assert unit.read_text().strip() == printed
    assert machine.show("zcc-broker", "ActiveState") == "active"
    assert machine.show("zcc-broker", "StatusText").startswith(
        "the farm at tcp://127.0.0.1:8317: 0"
    )
    # Root's commands find the state, and leave nothing there that the broker could not write.
    machine.run("zcc-broker token --role node | zcc-node join -")
    machine.run("zcc-broker token --role client | zcc join -")
    assert machine.say("find /var/lib/zcc-broker ! -user zcc-broker") == ""
    machine.run("zcc-node install-service --now")
    machine.wait("systemctl show --property=StatusText zcc-node | grep 'slots lent, 0 jobs'")
    assert machine.say("ps -o user= -C zcc-node | sort -u") == "zcc-node"
    assert machine.say("find /var/lib/zcc-node ! -user zcc-node") == ""
    machine.run("systemctl status --no-pager zcc-broker zcc-node")


def test_a_compile_goes_through(machine: Machine) -> None:
    (machine.root / "root/work").mkdir()
    (machine.root / "root/work/x.c").write_text(_SOURCE)
    compile_(machine, "first")


def test_the_journal_has_priorities_and_one_time(machine: Machine) -> None:
    own = [each for each in journal(machine, "zcc-broker") if each["_COMM"] == "zcc-broker"]
    assert {each["PRIORITY"] for each in own} <= {"4", "6"}
    assert own[0]["MESSAGE"] == "broker.shell: the farm listens on tcp://127.0.0.1:8317"
    nodes = [each for each in journal(machine, "zcc-node") if each["_COMM"] == "zcc-node"]
    assert "welcomed by the farm" in [each["MESSAGE"] for each in nodes]


def test_a_reload_changes_what_it_can(machine: Machine) -> None:
    machine.run("zcc-broker config set quota 3G && zcc-broker config set farm hill")
    assert (machine.root / "etc/zcc/broker.toml").read_text() == 'quota = "3G"\nfarm = "hill"\n'
    before = machine.show("zcc-broker", "MainPID")
    machine.run("systemctl reload zcc-broker")
    said = [each["MESSAGE"] for each in journal(machine, "zcc-broker")]
    assert "zcc.cli.serving: quota is 3G from now on" in said
    assert "zcc.cli.serving: farm is hill after a restart" in said
    machine.run(
        "zcc-broker config unset farm && zcc-node config set grace 4s && systemctl reload zcc-node"
    )
    assert machine.show("zcc-broker", "MainPID") == before
    assert "grace is 4s from now on" in [each["MESSAGE"] for each in journal(machine, "zcc-node")]


def test_a_broker_that_stands_still_is_started_again(machine: Machine) -> None:
    machine.run(
        "mkdir -p /run/systemd/system/zcc-broker.service.d &&"
        " printf '[Service]\\nWatchdogSec=5\\n' >/run/systemd/system/zcc-broker.service.d/short.conf &&"
        " systemctl daemon-reload && systemctl restart zcc-broker"
    )
    before = machine.show("zcc-broker", "MainPID")
    machine.run(f"kill -STOP {before}")
    machine.wait("test $(systemctl show --property=NRestarts --value zcc-broker) -ge 1")
    machine.wait("systemctl is-active --quiet zcc-broker")
    assert machine.show("zcc-broker", "MainPID") != before
    said = [each["MESSAGE"] for each in journal(machine, "zcc-broker")]
    assert "zcc-broker.service: Watchdog timeout (limit 5s)!" in said
    machine.run("rm -r /run/systemd/system/zcc-broker.service.d && systemctl daemon-reload")
    machine.wait("systemctl show --property=StatusText zcc-broker | grep '1 nodes'")
    compile_(machine, "second")


def test_a_node_that_is_killed_comes_back(machine: Machine) -> None:
    machine.run("systemctl kill --signal=KILL --kill-whom=main zcc-node")
    machine.wait("test $(systemctl show --property=NRestarts --value zcc-node) -ge 1")
    machine.wait("systemctl show --property=StatusText zcc-node | grep 'slots lent, 0 jobs'")
    compile_(machine, "third")


def test_a_stop_drains_and_has_a_deadline(machine: Machine) -> None:
    # An idle slot of this machine would take the job back.
    machine.run("zcc config set local fallback && zcc agent stop")
    slow = "".join(_SLOW.format(number) for number in range(60_000))
    (machine.root / "root/work/slow.c").write_text(slow)
    machine.run("cd /root/work && ZCC_CACHE=off setsid zcc gcc -O3 -c slow.c >told 2>&1 &")
    machine.wait("systemctl show --property=StatusText zcc-node | grep '1 jobs'")
    began = time.monotonic()
    machine.run("systemctl stop zcc-node")
    assert time.monotonic() - began < 80
    assert machine.show("zcc-node", "Result") == "success"
    said = [each["MESSAGE"] for each in journal(machine, "zcc-node")]
    assert "jobs still run after 4 s: others get them" in said
    machine.run("pkill -x cc1; true")


def test_a_drained_node_stays_away(machine: Machine) -> None:
    machine.run("zcc-node config set grace 60s && systemctl start zcc-node")
    machine.wait("systemctl show --property=StatusText zcc-node | grep 'slots lent'")
    machine.run("zcc-node drain --wait")
    machine.wait("systemctl show --property=ActiveState zcc-node | grep inactive")
    assert machine.show("zcc-node", "Result") == "success"


@pytest.mark.parametrize("line", [f"{name}=yes" for name in NOT_FOR_NODES])
def test_what_is_not_in_the_nodes_unit(machine: Machine, line: str) -> None:
    """Which of them breaks the sandbox; of the others it is told, as another kernel may see it otherwise."""
    line = line.replace("ProtectProc=yes", "ProtectProc=invisible").replace(
        "ProcSubset=yes", "ProcSubset=pid"
    )
    done = machine.run(
        f"systemd-run -q --wait --pipe -p User=zcc-node -p {line} zcc-node check --state /var/lib/zcc-node",
        is_strict=False,
    )
    print(f"{line}: {'breaks the sandbox' if done.returncode else 'the sandbox works'}")
    if line.split("=")[0] in _BREAK:
        assert done.returncode != 0


def test_how_exposed_they_are(machine: Machine) -> None:
    for unit, most in (("zcc-broker", 1.5), ("zcc-node", 3.6)):
        told = machine.say(f"systemd-analyze security --no-pager {unit} | tail -1")
        assert float(told.split(":")[1].split()[0]) <= most


def test_nothing_is_left(machine: Machine) -> None:
    machine.run("zcc leave --purge --yes")
    machine.run("zcc-node leave --purge --yes")
    machine.run("zcc-broker uninstall-service --purge --yes")
    before = set((machine.root / "before").read_text().splitlines())
    after = set(machine.say(_SNAPSHOT).splitlines())
    # The manager's own: backups of /etc/passwd, and directories that are not zcc's alone.
    known = {
        "/before",
        "/root/.config",
        "/root/.cache",
        "/root/.local",
        "/root/.local/state",
        "/etc/sysusers.d",
    }
    known |= {"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"}
    assert after - before - known == set()
    assert machine.run("getent passwd zcc-node zcc-broker", is_strict=False).stdout == ""
