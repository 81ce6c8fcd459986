"""`zcc agent start|stop|status`."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from typing import Any

import typer

from zcc import config
from zcc.agent.launchers import control
from zcc.agent.launchers.inheritance import reduced
from zcc.agent.launchers.starting import last_failure
from zcc.cli.figures import duration, size_text
from zcc.cli.program import Program
from zcc.cli.terminal import say
from zcc.errors import ConfigError
from zcc.farm import DEFAULT_FARM
from zcc.installation import program_beside

app = Program(help="The process between your compiles and the farm.")
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0


def ask(request: dict[str, object]) -> dict[str, object] | None:
    """Ask the agent of this environment; None when none runs."""
    return control.ask(config.socket_path(os.environ), request)


def sibling(program: str) -> str:
    """A program that was installed with this one."""
    found = program_beside(program)
    if found is None:
        raise ConfigError(f"{program} is not installed beside zcc nor on PATH: reinstall zcc")
    return found


@app.command()
def start() -> None:
    """Start the agent now (the first compile would)."""
    if ask({"op": "status"}) is not None:
        say("the agent runs already")
        return
    say(f"the agent runs (process {launch()})")


def launch() -> int:
    """Start the agent of this environment, detached from this process; its process id.

    Raises:
        ConfigError: it did not come up; the message says why.
    """
    readable, writable = os.pipe()
    environment = reduced(os.environ) | {"ZCC_READY_FD": str(writable)}
    process = subprocess.Popen(
        [sibling("zcc-agent"), "serve"],
        env=environment,
        pass_fds=(writable,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
    )
    os.close(writable)
    with open(readable, "rb") as ready:
        if ready.read(1):
            status = ask({"op": "status"}) or {}
            return int(str(status.get("pid", process.pid)))
    assert process.stderr is not None
    with process.stderr:
        said = process.stderr.read().decode(errors="replace").strip().splitlines()
    # Of a traceback the end.
    why = said[-1].removeprefix("zcc-agent: ") if said else "no reason given"
    raise ConfigError(f"the agent did not start: {why}")


@app.command()
def stop() -> None:
    """Stop the agent; compiles that it has in hand are done locally."""
    status = ask({"op": "status"})
    if status is None:
        say("no agent runs")
        return
    ask({"op": "stop"})
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while ask({"op": "status"}) is not None:
        if time.monotonic() > deadline:
            raise ConfigError(f"the agent (process {status.get('pid')}) does not stop")
        time.sleep(0.05)
    say("stopped")


def stop_and_wait() -> None:
    """Stop the agent, if one runs, and wait until its process has ended: it writes files until then.

    Raises:
        ConfigError: it goes on.
    """
    pid = (ask({"op": "status"}) or {}).get("pid")
    if not isinstance(pid, int):
        return
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ask({"op": "stop"})
        if not select.select([process], [], [], STOP_TIMEOUT_S)[0]:
            raise ConfigError(f"the agent (process {pid}) does not stop")
    finally:
        os.close(process)


@app.command()
def status(
    as_json: bool = typer.Option(False, "--json", help="One JSON object, for scripts."),
) -> None:
    """What the agent is doing; exit status 1 when none runs."""
    answer = ask({"op": "status"})
    if answer is None:
        say("{}" if as_json else why_none())
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for line in told_status(answer):
        say(line)


def _told_surroundings(answer: dict[str, Any]) -> list[str]:
    """What the agent takes, and where it stands. An agent from before an upgrade does not say it all."""
    lines = []
    if memory := answer.get("memory"):
        lines.append(f"memory       {_told_memory(memory)}")
    if standing := answer.get("standing"):
        cgroup = f", in {standing['cgroup']}" if standing["cgroup"] not in ("", "/") else ""
        lines.append(f"processors   {standing['processors']}, niceness {standing['nice']}{cgroup}")
        lines += [f"odd          {each}" for each in standing["remarks"]]
    return lines


def _told_memory(memory: dict[str, Any]) -> str:
    """What it takes, and the three maps that hold most."""
    most = sorted(memory["maps"].items(), key=lambda each: -int(each[1]["bytes"]))[:3]
    maps = ", ".join(f"{name} {size_text(each['bytes'])}" for name, each in most)
    return f"{size_text(memory['resident_bytes'])}; may remember {size_text(memory['limit_bytes'])}: {maps}"


def why_none() -> str:
    """What to say where no agent answers."""
    failed = last_failure(config.socket_path(os.environ))
    if failed is None:
        return "no agent runs; the first compile starts one"
    why = failed.reason or "it said nothing"
    return f"no agent runs; the last start failed {duration(failed.ago_s)} ago: {why}"


def _told_away(answer: dict[str, Any]) -> str:
    """Why it is not connected."""
    if answer.get("dialling") and not answer["refusal"]:
        return "dialling"
    return f"not connected: {answer['refusal'] or 'it does not answer'} (zcc doctor)"


def told_status(answer: dict[str, Any]) -> list[str]:
    """The agent's own account (`Desk`, `op: status`) in words."""
    slots, calls = answer["slots"], answer["calls"]
    if not answer["broker"]:
        connection = "none joined, so all compiles run here (zcc join TOKEN)"
    else:
        state = "connected" if answer["connected"] else _told_away(answer)
        name = "" if answer["farm"] == DEFAULT_FARM else f"{answer['farm']}, "
        connection = f"{name}{answer['broker']}, {state}"
    running = "no calls" if not calls else "1 call" if calls == 1 else f"{calls} calls"
    since = duration(answer["uptime_s"])
    return [
        f"agent        zcc {answer['version']}, process {answer['pid']}, started {since} ago",
        f"farm         {connection}",
        f"in hand      {running}",
        f"local slots  {slots['used']} of {slots['limit']} taken",
        *_told_surroundings(answer),
    ]
