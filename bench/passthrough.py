"""Question: what does zcc add to a command that only passes through it: a link, `-E`, a configure test?

Bar: 1 ms of CPU on the user's machine, the agent's included. Each command runs plain and through zcc, in turn,
against a real agent with a farm; what is printed is the difference. A compiler that does nothing (/bin/true
under the name of gcc) shows the cost with warm caches and without the compiler's own spread: a real one leaves
neither the launcher nor the agent in the processor's caches, which doubles what they take.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

ROUNDS = 15
CALLS = 12  # of each command in a round, plain and through zcc in turn
BAR_MS = 1.0
BIN = Path(sys.executable).parent
SOURCE = '#include <stdio.h>\nint main(void) { return printf("%d\\n", 1) < 0; }\n'


def main() -> None:
    print(__doc__)
    with tempfile.TemporaryDirectory(prefix="zcc-bench-") as directory:
        project = Path(directory) / "project"
        project.mkdir()
        farm = LocalFarm(directory)
        try:
            farm.start(nodes=1, slots=2)
            commands = prepare(project, farm)
            rows = {name: measure(command, project, farm) for name, command in commands.items()}
        finally:
            farm.stop()
    heads = ("plain", "launcher more", "agent", "in all more")
    print(f"{'CPU ms: median (quartiles)':<28}" + "".join(f"{head:>24}" for head in heads))
    for name, columns in rows.items():
        print(f"{name:<28}" + "".join(f"{spread(column):>24}" for column in columns))
    for name, columns in rows.items():
        more_ms = statistics.median(columns[3])
        if more_ms > BAR_MS:
            print(f"{name}: {more_ms:.2f} ms, above the bar of {BAR_MS} ms")


def prepare(project: Path, farm: LocalFarm) -> dict[str, list[str]]:
    """The commands; each has run once through zcc, so that agent and caches are warm."""
    gcc = shutil.which("gcc") or sys.exit("this bench needs gcc")
    shutil.copy("/bin/true", project / "gcc")
    for name in ("main.c", "conftest.c"):
        (project / name).write_text(SOURCE)
    nothing = str(project / "gcc")
    commands = {
        "a link that does nothing": [nothing, "main.o", "-o", "main"],
        "-E that does nothing": [nothing, "-E", "main.c", "-o", "main.i"],
        "conftest that does nothing": [nothing, "-O2", "-c", "conftest.c"],
        "a link": [gcc, "main.o", "-o", "main"],
        "-E": [gcc, "-E", "main.c", "-o", "main.i"],
        "conftest": [gcc, "-O2", "-c", "conftest.c"],
    }
    run([gcc, "-c", "main.c"], project, farm)
    for command in commands.values():
        run([str(BIN / "zcc"), *command], project, farm)
    return commands


def measure(command: list[str], project: Path, farm: LocalFarm) -> list[list[float]]:
    """By round: plain, what the command's own processes take more, the agent's share, both together."""
    status = control.ask(farm.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    agent = int(status["pid"])
    columns: list[list[float]] = [[], [], [], []]
    for _ in range(ROUNDS):
        plain_ms = through_ms = 0.0
        before_ms = cpu_ms(agent)
        for _ in range(CALLS):
            plain_ms += run(command, project, farm)
            through_ms += run([str(BIN / "zcc"), *command], project, farm)
        agent_ms = (cpu_ms(agent) - before_ms) / CALLS
        more_ms = (through_ms - plain_ms) / CALLS
        for column, value in zip(
            columns, (plain_ms / CALLS, more_ms, agent_ms, more_ms + agent_ms), strict=True
        ):
            column.append(value)
    return columns


def run(command: list[str], project: Path, farm: LocalFarm) -> float:
    """CPU milliseconds of the process and its children."""
    pid = os.posix_spawn("/usr/bin/env", ["env", "-C", str(project), *command], farm.environment)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, command
    return (usage.ru_utime + usage.ru_stime) * 1e3


def cpu_ms(pid: int) -> float:
    """CPU milliseconds of a process without its children, to the nanosecond (proc(5), schedstat)."""
    total_ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total_ns += int(file.read().split()[0])
    return total_ns / 1e6


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
