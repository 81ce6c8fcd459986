"""`zcc doctor`: every part that a compile needs, tried out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import typer

from zcc import config as configuration
from zcc import farm
from zcc.agent.farm.session import AFTER_REVOKED
from zcc.cli import agent
from zcc.cli.compilers import packed_toolchain
from zcc.cli.terminal import say
from zcc.config import Config
from zcc.errors import CompilerError, ConfigError, NoRoomError, told
from zcc.membership import REVOKED
from zcc.reaching import why_unreachable
from zcc.variables import wrong_in

# A file's time may lie a tick of the kernel's behind the clock, and a second where the file system keeps
# whole ones.
CLOCK_TOLERANCE_S = 2.0
_NODE_CHECK_TIMEOUT_S = 60.0


class CheckState(Enum):
    OK = "ok"
    NOTE = "note"  # compiles go to the farm all the same
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line: what was looked at, how it is, and what to do where it is not well."""

    verdict: CheckState
    what: str
    advice: str = ""


def doctor(
    as_json: bool = typer.Option(False, "--json", help="One JSON array, for scripts."),
) -> None:
    """Check every part that a compile needs; each line is a verdict and what to do.

    The exit status is 1 when compiles cannot go to the farm.
    """
    findings: list[CheckResult] = []
    for finding in _all_findings():
        findings.append(finding)
        if not as_json:
            say(f"{finding.verdict.value:4}  {finding.what}")
            if finding.advice:
                say(f"      {finding.advice}")
    if as_json:
        typer.echo(
            json.dumps([asdict(each) | {"verdict": each.verdict.value} for each in findings])
        )
    if any(finding.verdict is CheckState.FAIL for finding in findings):
        raise typer.Exit(1)


def _all_findings() -> Iterator[CheckResult]:
    try:
        yield from _findings()
    except OSError as error:
        advice = (
            "zcc config says which directories are used; ZCC_CONFIG_DIR and ZCC_STATE_DIR move them"
        )
        yield CheckResult(CheckState.FAIL, told(error), advice)


def _findings() -> Iterator[CheckResult]:
    try:
        config = configuration.load(os.environ)
        access = farm.load_access(configuration.config_dir(os.environ), config.broker)
    except ConfigError as error:
        yield CheckResult(CheckState.FAIL, f"configuration: {error}", "mend it, or remove it")
        return
    yield CheckResult(CheckState.OK, f"configuration in {configuration.config_dir(os.environ)}")
    for wrong in wrong_in(os.environ):
        yield CheckResult(CheckState.NOTE, f"variable {wrong}", "set it right, or unset it")
    yield _launcher()
    yield from _compilers(config)
    yield _clock(os.getcwd())
    yield _sandbox()
    if access is None:
        advice = "zcc-broker token --role client on the broker, then zcc join TOKEN; or zcc up"
        yield CheckResult(CheckState.FAIL, "key: no farm joined, so all compiles are local", advice)
        return
    yield CheckResult(
        CheckState.OK, f"key for {farm.spoken(access.farm)} at {access.where} ({access.role})"
    )
    try:
        status = _agent_status()
    except ConfigError as error:
        yield CheckResult(
            CheckState.FAIL, f"agent: {error}", "mend that; zcc agent start tries again"
        )
        return
    yield CheckResult(CheckState.OK, f"agent, process {status['pid']}")
    yield from _farm(status)


def _launcher() -> CheckResult:
    found = shutil.which("zcc")
    if found is None:
        own = os.path.dirname(agent.sibling("zcc-agent"))
        return CheckResult(CheckState.FAIL, "launcher: no zcc on PATH", f"put {own} on PATH")
    return CheckResult(CheckState.OK, f"launcher {found}")


def _compilers(config: Config) -> Iterator[CheckResult]:
    for name in dict.fromkeys((config.cc, config.cxx)):
        try:
            packed = packed_toolchain(name, os.environ)
        except ConfigError as error:
            advice = f"install {name}, or set another in config.toml (zcc config)"
            yield CheckResult(CheckState.FAIL, f"compiler {error}", advice)
            continue
        except NoRoomError as error:
            advice = "free some there, or move it (ZCC_STATE_DIR); until then all is compiled here"
            yield CheckResult(CheckState.FAIL, f"compiler {name}: no room: {error}", advice)
            continue
        except CompilerError as error:
            advice = "what it compiles is compiled here"
            yield CheckResult(CheckState.FAIL, f"compiler {name}: {error}", advice)
            continue
        size = f"{packed.compressed_bytes / (1 << 20):.0f} MiB"
        described = f"{packed.version} for {packed.target}, {size} to send once"
        yield CheckResult(CheckState.OK, f"compiler {name}: {described}")


