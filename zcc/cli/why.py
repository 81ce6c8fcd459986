"""`zcc why FILE` and `zcc why CC ARGS...`: why was this no hit, or would be none?"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import typer

from zcc import config as configuration
from zcc.agent.analysis.ask_compiler import run_query
from zcc.agent.analysis.outcome import Here, Prepared
from zcc.agent.analysis.pipeline import Analyser
from zcc.agent.analysis.questions import Surroundings
from zcc.agent.analysis.split import jobs_of
from zcc.agent.history.causes import Cause
from zcc.agent.history.database import FILE_NAME as NOTEBOOK
from zcc.agent.history.fingerprint import Difference, differences, fingerprint_of
from zcc.agent.history.last_compiles import MAX_DIFFERENCES, Last, cause_of, cause_of_miss, lasts_of
from zcc.agent.launchers import wire
from zcc.agent.memory import MemoryShares
from zcc.agent.results.local_cache import UNKNOWN, CacheMode, LocalResult, Missed, Recall, mode_of
from zcc.cli import agent
from zcc.cli.compilers import compilers_of
from zcc.cli.explain import home, request_of
from zcc.cli.reasons import about, code_in, lines_about, phrase, sentences
from zcc.cli.terminal import say
from zcc.errors import ConfigError
from zcc.reasons import Reason

_USAGE = "name a source, an object or a command: zcc why x.c, zcc why gcc -c x.c"


@dataclass(frozen=True, slots=True)
class NextOutcome:
    """What would happen to a command now: `outcome` is `local_hit`, `miss` or `local`.

    `cause` says why it is no hit. A hit may have `changes` all the same, if the same was compiled before the
    last compile.
    """

    source: bytes
    output: bytes
    outcome: str
    cause: Cause | None
    changes: tuple[Difference, ...] = ()


def why(
    command: list[str] = typer.Argument(None, metavar="FILE | CC ARGS...", help=_USAGE),
    as_json: bool = typer.Option(False, "--json", help="One JSON object; put it first."),
) -> None:
    """Say why a compile was not answered from the cache: the first thing that differs.

    For a file: why its last compile was none. For a command: what it would be now, against the last compile
    of the same source into the same output. Nothing is compiled and nothing is sent.
    """
    if not command:
        raise ConfigError(_USAGE)
    agent.ask({"op": "settle"})
    if len(command) == 1:
        _tell_of_file(command[0], as_json)
    else:
        _tell_of_command(command, as_json)


# ---- a file -----------------------------------------------------------------------------------


def _tell_of_file(name: str, as_json: bool) -> None:
    path = os.path.realpath(os.fsencode(name))
    lasts = lasts_of(notebook(), path)
    if as_json:
        typer.echo(json.dumps({"answers": [_document(last) for last in lasts]}))
        return
    if not lasts:
        raise ConfigError(f"no compile of {name} is known (of links and -E nothing is kept)")
    if path not in (lasts[0].source, lasts[0].output):
        say(f"{os.fsdecode(path)} is written by this compile:")
    for line in _story(lasts[0]):
        say(line)
    for last in lasts[1:]:
        say(f"also {pair(last.source, last.output)}, {moment(last.made_s)}: {last.outcome}")


def _story(last: Last) -> Iterable[str]:
    yield pair(last.source, last.output)
    reason = f" ({last.reason})" if last.reason else ""
    outcome = last.outcome.replace("_", " ")
    yield f"compiled {moment(last.made_s)}: {outcome}{reason}"
    yield from (f"{label}: {text}" for label, text in lines_about(last.reason))
    if last.cause is not None:
        first, *others = sentences(last.cause)
        yield f"no hit: {first}"
        yield from (f"        {line}" for line in others)
    if last.hits:
        times = "once" if last.hits == 1 else f"{last.hits} times"
        what = "a hit" if last.fingerprint else "the same"
        yield f"since then {what} {times}, the last {moment(last.used_s)}"


def _document(last: Last) -> dict[str, Any]:
    return {
        "source": os.fsdecode(last.source),
        "output": os.fsdecode(last.output),
        "outcome": last.outcome,
        "reason": last.reason,
        "about": about(last.reason),
        "compiled_at": last.made_s,
        "cause": _cause_document(last.cause),
        "hits_since": last.hits,
        "used_at": last.used_s,
    }


# ---- a command --------------------------------------------------------------------------------


def _tell_of_command(command: list[str], as_json: bool) -> None:
    request = replace(request_of(command), terminal=_terminal())
    forecasts = _forecast(request)
    if as_json:
        typer.echo(json.dumps({"answers": [_forecast_document(each) for each in forecasts]}))
        return
    for each in forecasts:
        if each.source:
            say(pair(each.source, each.output))
        for line in _prophecy(each):
            say(line)


def _forecast(request: wire.Request) -> list[NextOutcome]:
    config = configuration.load(os.environ)
    compilers = compilers_of(os.environ)
    surroundings = Surroundings(run_query, compilers.toolchain)
    analyser = Analyser(surroundings, home(), os.fsencode(config.base_dir))
    jobs = asyncio.run(jobs_of(analyser, request, time.monotonic(), time.monotonic))
    if isinstance(jobs, Here):
        detail = f"{jobs.reason} ({jobs.detail})" if jobs.detail else jobs.reason
        return [NextOutcome(b"", b"", "local", Cause(Reason.NOT_A_JOB, detail))]
    mode = mode_of(request.environment, CacheMode(config.cache))
    directory = configuration.cache_dir(os.environ, config)
    if not mode.looks_up or not os.path.isdir(directory):
        return [_compare(prepared, mode, UNKNOWN) for prepared in jobs]
    recall = Recall(directory, config.cache_bytes, MemoryShares().results)
    try:
        found = [recall.find(each, analyser.disk) for each in jobs]
    finally:
        recall.close()
    return [_compare(each, mode, answer) for each, answer in zip(jobs, found, strict=True)]


def _compare(prepared: Prepared, mode: CacheMode, found: LocalResult | Missed) -> NextOutcome:
    job = prepared.job_in_place
    source, output = os.path.realpath(prepared.source), job.outputs[0]
    lasts = [last for last in lasts_of(notebook(), source) if last.fingerprint]
    # Into another output it is another compile, but the nearest there is.
    last = next((each for each in lasts if each.output == output), lasts[0] if lasts else None)
    fingerprint = fingerprint_of(prepared.job_compared, source)
    if isinstance(found, LocalResult):
        changes = differences(last.fingerprint, fingerprint) if last else []
        return NextOutcome(source, output, "local_hit", None, tuple(changes[:MAX_DIFFERENCES]))
    cause = cause_of_miss(mode, found) or cause_of(last, prepared.key, fingerprint)
    return NextOutcome(source, output, "miss", cause)


def _prophecy(forecast: NextOutcome) -> Iterable[str]:
    if forecast.cause is None:
        yield "would be a hit: this machine's cache holds the result"
        for change in forecast.changes:
            yield f"  (not as the last time: {phrase(change)})"
        return
    first, *others = sentences(forecast.cause)
    yield f"would be no hit: {first}"
    yield from (f"                 {line}" for line in others)
    if forecast.cause.kind == Reason.NOT_A_JOB:
        code = code_in(forecast.cause.detail)
        yield from (f"{label}: {text}" for label, text in lines_about(code))


def _forecast_document(forecast: NextOutcome) -> dict[str, Any]:
    return {
        "source": os.fsdecode(forecast.source),
        "output": os.fsdecode(forecast.output),
        "outcome": forecast.outcome,
        "cause": _cause_document(forecast.cause),
        "changes": [asdict(change) for change in forecast.changes],
    }


def _cause_document(cause: Cause | None) -> dict[str, Any] | None:
    """`about` is of the reason why it can only run here, or of the kind of miss."""
    if cause is None:
        return None
    code = code_in(cause.detail) if cause.kind == Reason.NOT_A_JOB else cause.kind
    return asdict(cause) | {"about": about(code)}


def _terminal() -> wire.TerminalSize | None:
    if not sys.stderr.isatty():
        return None
    size = os.get_terminal_size(sys.stderr.fileno())
    return wire.TerminalSize(size.lines, size.columns)


def pair(source: bytes, output: bytes) -> str:
    into = f" -> {os.fsdecode(output)}" if output else ""
    return f"{os.fsdecode(source)}{into}"


def moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).strftime("%Y-%m-%d %H:%M:%S")


def notebook() -> str:
    """The file in which the agent keeps what it compiled last."""
    return os.path.join(configuration.state_dir(os.environ), NOTEBOOK)
