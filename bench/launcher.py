"""What does the launcher cost each compile, beyond starting a process at all?

The launcher asks an agent that answers at once. CPU is the child's own (user + system, from wait4),
wall is spawn to exit. Each round runs every case; ratios are to /bin/true in the same round.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from zcc.agent.launchers.wire import RequestReader, encode_result, encode_run

ROUNDS = 25
CALLS = 40  # of each case in a round: the kernel's clock for CPU is fine, its noise is not
OBJECT_BYTES = 100_000  # a middling C file's with -g
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../zcc/launcher/*.c")


def serve(listener: socket.socket, answers: dict[bytes, list[bytes]]) -> None:
    """Answers each request by its first argument."""
    while True:
        connection, _ = listener.accept()
        reader, request = RequestReader(), None
        while request is None:
            request = reader.feed(connection.recv(1 << 16))
        for piece in answers[request.argv[1]]:
            connection.sendall(piece)
        connection.close()


def find_launcher(directory: str) -> str:
    """The one installed with this interpreter, else one built as the package builds it."""
    installed = os.path.join(os.path.dirname(sys.executable), "zcc")
    if os.path.exists(installed):
        return installed
    built = os.path.join(directory, "zcc")
    subprocess.run(["cc", "-O2", "-static", "-o", built, *glob.glob(SOURCES)], check=True)
    return built


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """(CPU, wall) milliseconds of one call, from `CALLS` of them."""
    cpu = 0.0
    start = time.perf_counter()
    for _ in range(CALLS):
        _, status, usage = os.wait4(os.posix_spawn(command[0], command, environment), 0)
        assert status == 0
        cpu += usage.ru_utime + usage.ru_stime
    return cpu / CALLS * 1e3, (time.perf_counter() - start) / CALLS * 1e3


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:7.3f} ({low:.3f}-{high:.3f})"


def report(name: str, rows: list[tuple[float, float]], base: list[tuple[float, float]]) -> None:
    pick: list[Callable[[tuple[float, float]], float]] = [lambda row: row[0], lambda row: row[1]]
    columns = [spread([column(row) for row in rows]) for column in pick]
    ratio = spread([row[0] / true[0] for row, true in zip(rows, base, strict=True)])
    over = spread([row[0] - true[0] for row, true in zip(rows, base, strict=True)])
    print(f"{name:<22}{columns[0]:>24}{columns[1]:>24}{ratio:>24}{over:>24}")


def main() -> None:
    print(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "agent.sock")
        target = os.fsencode(os.path.join(directory, "x.o"))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        answers = {
            b"nothing": encode_result(0, [], b"", b""),
            b"object": encode_result(0, [(target, 0o644, bytes(OBJECT_BYTES))], b"", b""),
            b"run": [encode_run(b"/bin/true", b"true")],
        }
        threading.Thread(target=serve, args=(listener, answers), daemon=True).start()
        zcc, compiler = find_launcher(directory), shutil.which("cc") or "/usr/bin/cc"
        cases = {
            "/bin/true": ["/bin/true"],
            "zcc, empty result": [zcc, compiler, "nothing"],
            "zcc, 100 KB object": [zcc, compiler, "object"],
            "zcc, then /bin/true": [zcc, compiler, "run"],
            "/bin/true again": ["/bin/true"],
        }
        environment = os.environ | {"ZCC_SOCKET": path, "ZCC_FALLBACK": "never"}
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, command in cases.items():
                rows[name].append(measure(command, environment))
        heads = ("CPU ms", "wall ms", "CPU / /bin/true's", "CPU ms more")
        print(f"{'median (quartiles)':<22}" + "".join(f"{head:>24}" for head in heads))
        for name in cases:
            report(name, rows[name], rows["/bin/true"])


if __name__ == "__main__":
    main()
