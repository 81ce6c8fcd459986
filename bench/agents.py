"""Question: is one agent the ceiling of the hits a second, and do several on one cache lift it?

One agent answers from one thread. Here 1, 2 and 4 of them share one cache directory, each with a socket, a
copy of Abseil and a `make` of its own; the launchers number 16 in all. Printed: hits a second by the wall
clock, and the share of a processor that each agent took. Where agents, launchers and makes take all processors,
more agents win nothing: that is the bound of a small machine. On a large one the first row stops when its
agent has taken a whole processor.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # not installed: the demo's projects

from bench import hits  # noqa: E402
from examples import demo  # noqa: E402
from zcc.agent.launchers import control  # noqa: E402
from zcc.cli.up import LocalFarm  # noqa: E402

ROUNDS = 5
LAUNCHERS = 16
COUNTS = (1, 2, 4)


@dataclass
class Place:
    """One agent and the project that it answers for."""

    work: hits.Work
    environment: hits.Environment

    def agent(self, op: str) -> dict[str, object]:
        answer = control.ask(self.environment["ZCC_SOCKET"], {"op": op})
        assert answer is not None, "no agent answers"
        return answer

    def start(self, jobs: int) -> subprocess.Popen[bytes]:
        command = ["make", "-s", f"-j{jobs}", "-f", "Makefile.bench", "CC=zcc gcc", "CXX=zcc g++"]
        return subprocess.Popen(command, cwd=self.work.directory, env=self.environment)


def main() -> None:
    print(__doc__)
    project = demo.abseil() or demo.words()
    with tempfile.TemporaryDirectory(prefix="zcc-agents-") as directory:
        farm = LocalFarm(directory)
        farm.start(nodes=1, slots=2)
        config = Path(farm.environment["ZCC_CONFIG_DIR"]) / "config.toml"
        config.write_text(f'cache_dir = "{directory}/cache"\n')
        places = [place(number, project, Path(directory), farm) for number in range(max(COUNTS))]
        try:
            for each in places:
                for _ in range(3):  # compiled, then hits; then what was compiled is old enough
                    each.work.build("zcc ", each.environment)
                    time.sleep(1)
            for count in COUNTS:
                show(count, [one_round(places[:count]) for _ in range(ROUNDS)])
        finally:
            for each in places:
                each.agent("stop")
            farm.stop()


def place(number: int, project: demo.Project, directory: Path, farm: LocalFarm) -> Place:
    state = directory / f"agent{number}"
    environment = {
        **farm.environment,
        "ZCC_STATE_DIR": str(state),
        "ZCC_SOCKET": str(state / "agent.sock"),
        "ZCC_FALLBACK": "never",
    }
    return Place(hits.Work(project, directory / f"work{number}"), environment)


def one_round(places: list[Place]) -> tuple[float, float]:
    """(hits a second, processors' worth of an agent) of one build in each place, all at once."""
    for each in places:
        shutil.rmtree(each.work.directory / "out")
    before = [(hit_count(each), hits.cpu_s(pid(each))) for each in places]
    begun = time.monotonic()
    builds = [each.start(LAUNCHERS // len(places)) for each in places]
    assert [build.wait() for build in builds] == [0] * len(builds)
    wall_s = time.monotonic() - begun
    agent_s = 0.0
    for each, (hits_before, cpu_before_s) in zip(places, before, strict=True):
        assert hit_count(each) - hits_before == each.work.count, "not all were hits"
        agent_s += hits.cpu_s(pid(each)) - cpu_before_s
    return sum(each.work.count for each in places) / wall_s, agent_s / len(places) / wall_s


def hit_count(place: Place) -> int:
    outcomes = place.agent("stats")["outcomes"]
    assert isinstance(outcomes, dict)
    return int(outcomes["local_hit"])


def pid(place: Place) -> int:
    return int(str(place.agent("status")["pid"]))


def show(count: int, rounds: list[tuple[float, float]]) -> None:
    rate, share = (statistics.median(column) for column in zip(*rounds, strict=True))
    spread = f"({min(rounds)[0]:.0f}-{max(rounds)[0]:.0f})"
    noun = "agent " if count == 1 else "agents"
    took = f"each took {share:.2f} of one of {os.cpu_count()} processors"
    print(f"{count} {noun} {rate:6.0f} hits/s {spread:>11}, {took}")


if __name__ == "__main__":
    main()
