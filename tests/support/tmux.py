"""A program in a terminal of so many cells: tmux is the terminal."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.network_farm import wait_until


class TmuxPane:
    """What is on the screen, and the keys."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            check=check,
            timeout=30,
        )
        return done.stdout

    def rows(self) -> list[str]:
        return self.tmux("capture-pane", "-p").splitlines()

    def coloured(self) -> str:
        """With the escapes that make it look so."""
        return self.tmux("capture-pane", "-p", "-e")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def wait_for(self, *texts: str, without: str = "") -> None:
        """Until all of these are on the screen at once, and the other is not."""

        def holds() -> bool:
            screen = "\n".join(self.rows())
            return all(text in screen for text in texts) and not (without and without in screen)

        try:
            wait_until(holds, f"{texts} on the screen")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.rows()])) from None

    def wait_for_end(self) -> None:
        """The program is over: its terminal is gone."""
        wait_until(lambda: not self.tmux("list-sessions", check=False), "the program's end")


@contextmanager
def pane(
    at: Path, command: list[str], environment: Mapping[str, str], columns: int = 80, rows: int = 24
) -> Iterator[TmuxPane]:
    found = TmuxPane(at / "tmux")
    size = ["-x", str(columns), "-y", str(rows)]
    subprocess.run(
        ["tmux", "-S", str(at / "tmux"), "-f", "/dev/null", "new-session", "-d", *size, shlex.join(command)],
        env={**environment},
        check=True,
        timeout=30,
    )  # fmt: skip
    try:
        yield found
    finally:
        found.tmux("kill-server", check=False)
