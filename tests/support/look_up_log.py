"""A log of look-ups, written by real processes outside a sandbox, for the tests of the shim."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from node import shim
from node.sandbox.proof import HEADER_BYTES, LOG_BYTES, empty_log, log_end
from node.shim import build, sources_in

# What the language leaves undefined ends the process; no library of the compiler's is needed for that.
_CHECKED = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")


@dataclass
class Log:
    """A log file with a shim built to write there."""

    directory: str
    path: str
    library: str

    def run(self, *argv: str, cwd: str, **variables: str) -> subprocess.CompletedProcess[str]:
        with open(self.path, "wb") as file:
            file.write(empty_log())
            file.truncate(LOG_BYTES)
        environment = {"PATH": "/usr/bin:/bin", "LD_PRELOAD": self.library, **variables}
        return subprocess.run(
            argv, cwd=cwd, env=environment, check=True, capture_output=True, text=True
        )

    def raw(self) -> bytes:
        with open(self.path, "rb") as file:
            header = file.read(HEADER_BYTES)
            return header + file.read(log_end(header) - HEADER_BYTES)

    def records(self) -> set[str]:
        log = self.raw()
        assert log[8:16] == bytes(8), "flawed"
        return {os.fsdecode(record) for record in log[HEADER_BYTES:].split(b"\0") if record}

    def unseen(self) -> set[str]:
        """What was done that leaves no record."""
        return {record[2:] for record in self.records() if record.startswith("F")}


def make_log(directory: str, *flags: str) -> Log:
    """A log in this directory, and a shim that is built without a warning and checks itself."""
    path, library = os.path.join(directory, "log"), os.path.join(directory, "lookups.so")
    build(
        sources(), library, "-Wall", "-Wextra", "-Werror", *_CHECKED, *flags, f'-DLOG_PATH="{path}"'
    )
    return Log(directory, path, library)


def sources() -> list[str]:
    return sources_in(os.path.dirname(shim.__file__))
