"""The text of the units, and which lines of it a user's own manager takes. Pure.

Each line that is not obvious says why it is there, in the unit itself: who edits one reads it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What both can do without, whoever starts them.
_NARROW = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
"""
# What only the system's manager can take away.
_NARROW_SYSTEM = """\
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectClock=yes
ProtectKernelModules=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
"""
_BROKER_SYSTEM = """\
PrivateDevices=yes
PrivateUsers=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
"""
_BROKER_FILTERS = """\
# libzmq asks the kernel by netlink what addresses this machine has.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
"""
# bubblewrap makes user namespaces, mounts, pivots the root, names the host and brings up `lo`.
_NODE_FILTERS = """\
# For the sandbox: namespaces, mounts, a host name, a netlink socket that brings up its `lo`. So there is no
# RestrictNamespaces= and no ProtectHostname= here, and nothing that puts mounts over parts of /proc
# (ProcSubset=, ProtectProc=, ProtectKernelTunables=, ProtectKernelLogs=): the kernel then may let no user
# namespace mount a /proc of its own. ProtectControlGroups= would take back what Delegate= gives, and
# PrivateDevices= would hide the terminals by which mode `idle` sees that somebody works here.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallFilter=@system-service @mount pivot_root unshare setns clone3 sethostname
"""
_NODE_SYSTEM = """\
DevicePolicy=closed
"""


@dataclass(frozen=True, slots=True)
class Service:
    """One of the services that zcc has, and what of its unit is its own; times in seconds."""

    name: Literal["zcc-broker", "zcc-node"]
    describes: str
    watchdog_s: int
    start_s: int
    stop_s: int
    own: str
    narrow_system: str
    filters: str


BROKER = Service(
    name="zcc-broker",
    describes="The broker of a zcc farm",
    watchdog_s=30,
    start_s=300,  # a large registry of results is looked through first
    stop_s=30,
    own="""\
LimitNOFILE=65536
# Its queues are bounded by less (docs/reference/bounds.md).
MemoryMax=4G
""",
    narrow_system=_BROKER_SYSTEM,
    filters=_BROKER_FILTERS,
)
NODE = Service(
    name="zcc-node",
    describes="A node of a zcc farm",
    watchdog_s=60,
    start_s=180,
    # The node asks for more where its grace is longer.
    stop_s=90,
    own="""\
# A control group of its own: the kernel then counts and keeps the memory of each job.
Delegate=yes
CPUWeight=20
IOWeight=20
MemoryMax=90%
TasksMax=infinity
# A job that runs out of memory ends alone.
OOMPolicy=continue
""",
    narrow_system=_NODE_SYSTEM,
    filters=_NODE_FILTERS,
)


def system_unit(service: Service, program: str, words: tuple[str, ...] = ()) -> str:
    """A unit of the system's manager, for a user of the service's name; `program`: its absolute path."""
    name = service.name
    state = f"/var/lib/{name}"
    return _unit(
        service,
        quoted(program, "serve", "--state", state, *words),
        after="After=network-online.target\nWants=network-online.target\n",
        place=f"""\
User={name}
Group={name}
# {state}
StateDirectory={name}
StateDirectoryMode=0700
# /etc/zcc, where {name.removeprefix("zcc-")}.toml may have settings
ConfigurationDirectory=zcc
{_credentials(service)}UMask=0077
""",
        narrow=_NARROW + _NARROW_SYSTEM + service.narrow_system + service.filters,
        wanted_by="multi-user.target",
    )


def user_unit(service: Service, program: str, words: tuple[str, ...] = ()) -> str:
    """A unit of a user's own manager, which can take away only what needs no right of root's."""
    return _unit(
        service,
        quoted(program, "serve", *words),
        after="",
        place="UMask=0077\n",
        narrow=_NARROW + service.filters,
        wanted_by="default.target",
    )


def sysusers(service: Service) -> str:
    """For systemd-sysusers(8): the user that the service is, and nobody else."""
    return f'u {service.name} - "{service.describes}" /var/lib/{service.name}\n'


def quoted(*words: str) -> str:
    """A command line as units have it (systemd.service(5)): `%` and `$` stand for themselves."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    word = word.replace("%", "%%").replace("$", "$$")
    if word and not set(word) & set(" \t\n\"'\\;"):
        return word
    escaped = (
        word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    )
    return f'"{escaped}"'


def _credentials(service: Service) -> str:
    if service is not NODE:
        return ""
    return (
        "# A join token in /etc/credstore/zcc-node.token has a node that has joined no farm join one.\n"
        "LoadCredential=zcc-node.token\n"
    )


def _unit(
    service: Service, command: str, *, after: str, place: str, narrow: str, wanted_by: str
) -> str:
    return f"""\
# Made by `{service.name} install-service`; `{service.name} uninstall-service` removes it.
# Changes of your own: systemctl edit {service.name}

[Unit]
Description={service.describes}
{after}StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
# Reads the settings and the log's level again.
ExecReload=/bin/kill -HUP $MAINPID
{place}
WatchdogSec={service.watchdog_s}
Restart=on-failure
RestartSec=2
# A wrong setting is mended by somebody, not by starting again.
RestartPreventExitStatus=2
TimeoutStartSec={service.start_s}
TimeoutStopSec={service.stop_s}
# What hangs says where (SIGABRT), and is killed.
TimeoutAbortSec=10
KillMode=mixed
LimitCORE=0

{service.own}
{narrow}
[Install]
WantedBy={wanted_by}
"""
