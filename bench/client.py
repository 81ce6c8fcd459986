"""Question: what CPU does a compile cost each machine of the farm, against the plain compile?

A project of generated C++ files with the standard library's headers is built plain and through a farm on
loopback, in turn. Client: launchers and agent. Broker and node: their own processes, without the compilers.
The bound of the client is the plain compile; the rest is what zcc adds. make's own cost is taken off by a
build with `true` for the compiler.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

FILES = 24
ROUNDS = 3
HEADERS = ("algorithm", "functional", "iostream", "map", "memory", "regex", "string", "vector")
_TICKS = os.sysconf("SC_CLK_TCK")
BIN = Path(sys.executable).parent


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="zcc-bench-") as directory:
        project = Path(directory) / "project"
        project.mkdir()
        farm = LocalFarm(directory)
        try:
            farm.start(nodes=1, slots=2)
            warm_up(project, farm)
            rounds = [one_round(project, farm, number) for number in range(1, ROUNDS + 1)]
        finally:
            farm.stop()
    print(f"{FILES} C++ files, {ROUNDS} rounds, CPU in ms a compile: median (min-max)")
    plain = statistics.median(figures["plain"] for figures in rounds)
    for name in ("plain", "client", "agent", "broker", "node"):
        values = sorted(figures[name] for figures in rounds)
        middle = statistics.median(values)
        spread = f"({values[0]:.1f}-{values[-1]:.1f})"
        print(f"{name:8} {middle:8.1f} {spread:>16}   {100 * middle / plain:6.1f}% of plain")


def write(project: Path, number: int) -> None:
    """Sources that no earlier round has compiled."""
    includes = "".join(f"#include <{header}>\n" for header in HEADERS)
    for at in range(FILES):
        body = f'int f{at}() {{ std::map<std::string, int> m; m["{number}"] = {at}; return m.size(); }}'
        (project / f"f{at}.cc").write_text(includes + body + "\n")
    objects = " ".join(f"f{at}.o" for at in range(FILES))
    rule = "%.o: %.cc\n\t@$(CXX) -g -O1 -std=c++17 -c -o $@ $<\n"
    (project / "Makefile").write_text(f"all: {objects}\n{rule}")


def warm_up(project: Path, farm: LocalFarm) -> None:
    write(project, 0)
    build(project, farm, "zcc g++")


def one_round(project: Path, farm: LocalFarm, number: int) -> dict[str, float]:
    write(project, number)
    empty_s = build(project, farm, "true")
    plain_s = build(project, farm, "g++")
    assert farm.broker is not None
    status = control.ask(farm.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    watched = {"agent": int(status["pid"]), "broker": farm.broker.pid, "node": farm.nodes[0].pid}
    before = {name: cpu_s(pid) for name, pid in watched.items()}
    launchers_s = build(project, farm, "zcc g++")
    spent = {name: cpu_s(pid) - before[name] for name, pid in watched.items()}
    client_s = launchers_s - empty_s + spent["agent"]
    seconds = {"plain": plain_s - empty_s, "client": client_s, **spent}
    return {name: 1000 * value / FILES for name, value in seconds.items()}


def build(project: Path, farm: LocalFarm, compiler: str) -> float:
    """Build from nothing; CPU seconds of make and all that it started and waited for."""
    for path in project.glob("*.o"):
        path.unlink()
    environment = {
        **farm.environment,
        "PATH": f"{os.environ['PATH']}:{BIN}",
        "ZCC_FALLBACK": "never",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["make", "-s", "-j4", f"CXX={compiler}"]
    subprocess.run(command, cwd=project, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_s(pid: int) -> float:
    """CPU seconds of one process without its children (proc(5))."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
