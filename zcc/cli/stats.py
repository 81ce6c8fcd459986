"""`zcc stats`: which stretch of calls, in which form."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

import typer

from zcc import config as configuration
from zcc.agent.history.database import FILE_NAME as NOTEBOOK
from zcc.agent.history.minutes import PastBuild, forget_builds, past_builds, since
from zcc.agent.history.stats import FILE_NAME, read
from zcc.agent.history.tally import tally_from
from zcc.cli import agent, layout, terminal
from zcc.cli.exposition import ccache, prometheus
from zcc.cli.figures import duration, health, size_text, table
from zcc.cli.program import LenientCommand
from zcc.cli.reasons import about
from zcc.errors import ConfigError

# Builds that can be asked for, and that `--builds` lists.
MOST_BUILDS = 1000
LISTED_BUILDS = 20
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BUILDS = ("N", "began", "took", "calls", "hits", "sent", "project")
_NUMBERS = ("N", "took", "calls", "hits", "sent")
# The first excludes each of the others.
_EXCLUDING = (
    ("--zero", "--builds", "--build", "--since", "--watch", "--json", "--format"),
    ("--builds", "--build", "--since"),
    ("--build", "--since"),
    ("--json", "--format"),
)
# Longer than anybody watches, and what sleeping takes.
MOST_WATCH_S = 86_400.0
_CLEAR_SCREEN = "\x1b[H\x1b[2J"


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CCACHE = "ccache"
    PROMETHEUS = "prometheus"


class StatsCommand(LenientCommand):
    """`--watch` is `--watch 2`, `--build` is `--build 1`."""

    left_out: ClassVar = {"--watch": "2", "--build": "1"}


def stats(
    as_json: bool = typer.Option(False, "--json", help="The same as --format=json."),
    form: Format | None = typer.Option(
        None, "--format", help="Default table. ccache: as `ccache --print-stats`."
    ),
    build: str = typer.Option(
        "", "--build", metavar="[N]", help="The latest build only, or the N-th latest."
    ),
    builds: bool = typer.Option(False, "--builds", help="List the builds, the latest first."),
    begin: str = typer.Option(
        "", "--since", metavar="TIME", help="What happened since: 90s, 2h, 3d, 2026-11-25T10:00."
    ),
    watch: str = typer.Option(
        "", "--watch", metavar="[SECONDS]", help="Show it again and again, until Ctrl-C."
    ),
    zero: bool = typer.Option(False, "--zero", help="Set all counters to nought; forget builds."),
) -> None:
    """What happened to the compiles: where they ran, and why not elsewhere."""
    given = {
        "--zero": zero,
        "--builds": builds,
        "--build": bool(build),
        "--since": bool(begin),
        "--watch": bool(watch),
        "--json": as_json,
        "--format": form is not None,
    }
    _refuse_pairs({name for name, is_given in given.items() if is_given}, form)
    if zero:
        _zero()
        return
    form = Format.JSON if as_json else form or Format.TABLE
    chosen = parse_build(build) if build else 0
    every_s = parse_watch(watch) if watch else 0.0
    if not every_s:
        sys.stdout.write(_shown(form, chosen, builds, begin))
        return
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            clearing = _CLEAR_SCREEN if sys.stdout.isatty() else ""
            sys.stdout.write(clearing + _shown(form, chosen, builds, begin))
            sys.stdout.flush()
            time.sleep(every_s)


def _refuse_pairs(given: set[str], form: Format | None) -> None:
    """
    Raises:
        ConfigError: two of these options say different things of what is shown, and one would be passed over.
    """
    for first, *others in _EXCLUDING:
        for other in others:
            agree = first == "--json" and other == "--format" and form is Format.JSON
            if {first, other} <= given and not agree:
                raise ConfigError(f"{first} and {other} exclude each other")
    if "--builds" in given and form in (Format.CCACHE, Format.PROMETHEUS):
        raise ConfigError(f"--builds and --format {form} exclude each other: table or json")


def _shown(form: Format, build: int, builds: bool, begin: str) -> str:
    if builds:
        return _list_builds(form)
    document, title = _document(build, begin)
    match form:
        case Format.JSON:
            complaints = [asdict(complaint) for complaint in health(document)]
            more = {"health": complaints, "about": _about(document)}
            return json.dumps(document | more) + "\n"
        case Format.CCACHE:
            return ccache(document)
        case Format.PROMETHEUS:
            return prometheus(document)
        case Format.TABLE:
            has_colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
            return "".join(
                f"{line}\n" for line in table(document, title, has_colour, terminal.width())
            )


def _about(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What is known of each reason that has been counted, by its code."""
    codes = (*document["local_reasons"], *document["listed_reasons"])
    found = ((code, about(code)) for code in codes)
    return {code: told for code, told in found if told is not None}


