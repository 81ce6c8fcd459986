"""Question: how much memory does an agent take over many compiles of many projects, and does it end flat?

Bar: over the second half of the calls resident memory grows by less than 5%. The real agent is asked over its
socket, as launchers ask it, for compiles of sources in projects of their own. Each is analysed, scanned, looked
up and let go; the compiler itself is not run. With `--farm` a farm on this machine compiles each source once,
what follows are hits, and broker and node are shown too.

    bench/soak.py [--calls 50000] [--files 2000] [--projects 40] [--memory 256M] [--base-dir auto] [--farm]
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent
HEADERS = 300  # of each project; a source includes a fifth of them, and some of the system's
REPORTS = 20
MAX_GROWTH = 1.05


def main() -> None:
    print(__doc__)
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--projects", type=int, default=40)
    parser.add_argument("--memory", default="256M")
    parser.add_argument("--base-dir", default="")
    parser.add_argument("--farm", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zcc-soak-") as place:
        sources = write_projects(Path(place) / "projects", options.projects, options.files)
        farm = LocalFarm(place)
        try:
            if options.farm:
                farm.start(nodes=1, slots=os.cpu_count() or 1)
            else:
                own = os.path.join(place, "client")
                os.mkdir(own, mode=0o700)
                farm.environment = os.environ | {
                    "ZCC_CONFIG_DIR": own,
                    "ZCC_STATE_DIR": own,
                    "ZCC_SOCKET": os.path.join(own, "agent.sock"),
                }
            write_settings(farm, options.memory, options.base_dir)
            soak(farm, sources, options.calls)
        finally:
            farm.stop()


def write_projects(place: Path, projects: int, files: int) -> list[tuple[Path, str]]:
    """Checkouts with headers and sources of their own: (checkout, source)."""
    sources = []
    for number in range(projects):
        project = place / f"p{number}"
        for name in (".git", "include", "src"):
            (project / name).mkdir(parents=True)
        for at in range(HEADERS):
            macros = "".join(f"#define M{number}_{at}_{i} {i}\n" for i in range(20))
            body = f"#pragma once\nstruct S{number}_{at} {{ int a[{at + 1}]; }};\n"
            (project / "include" / f"h{at}.h").write_text(body + macros)
        for at in range(files // projects):
            includes = [f'"h{(at * 13 + step * 5) % HEADERS}.h"' for step in range(HEADERS // 5)]
            lines = [f"#include {name}\n" for name in ("<vector>", "<string>", "<map>", *includes)]
            source = f"src/f{at}.cc"
            (project / source).write_text("".join(lines) + f"int f{number}_{at};\n")
            sources.append((project, source))
    return sources


def write_settings(farm: LocalFarm, memory: str, base_dir: str) -> None:
    """An agent that begins with these."""
    config = Path(farm.environment["ZCC_CONFIG_DIR"]) / "config.toml"
    config.write_text(f'memory = "{memory}"\nbase_dir = "{base_dir}"\n')
    for word in ("stop", "start"):
        command = [str(BIN / "zcc"), "agent", word]
        subprocess.run(command, env=farm.environment, check=True, stdout=subprocess.DEVNULL)


def soak(farm: LocalFarm, sources: list[tuple[Path, str]], calls: int) -> None:
    path = farm.environment["ZCC_SOCKET"]
    variables = [f"PATH={os.environ['PATH']}", "HOME=/nowhere"]
    compiler = shutil.which("g++") or sys.exit("this bench needs g++")
    pids = dict(named_pids(farm))
    print(f"{'calls':>8} {'seconds':>8} " + " ".join(f"{name + ' MB':>10}" for name in pids))
    begun_s, half = time.perf_counter(), 0.0
    for call in range(1, calls + 1):
        project, source = sources[call % len(sources)]
        if call % len(sources) == 0 or Path.cwd() != project:
            os.chdir(project)
        words = ["-Iinclude", "-O2", "-c", source, "-o", source + ".o"]
        ask(path, request_of(project, compiler, words, variables))
        if call % max(1, calls // REPORTS) == 0:
            sizes = [resident_mb(pid) for pid in pids.values()]
            seconds = time.perf_counter() - begun_s
            print(f"{call:8} {seconds:8.0f} " + " ".join(f"{size:10.1f}" for size in sizes))
            sys.stdout.flush()
            half = sizes[0] if call <= calls // 2 else half
    status = control.ask(path, {"op": "status"})
    assert status is not None
    print("entries and MB, by the agent's own account:")
    for name, each in status["memory"]["maps"].items():
        print(f"    {name:<10} {each['entries']:8} {each['bytes'] / 1e6:8.1f}")
    growth = resident_mb(int(status["pid"])) / half
    verdict = "flat" if growth < MAX_GROWTH else "NOT flat"
    print(f"second half: {growth:.3f} of what it was after the first: {verdict}")
    os.chdir("/")


def named_pids(farm: LocalFarm) -> Iterator[tuple[str, int]]:
    status = control.ask(farm.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    yield "agent", int(status["pid"])
    if farm.broker is not None:
        yield "broker", farm.broker.pid
        yield "node", farm.nodes[0].pid


def request_of(cwd: Path, compiler: str, words: list[str], variables: list[str]) -> bytes:
    """What the launcher would send (zcc/agent/launchers/wire.py)."""
    strings = [str(cwd), "g++", compiler, *words, *variables]
    body = struct.pack("<IIHHII", 0, 0o022, 0, 0, len(words), len(variables))
    body += b"".join(os.fsencode(string) + b"\0" for string in strings)
    return struct.pack("<4sI", b"ZCC\1", len(body)) + body


def ask(path: str, request: bytes) -> None:
    """One call; the compiler that is let go ends at once."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(request)
        kind, left = 3, 0
        while kind == 3:  # be patient
            kind, left = struct.unpack("<II", connection.recv(8, socket.MSG_WAITALL))
        while left > 0:
            left -= len(connection.recv(min(left, 1 << 20))) or left


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return 0.0


if __name__ == "__main__":
    main()
