"""How far a build is, in one line at the foot of the terminal, while a command runs.

The line has the terminal's last row, and what the command writes scrolls above it: not a byte of that passes
through here. Each change of the row is one write, so none falls into the command's own.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from zcc import config
from zcc.agent.launchers import control
from zcc.cli.figures import duration

NAME_VARIABLE = "ZCC_BUILD"
LOOK_S = 0.5
_ASK_TIMEOUT_S = 1.0
# A row for the line, and some for the command.
_LEAST_ROWS, _LEAST_COLUMNS = 5, 20
# An agent that was started just now has dialled its broker within so long.
_DIALLING_S = 5.0
# The agent hears of a call's end a moment after its launcher has gone.
_LAST_S, _LAST_LOOK_S = 1.0, 0.02
_COUNTS = ("done", "running", "hits", "remote", "local", "saved_s")
_FORWARDED = (signal.SIGTERM, signal.SIGHUP)
_FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)

Ask = Callable[[str], Mapping[str, Any] | None]


def is_shown() -> bool:
    """Whether there is a terminal for the line."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def named(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with a name for the build, which tells its calls from others."""
    directory = os.path.basename(os.getcwd()) or "build"
    name = environment.get(NAME_VARIABLE) or f"{directory} {time.strftime('%H:%M:%S')}"
    return {**environment, NAME_VARIABLE: name}


def ask_agent(environment: Mapping[str, str]) -> Ask:
    """Asks the agent of this environment for a build's counts."""
    path = config.socket_path(environment)
    return lambda build: control.ask(path, {"op": "progress", "build": build}, _ASK_TIMEOUT_S)


class BuildProgress:
    """What is known of a build since this was made, as text."""

    def __init__(self, build: str, ask: Ask, now_s: float) -> None:
        self._build, self._ask = build, ask
        self._began_s = self._reached_s = now_s
        self._before = self._counts(ask(build))
        self._now = dict(self._before)
        self.farm = ""  # why there is none; empty: there is, or it is not known yet

    def look(self, now_s: float) -> None:
        """Ask anew."""
        answer = self._ask(self._build)
        if answer is None or "done" not in answer:
            return  # no agent yet, or one of another release
        self._now = self._counts(answer)
        self.farm = ""
        if answer.get("connected"):
            self._reached_s = now_s
        elif answer.get("farm") is None:
            self.farm = "no farm was joined"
        elif not answer.get("dialling") or now_s - self._reached_s > _DIALLING_S:
            self.farm = "the farm does not answer"

    def look_last(self) -> None:
        """Ask when the command has ended: its last calls may be on the way to their ends."""
        until_s = time.monotonic() + _LAST_S
        self.look(time.monotonic())
        while self._now["running"] and time.monotonic() < until_s:
            time.sleep(_LAST_LOOK_S)
            self.look(time.monotonic())

    def text(self, now_s: float, *, is_over: bool = False) -> str:
        since = {name: self._now[name] - self._before[name] for name in _COUNTS}
        took = f" in {duration(now_s - self._began_s)}" if is_over else ""
        running = "" if is_over else f", {self._now['running']:.0f} running"
        saved = duration(since["saved_s"])
        line = f"zcc: {since['done']:.0f} done{took}{running}, {since['hits']:.0f} from a cache"
        line += f", {saved} of CPU time saved"
        if not self.farm:
            return line
        return f"{line}; {self.farm}{': zcc doctor says why' if is_over else ''}"

    def _counts(self, answer: Mapping[str, Any] | None) -> dict[str, float]:
        found = {name: (answer or {}).get(name, 0) for name in _COUNTS}
        return {
            name: value if isinstance(value, (int, float)) and math.isfinite(value) else 0
            for name, value in found.items()
        }


class FootLine:
    """The last row of the terminal at this descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rows = 0

    def show(self, text: str) -> None:
        columns, rows = os.get_terminal_size(self._descriptor)
        if rows < _LEAST_ROWS or columns < _LEAST_COLUMNS:
            self.close()
            return
        begin = ""
        if rows != self._rows:
            # A row is made free below what stands there; the rest scrolls above it from now on.
            begin = f"\n\x1b7\x1b[1;{rows - 1}r\x1b8\x1b[1A"
            self._rows = rows
        self._write(f"{begin}\x1b7\x1b[{rows};1H\x1b[2K{text[: columns - 1]}\x1b8")

    def close(self) -> None:
        """The row is the command's again."""
        if self._rows:
            self._write(f"\x1b7\x1b[r\x1b[{self._rows};1H\x1b[2K\x1b8")
            self._rows = 0

    def _write(self, text: str) -> None:
        try:
            os.write(self._descriptor, text.encode())
        except OSError:
            pass  # the terminal is gone; the build is not


def wait_shown(process: subprocess.Popen[bytes], environment: Mapping[str, str]) -> int:
    """Wait for the command with the line below it; its status as `Popen` has it."""
    build = environment[NAME_VARIABLE]
    progress = BuildProgress(build, ask_agent(environment), time.monotonic())
    line = FootLine(sys.stderr.fileno())
    try:
        while True:
            try:
                status = process.wait(LOOK_S)
                break
            except subprocess.TimeoutExpired:
                progress.look(time.monotonic())
                line.show(progress.text(time.monotonic()))
    finally:
        line.close()
    progress.look_last()
    print(progress.text(time.monotonic(), is_over=True), file=sys.stderr)
    return status


def run_shown(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a command in the foreground, and end as it does: the signals that would end this reach it instead.

    Raises:
        OSError: it cannot be run.
    """
    with subprocess.Popen(command, env=environment) as process:

        def forward(number: int, frame: FrameType | None) -> None:
            process.send_signal(number)

        for number in _FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, forward)
        for number in _FROM_KEYBOARD:  # the command has got it as well, and says what it means
            signal.signal(number, _pass_over)
        status = wait_shown(process, environment)
    if status >= 0:
        return status
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
    return 128 - status


def _pass_over(number: int, frame: FrameType | None) -> None:
    """Nothing ends here before the command."""