def _document(build: int, begin: str) -> tuple[dict[str, Any], str]:
    """What is to be shown, and what it is called."""
    state = configuration.state_dir(os.environ)
    path = os.path.join(state, FILE_NAME)
    found: dict[str, Any] = agent.ask({"op": "stats"}) or read(path)
    # A file that an older zcc wrote lacks some; what is there and no number stays as it is.
    document = found | tally_from(found).as_dict()
    document["updated_at"] = _modified_s(path)
    notebook = os.path.join(state, NOTEBOOK)
    if begin:
        agent.ask({"op": "settle"})
        begin_s = parse_since(begin, time.time())
        text = datetime.fromtimestamp(begin_s).strftime("%Y-%m-%d %H:%M")
        return document | since(notebook, begin_s).as_dict(), f"since {text}"
    if build:
        agent.ask({"op": "settle"})
        past = past_builds(notebook, MOST_BUILDS)
        if build > len(past):
            raise ConfigError(_no_build(build, len(past)))
        chosen = past[build - 1]
        return document | chosen.tally.as_dict() | {"build": _facts(build, chosen)}, _title(chosen)
    zeroed_s = document.get("zeroed_at") or 0
    day = f" since {datetime.fromtimestamp(zeroed_s):%Y-%m-%d %H:%M}" if zeroed_s else ""
    return document, f"all compiles{day}"


def _list_builds(form: Format) -> str:
    agent.ask({"op": "settle"})
    state = configuration.state_dir(os.environ)
    past = past_builds(os.path.join(state, NOTEBOOK), LISTED_BUILDS)
    if form is Format.JSON:
        return (
            json.dumps([_facts(at, each) | each.tally.as_dict() for at, each in enumerate(past, 1)])
            + "\n"
        )
    rows = []
    for number, each in enumerate(past, 1):
        numbers, outcomes = each.tally.numbers, each.tally.outcomes
        hits = outcomes["local_hit"] + outcomes["shared_hit"]
        share = 100 * hits / max(1, numbers["calls"])
        rows.append((
            str(number), f"{datetime.fromtimestamp(each.begun_s):%Y-%m-%d %H:%M}",
            duration(each.active_s - each.begun_s), f"{numbers['calls']:.0f}", f"{share:.1f}%",
            size_text(numbers["bytes_sent"]), os.fsdecode(each.project),
        ))  # fmt: skip
    lines = layout.table(_BUILDS, rows, terminal.width(), right=_NUMBERS)
    return "".join(f"{line}\n" for line in lines)


def _facts(number: int, build: PastBuild) -> dict[str, Any]:
    """`number` is what `--build` takes and changes with each new build; `id` stays."""
    return {
        "number": number,
        "id": build.number,
        "project": os.fsdecode(build.project),
        "begun_at": build.begun_s,
        "ended_at": build.active_s,
    }


def _title(build: PastBuild) -> str:
    began = datetime.fromtimestamp(build.begun_s).strftime("%Y-%m-%d %H:%M:%S")
    took = duration(build.active_s - build.begun_s)
    return f"build of {os.fsdecode(build.project)}, began {began}, took {took}"


def parse_build(text: str) -> int:
    """The N of `--build N`, counted from 1, the latest build.

    Raises:
        ConfigError: it is no such number.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise ConfigError(
            f"--build {text}: expected a number, 1 for the latest build, 2 for the one before;"
            " zcc stats --builds lists them"
        )
    return int(text)


def parse_watch(text: str) -> float:
    """The seconds of `--watch SECONDS`.

    Raises:
        ConfigError: it is no such number.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_WATCH_S:  # nan is neither
        raise ConfigError(f"--watch {text}: expected seconds, more than 0 and a day at most")
    return seconds


def _no_build(number: int, count: int) -> str:
    if not count:
        return "no build is known yet: compile something with zcc in front (zcc gcc -c x.c)"
    known = "1 build" if count == 1 else f"{count} builds"
    return f"--build {number}: {known} known, 1 is the latest; zcc stats --builds lists them"


def _zero() -> None:
    state = configuration.state_dir(os.environ)
    if agent.ask({"op": "zero"}) is not None:
        return
    if os.path.exists(os.path.join(state, FILE_NAME)):
        os.unlink(os.path.join(state, FILE_NAME))
    if os.path.exists(os.path.join(state, NOTEBOOK)):
        forget_builds(os.path.join(state, NOTEBOOK))


def parse_since(text: str, now_s: float) -> float:
    """Unix seconds of `90s`, `2h`, `3d` ago, or of a local date and time in ISO 8601.

    Raises:
        ConfigError: it is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now_s - float(ago[1]) * _UNITS_S[ago[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise ConfigError(f"{text!r} is no time: write 90s, 2h, 3d or 2026-11-25T10:00") from None


def _modified_s(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
