"""`zcc publish -- make ...`: this machine compiles for its own jobs, and the farm remembers the results.

What a machine compiles by itself has no log of its look-ups, hence no proof, and nobody else can take it. So a
publisher's machine gets a node for as long as the command runs: the same sandbox and the same log, under
the publisher's own key, for jobs of that key alone.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from zcc import config, farm
from zcc.bounds import MAX_SLOTS
from zcc.cli import agent
from zcc.cli.supervisor import Work, die_with_parent, is_agent, supervise
from zcc.cli.terminal import complaint
from zcc.cli.up import last_words, run_command
from zcc.errors import ConfigError, told

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


def publish(
    command: list[str] = typer.Argument(metavar="COMMAND", help="What to run, a build mostly."),
    slots: int = typer.Option(
        0, min=0, max=MAX_SLOTS, metavar="N", help="Compiles at a time; 0: one a processor."
    ),
) -> None:
    """Run a build whose results the farm remembers, compiled here where no other node takes them.

    For machines that build from clean checkouts (CI). Needs a key of the role publisher: `zcc-broker token
    --role publisher`, then `zcc join`.
    """
    farm.publisher_access(os.environ)
    directory = os.path.join(config.state_dir(os.environ), "own-node")

    def run(group: int) -> int:
        with _own_node(directory, slots):
            return run_command(command, os.environ, group)

    raise typer.Exit(supervise(Work(run, True, ends_all=False, spares=is_agent)))


@contextmanager
def _own_node(directory: str, slots: int) -> Iterator[None]:
    """A node, as long as this lasts. Where there can be none a word says why, and the build goes on: what no
    other node does is compiled here, and stays unpublished."""
    node = None
    try:
        node = _started(directory, slots)
    except (ConfigError, OSError) as error:
        print(complaint(f"zcc: this build has no node of its own: {told(error)}"), file=sys.stderr)
    try:
        yield
    finally:
        if node is not None:
            _stop(node)


def _started(directory: str, slots: int) -> subprocess.Popen[bytes]:
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with open(os.path.join(directory, "lock"), "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another zcc publish has one, which takes this build's jobs too (see {directory})"
            ) from error
        # It takes the lock with it, so that one that outlives us is noticed.
        return _start_node(directory, slots, lock.fileno())


def _start_node(directory: str, slots: int, lock: int) -> subprocess.Popen[bytes]:
    """A node that the broker has welcomed."""
    name = f"{os.uname().nodename}:publish"
    log_path = os.path.join(directory, "node.log")
    command = [agent.sibling("zcc-node"), "serve", "--own", "--state", directory, "--name", name]
    with open(log_path, "wb") as log:
        node = subprocess.Popen(
            # Its jobs are this user's own, and what he waits for.
            [*command, "--slots", str(slots), "--nice", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C ends the build first
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one thread
        )
    try:
        _wait_for_welcome(node, name, log_path)
    except BaseException:
        _stop(node)
        raise
    return node


def _wait_for_welcome(node: subprocess.Popen[bytes], name: str, log_path: str) -> None:
    """
    Raises:
        ConfigError: it has ended, or the farm does not answer.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    if agent.ask({"op": "status"}) is None:
        agent.launch()
    while not _is_listed(name):
        if node.poll() is not None:
            raise ConfigError(f"it did not start: {last_words(log_path)} (see {log_path})")
        if time.monotonic() > deadline:
            raise ConfigError(f"no word of the farm for {START_TIMEOUT_S:.0f} s (see {log_path})")
        time.sleep(0.05)


def _is_listed(name: str) -> bool:
    rows = (agent.ask({"op": "nodes"}) or {}).get("nodes")
    return isinstance(rows, list) and any(row["name"] == name for row in rows)


def _stop(node: subprocess.Popen[bytes]) -> None:
    if node.poll() is None:
        node.send_signal(signal.SIGTERM)
    try:
        node.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()
