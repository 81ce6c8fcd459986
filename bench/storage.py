"""What does ccache pay for a hit that comes from the farm, against a hit in its local cache?

One small C++ file with <map> and <string>, its result and manifest in ccache's local cache, behind the
broker's HTTP, and behind `zcc://` (no local cache then: remote_only). Wall is spawn to exit; CPU is ccache's
own, and the broker's and the helper's for each hit, by a clock of 0.5 ms. Each round runs every case; ratios
are to the local hit of the same round.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

from zcc import farm

ROUNDS = 15
CALLS = 20  # of each case in a round
BIN = os.path.dirname(sys.executable)
CCACHE = os.path.join(BIN, "ccache")
SOURCE = "#include <map>\n#include <string>\nstd::map<std::string, int> f() { return {}; }\n"
_CLOCK_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Case:
    name: str
    settings: dict[str, str]
    processes: list[int] = field(default_factory=list)  # whose CPU counts besides ccache's
    rows: list[tuple[float, float, float]] = field(default_factory=list)


def cpu_s(process: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15)."""
    with open(f"/proc/{process}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _CLOCK_TICK_S


def measure(case: Case, environment: dict[str, str]) -> tuple[float, float, float]:
    """Milliseconds a call: wall, ccache's CPU, the others' CPU."""
    command = [CCACHE, "g++", "-O2", "-c", "a.cc", "-o", "a.o"]
    others = sum(map(cpu_s, case.processes))
    own, start = 0.0, time.perf_counter()
    for _ in range(CALLS):
        child = os.posix_spawn(CCACHE, command, {**environment, **case.settings})
        _, status, usage = os.wait4(child, 0)
        assert status == 0
        own += usage.ru_utime + usage.ru_stime
    wall = time.perf_counter() - start
    others = sum(map(cpu_s, case.processes)) - others
    return wall / CALLS * 1e3, own / CALLS * 1e3, others / CALLS * 1e3


def start_broker(directory: str) -> tuple[subprocess.Popen[bytes], str]:
    """A broker that has enrolled us, and its HTTP address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    readable, writable = os.pipe()
    state = os.path.join(directory, "broker")
    command = [os.path.join(BIN, "zcc-broker"), "serve", "--listen", "tcp://127.0.0.1:0"]
    command += ["--state", state, "--ccache-listen", address, "--ready-fd", str(writable)]
    log = os.path.join(directory, "broker.log")
    with open(log, "wb") as file:
        broker = subprocess.Popen(command, pass_fds=(writable,), stderr=file)
    os.close(writable)
    with os.fdopen(readable) as ready:
        assert ready.readline(), f"the broker did not start: see {log}"
    farm.join(ask(directory, "token", "--role", "client"), directory, "bench", ("client",))
    return broker, address


def ask(directory: str, *words: str) -> str:
    command = [os.path.join(BIN, "zcc-broker"), *words]
    command += ["--state", os.path.join(directory, "broker")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def helper_of(socket_directory: str) -> int:
    """The process that ccache has started for zcc://."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if f"CRSH_IPC_ENDPOINT={socket_directory}".encode() in file.read():
                    return int(name)
        except OSError:
            continue
    raise SystemExit("ccache has started no helper")


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:7.2f} ({low:.2f}-{high:.2f})"


def report(cases: list[Case]) -> None:
    heads = ("wall ms", "ccache's CPU ms", "others' CPU ms", "wall / local hit's")
    print(f"{'median (quartiles)':<20}" + "".join(f"{head:>24}" for head in heads))
    local = next(case for case in cases if case.name == "local hit")
    for case in cases:
        columns = [spread([row[at] for row in case.rows]) for at in range(3)]
        pairs = zip(case.rows, local.rows, strict=True)
        columns.append(spread([row[0] / base[0] for row, base in pairs]))
        print(f"{case.name:<20}" + "".join(f"{column:>24}" for column in columns))


def main() -> None:
    print(__doc__)
    with tempfile.TemporaryDirectory(prefix="zcc-") as directory:
        broker, address = start_broker(directory)
        token = ask(directory, "storage-token", "--label", "bench", "--access", "write")
        remote = {"CCACHE_REMOTE_ONLY": "1"}
        url = f"http://{address}|bearer-token={token}"
        cases = [
            Case("compile", {"CCACHE_DISABLE": "1"}),
            Case("local hit", {"CCACHE_DIR": os.path.join(directory, "local")}),
            Case("hit by HTTP", {**remote, "CCACHE_REMOTE_STORAGE": url}, [broker.pid]),
            Case("hit by zcc://", {**remote, "CCACHE_REMOTE_STORAGE": "zcc://"}, [broker.pid]),
        ]
        environment = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": directory,
            "XDG_RUNTIME_DIR": directory,
            "ZCC_CONFIG_DIR": directory,
        }
        os.chdir(directory)
        with open("a.cc", "w") as file:
            file.write(SOURCE)
        os.utime("a.cc", (1_700_000_000, 1_700_000_000))
        try:
            for case in cases:
                measure(case, environment)  # fills
            cases[-1].processes.append(helper_of(directory))
            for _ in range(ROUNDS):
                for case in cases:
                    case.rows.append(measure(case, environment))
            report(cases)
        finally:
            subprocess.run(
                [CCACHE, "--stop-storage-helpers"],
                env={**environment, **cases[-1].settings},
                check=False,
            )
            broker.terminate()
            broker.wait()


if __name__ == "__main__":
    main()
