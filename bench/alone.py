"""Question: is a build with a small, or a far, farm ever slower than `make -jN` on the machine alone?

One machine plays two: half of its processors are "ours" (make, launchers, agent, local slots), the other half
have a broker and a node. A generated C++ project is built by plain make on our half, and by
`make -j$(zcc slots)` with the farm, in turn, nothing remembered:

    near    the node's slots are as many as our processors, on loopback
    far     the same farm behind 100 ms there and back and 10 Mbit/s each way

`first` is an agent's first build: it packs the toolchain, some seconds of a processor once for each compiler,
and sends it. The goal is 1.05 of plain make for all others; near, the bound is 0.5. Other load on the machine
moves all of it: read the ratios, which are of builds in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent
DELAY_S = 0.05  # each way
RATE_BYTES_S = 10e6 / 8
# What a line holds that is on its way: the sender has to wait beyond it.
LINE_S = 0.25
SOURCE = """
#include <functional>
#include <map>
#include <string>
template <int N> int use(const std::string &text) {{
    std::map<std::string, std::function<int(int)>> table;
    table[text] = [](int x) {{ return x + N; }};
    return table[text](N);
}}
int use_{n}(const std::string &text) {{
    return {uses};
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    half = len(processors) // 2
    if not half:
        sys.exit("two processors are needed, for two machines")
    ours, theirs = set(processors[:half]), set(processors[half : 2 * half])
    print(
        f"{arguments.files} C++ files, {half} processors each, {arguments.rounds} rounds: medians"
    )
    for name, is_far in (("near", False), ("far", True)):
        with tempfile.TemporaryDirectory(prefix="zcc-bench-") as directory:
            measure(name, is_far, Path(directory), ours, theirs, arguments)


def measure(
    name: str, is_far: bool, directory: Path, ours: set[int], theirs: set[int], arguments: Any
) -> None:
    project = directory / "project"
    project.mkdir()
    write(project, arguments.files)
    os.sched_setaffinity(0, theirs)
    farm = LocalFarm(str(directory))
    try:
        farm.start(nodes=1, slots=len(theirs))
        with line_to(farm.endpoint, is_far) as endpoint:
            os.sched_setaffinity(0, ours)
            farm.environment |= {
                "ZCC_CACHE": "off", "ZCC_LOCAL": "sooner", "ZCC_BROKER": endpoint,
                "PATH": f"{farm.environment['PATH']}:{BIN}",
            }  # fmt: skip
            stop_agent(farm)
            alone, together, shares = [], [], []
            for turn in range(arguments.rounds + 1):
                alone.append(build(project, dict(os.environ), "g++", str(len(ours))))
                jobs = say(farm, "slots")
                before = counts(farm)
                together.append(build(project, farm.environment, "zcc g++", jobs))
                shares.append({key: n - before.get(key, 0) for key, n in counts(farm).items()})
                if not turn:
                    show(f"{name}, first", alone[:1], together[:1], shares[0])
            show(name, alone[1:], together[1:], shares[-1])
    finally:
        farm.stop()


def show(name: str, alone: list[float], together: list[float], shares: dict[str, int]) -> None:
    ratios = sorted(b / a for a, b in zip(alone, together, strict=True))
    where = ", ".join(f"{key} {count}" for key, count in shares.items() if count)
    print(
        f"{name:12} alone {statistics.median(alone):6.1f} s   with the farm"
        f" {statistics.median(together):6.1f} s   ratio {statistics.median(ratios):.2f}"
        f" ({ratios[0]:.2f} to {ratios[-1]:.2f})   the last: {where}",
        flush=True,
    )


def write(project: Path, files: int) -> None:
    """Sources from some tenths of a second to some seconds, as projects have them."""
    for number in range(files):
        count = 1 + (7 * number) % 11
        uses = " + ".join(f"use<{1000 * number + each}>(text)" for each in range(count))
        (project / f"f{number}.cc").write_text(SOURCE.format(n=number, uses=uses))
    objects = " ".join(f"f{number}.o" for number in range(files))
    rule = "%.o: %.cc\n\t@$(CXX) -g -O1 -MD -c -o $@ $<\n"
    (project / "Makefile").write_text(f"all: {objects}\n{rule}clean:\n\t@rm -f *.o *.d\n")


def build(project: Path, environment: dict[str, str], compiler: str, jobs: str) -> float:
    subprocess.run(["make", "-s", "clean"], cwd=project, check=True)
    began = time.monotonic()
    command = ["make", "-s", f"-j{jobs}", f"CXX={compiler}"]
    subprocess.run(command, cwd=project, env=environment, check=True)
    return time.monotonic() - began


def say(farm: LocalFarm, *words: str) -> str:
    command = [str(BIN / "zcc"), *words]
    done = subprocess.run(command, env=farm.environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def stop_agent(farm: LocalFarm) -> None:
    """The next call starts one, on our processors."""
    socket = farm.environment["ZCC_SOCKET"]
    control.ask(socket, {"op": "stop"})
    while os.path.exists(socket):
        time.sleep(0.05)


def counts(farm: LocalFarm) -> dict[str, int]:
    """Compiles by where, or why, they ran."""
    document = control.ask(farm.environment["ZCC_SOCKET"], {"op": "stats"}) or {}
    return {"remote": document["outcomes"]["remote"], **document["local_reasons"]}


# ---- a long line -------------------------------------------------------------------------------


@contextmanager
def line_to(endpoint: str, is_far: bool) -> Iterator[str]:
    """The endpoint, or where a process stands that passes on to it what comes, late and slowly."""
    if not is_far:
        yield endpoint
        return
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve_line, args=(endpoint, there), daemon=True)
    process.start()
    try:
        yield f"tcp://127.0.0.1:{here.recv()}"
    finally:
        process.kill()
        process.join()


def serve_line(endpoint: str, port: Connection) -> None:
    asyncio.run(_serve_line(endpoint, port))


async def _serve_line(endpoint: str, port: Connection) -> None:
    host, _, number = endpoint.removeprefix("tcp://").rpartition(":")

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(number))
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction: each piece arrives DELAY_S after the line has taken it at its rate."""
    loop = asyncio.get_running_loop()
    line_is_free_s = 0.0
    while piece := await reader.read(16 << 10):
        now = loop.time()
        line_is_free_s = max(now, line_is_free_s) + len(piece) / RATE_BYTES_S
        loop.call_at(line_is_free_s + DELAY_S, writer.write, piece)
        await asyncio.sleep(max(0.0, line_is_free_s - now - LINE_S))
    loop.call_at(max(loop.time(), line_is_free_s) + DELAY_S, writer.close)


if __name__ == "__main__":
    main()
