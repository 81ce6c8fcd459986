"""Events of a small farm as a watcher is told them: two nodes, three members, three builds. Pure."""

from __future__ import annotations

from zcc import events as said
from zcc.events import FarmEvent

BEGAN_S = 1_790_000_000.0
GIB = 1 << 30


def node(at_ms: int, number: int, name: str, slots: int, **more: object) -> said.NodeShown:
    fields: dict[str, object] = {
        "member": 10 + number, "version": "0.2.0", "state": "ready", "mode": "always", "reason": "",
        "slots": slots, "all_slots": slots, "speed": 1.0, "spread": 1.1, "slowdown": 1.0, "load": 0.5,
        "memory_limit_bytes": 16 * GIB, "memory_usable_bytes": 12 * GIB, "memory_reserved_bytes": GIB,
        "pressure": 0.0, "finished": 7, "faults": 0, "toolchains": (1,),
    }  # fmt: skip
    return said.NodeShown(at_ms, number, name=name, **(fields | more))  # type: ignore[arg-type]


def queued(at_ms: int, job: int, member: int, build: int, file: str) -> said.JobQueued:
    return said.JobQueued(
        at_ms, job, f"{job:012x}", member, build, file, "c++", 1, 4000, True, 300 << 20, 12, 99, 2, 0, ""
    )  # fmt: skip


def leased(at_ms: int, job: int, to: int) -> said.JobLeased:
    return said.JobLeased(at_ms, job, job, to, "longest", 6, 3, 1.0, 1.0, 4000, GIB, False, False)


def finished(at_ms: int, job: int, outcome: str = "ok", status: int = 0) -> said.JobFinished:
    return said.JobFinished(
        at_ms, job, job, outcome, status, 2900, 3000, 200 << 20, 9000, 0, 0, 9, 9, 0
    )


def pulse(at_ms: int, waiting: int) -> said.FarmPulse:
    return said.FarmPulse(at_ms, waiting, 3, 6, 3, 2, 1, 3 * GIB, 50 * GIB, 0)


def present() -> list[FarmEvent]:
    """A snapshot: nobody compiles."""
    return [
        said.FarmShown(0, "hill", "0.2.0", BEGAN_S),
        said.MemberShown(0, 1, "k-00000001", "ann@hydra", "client"),
        said.MemberShown(0, 2, "k-00000002", "bob@lynx", "client"),
        said.MemberShown(0, 3, "k-00000003", "ci@runner", "client"),
        said.ToolchainShown(0, 1, "3f1c9a0be277", "gcc 12.2.0"),
        node(0, 1, "oak", 4),
        node(0, 2, "elm", 2, speed=1.5, load=1.5),
        pulse(0, 0),
    ]


def batches() -> list[list[FarmEvent]]:
    """The snapshot, and three seconds in which ann has two jobs on oak, bob one on elm and one that waits, and
    ci's build is over."""
    return [
        present(),
        [
            said.BuildShown(100, 1, 1, "engine", "hydra", "hydra-1"),
            said.BuildShown(100, 2, 2, "tools", "lynx", "lynx-1"),
            said.BuildShown(100, 3, 3, "nightly", "runner", "runner-1"),
            queued(110, 1, 3, 3, "ci/late.cpp"),
            leased(120, 1, 1),
            said.RunStarted(130, 1, 1),
            said.AgentCounted(140, 3, 3, 3, 900, (("time-macro", 1),), (("changed", 1),), ()),
        ],
        [
            finished(1000, 1, "failed", 1),
            pulse(1000, 0),
            queued(1010, 2, 1, 1, "engine/a.cpp"),
            queued(1020, 3, 1, 1, "engine/b.cpp"),
            queued(1030, 4, 2, 2, "tools/c.cpp"),
            queued(1040, 5, 2, 2, "tools/d.cpp"),
            leased(1050, 2, 1),
            leased(1050, 3, 1),
            leased(1050, 4, 2),
            said.RunStarted(1060, 2, 2),
            said.RunStarted(1060, 4, 4),
        ],
        [
            node(2000, 2, "elm", 1, all_slots=2, state="limited", reason="its owner works", speed=1.5),
            pulse(2000, 1),
            said.QueueShown(2000, (said.QueueRow(2, 2, 0, 0, 0, 1, 960, "all-busy"),), 0),
            pulse(3000, 1),
        ],
    ]  # fmt: skip


HOSTILE = "[bold red]x[/] [link=file:///etc]y[/link] \x1b[31m\x07\u202e\r\n<b>"


def hostile() -> list[list[FarmEvent]]:
    """Every text is an attack on a terminal and on markup."""
    return [
        [
            said.FarmShown(0, HOSTILE, HOSTILE, BEGAN_S),
            said.MemberShown(0, 1, "k-00000001", HOSTILE, "client"),
            said.ToolchainShown(0, 1, HOSTILE, HOSTILE),
            node(0, 1, HOSTILE, 4, state=HOSTILE, mode=HOSTILE, reason=HOSTILE, version=HOSTILE),
        ],
        [
            said.BuildShown(100, 1, 1, HOSTILE, HOSTILE, HOSTILE),
            queued(110, 1, 1, 1, HOSTILE),
            leased(120, 1, 1),
            said.RunStarted(130, 1, 1),
            queued(140, 2, 1, 1, HOSTILE),
            said.JobSending(150, 2, HOSTILE, 3),
            said.AgentCounted(160, 1, 1, 0, 0, ((HOSTILE, 1),), ((HOSTILE, 1),), ((HOSTILE, HOSTILE, 1),)),
            said.PeerRefused(170, HOSTILE, HOSTILE, HOSTILE),
            said.QueueShown(180, (said.QueueRow(1, 1, 0, 1, 0, 0, 9, HOSTILE),), 0),
        ],
    ]  # fmt: skip