def _clock(directory: str) -> CheckResult:
    """Whether files written here bear the time that this machine thinks it is."""
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".zcc-doctor-") as file:
            ahead_s = os.fstat(file.fileno()).st_mtime - time.time()
    except OSError:
        return CheckResult(
            CheckState.OK, f"clock: nothing can be written in {directory}, so not compared"
        )
    if abs(ahead_s) <= CLOCK_TOLERANCE_S:
        return CheckResult(CheckState.OK, f"clock: files in {directory} bear this machine's time")
    return CheckResult(
        CheckState.NOTE,
        f"clock: files in {directory} are {ahead_s:+.0f} s off this machine's",
        "set both clocks (NTP): make rebuilds too much or too little, and zcc reads young files again",
    )


def _sandbox() -> CheckResult:
    """Whether this machine could be a node; `zcc up` needs it too."""
    state = configuration.state_dir(os.environ)
    try:
        os.makedirs(state, mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=state, prefix="doctor-") as scratch:
            command = [agent.sibling("zcc-node"), "check", "--state", scratch]
            # As in zcc up, whose nodes run this user's own jobs.
            command += ["--user", "any"]
            # Without COLUMNS: a line of its is one of ours to fold.
            own = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
            done = subprocess.run(
                command,
                env=own,
                capture_output=True,
                text=True,
                timeout=_NODE_CHECK_TIMEOUT_S,
                check=False,
            )
    except (ConfigError, OSError, subprocess.TimeoutExpired) as error:
        return CheckResult(CheckState.NOTE, f"sandbox: not tried ({error})")
    if done.returncode == 0:
        holds, *weaknesses = done.stdout.strip().split("\n")
        return CheckResult(CheckState.OK, f"sandbox: {holds}", "; ".join(weaknesses))
    why = done.stderr.strip().removeprefix("zcc-node: ")
    return CheckResult(
        CheckState.NOTE,
        f"sandbox: {why}",
        "this machine cannot be a node; its compiles still go to others",
    )


# States of nodes that are given jobs; a limited one, no jobs of some toolchains, a resting one in a moment, a
# probed one after another.
_TAKING = frozenset(("ready", "limited", "resting", "probed"))


def _agent_status() -> dict[str, Any]:
    """
    Raises:
        ConfigError: no agent answers; the message says why.
    """
    status = agent.ask({"op": "status"})
    if status is None:
        agent.launch()
        status = agent.ask({"op": "status"})
    if status is None:
        raise ConfigError("it does not answer")
    return status


def _no_broker(status: dict[str, Any], error: str) -> CheckResult:
    """Which of the ways to the broker is closed."""
    refusal = str(status.get("refusal") or "")
    if refusal == REVOKED:
        return CheckResult(CheckState.FAIL, f"broker: {refusal}", AFTER_REVOKED)
    problem = "" if refusal else why_unreachable(str(status.get("broker") or ""))
    if problem:
        what, _, advice = problem.partition(": ")
        return CheckResult(CheckState.FAIL, f"broker: {what}", advice)
    advice = (
        "was your key revoked (zcc-broker keys shows it)? zcc leave --local, then zcc join TOKEN;"
        " is another broker there? zcc join TOKEN"
    )
    return CheckResult(CheckState.FAIL, f"broker: {refusal or error}", advice)


def _farm(status: dict[str, Any]) -> Iterator[CheckResult]:
    answer = agent.ask({"op": "nodes"}) or {}
    listed = answer.get("nodes")
    if not isinstance(listed, list):
        # It may have learnt more while it was asked.
        status = agent.ask({"op": "status"}) or status
        yield _no_broker(status, str(answer.get("error", "no answer")))
        return
    yield CheckResult(CheckState.OK, "broker answers")
    yield judge_nodes(listed)


def judge_nodes(listed: list[dict[str, Any]]) -> CheckResult:
    """Whether jobs find a place: of these rows only those count that take jobs now."""
    taking = [row for row in listed if row["state"] in _TAKING]
    slots = sum(row["slots"] for row in taking)
    odd = [row for row in listed if row["state"] != "ready"]
    advice = "; ".join(
        f"{row['name']} is {row['state']}" + (f": {row['reason']}" if row["reason"] else "")
        for row in odd
    )
    if slots:
        verdict = CheckState.NOTE if odd else CheckState.OK
        return CheckResult(verdict, f"nodes: {len(taking)} with {slots} slots", advice)
    found = f"nodes: none of {len(listed)} takes jobs" if listed else "nodes: none"
    return CheckResult(CheckState.FAIL, found, advice or "start one: zcc-node serve")
