"""`zcc-broker audit`: have remembered results run again on other nodes, and read what came of it."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from broker.commands.options import DEFAULT_STATE, StateDir
from broker.errors import BrokerError, StartError
from broker.results.auditor import DIRECTORY
from broker.results.inquiry import Inquiry, Report, read_report, write_inquiry
from broker.state import require_state, take_lock
from broker.trust.verdicts import Verdict
from cache.stores import DiskStore
from zcc.cli.cache import by_node, key_of, refuse_strangers
from zcc.config import parse_share

# The running broker looks for inquiries twice a second.
_ANSWER_S = 15.0
_LOOK_EVERY_S = 0.2
_BAD = (Verdict.MAKER_AT_FAULT, Verdict.OTHER_AT_FAULT, Verdict.DISPUTED)

Share = Annotated[
    str, typer.Option(metavar="SHARE", help="How many of the results, at random: 1%, 0.5, 100%.")
]
Node = Annotated[
    str, typer.Option(metavar="NAME|ID", help="Of those that this node has made alone.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")]


def register(app: typer.Typer, open_results: Callable[[str], DiskStore]) -> None:
    """Add the command to the broker's; `open_results(STATE)` gives what that broker remembers."""

    @app.command("audit")
    def audit_(
        share: Share = "1%",
        node: Node = "",
        state: StateDir = DEFAULT_STATE,
        as_json: AsJson = False,
    ) -> None:
        """Run remembered results again on other nodes, and compare. Exit status 1 when any is not confirmed.

        The running broker does it, while no job waits. Ctrl-C ends the waiting, not the audit.
        """
        require_state(state)
        if node:
            with closing(open_results(state)) as store:
                node = key_of(store, "node_key", node)
                refuse_strangers(store, by_node(node))
        audit(share, node, state, as_json)


def audit(share: str, node: str, state: str, as_json: bool) -> None:
    require_broker(state, "it does the auditing")
    directory = os.path.join(state, DIRECTORY)
    inquiry = Inquiry(secrets.token_hex(8), parse_share(share), node)
    try:
        write_inquiry(directory, inquiry)
    except OSError as error:
        raise BrokerError(f"cannot write to {directory}: {error.strerror}") from error
    report = _wait_for(directory, inquiry.id)
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    else:
        _print(report)
    raise typer.Exit(1 if any(report.verdicts.get(verdict.value) for verdict in _BAD) else 0)


def require_broker(state: str, why: str) -> None:
    """
    Raises:
        BrokerError: none serves from this state.
    """
    try:
        handle = take_lock(state)
    except StartError:
        return  # somebody serves
    os.close(handle)
    raise BrokerError(f"no broker serves from {state} now: start it, {why}")


def _wait_for(directory: str, inquiry_id: str) -> Report:
    deadline_s = time.monotonic() + _ANSWER_S
    shown = -1
    while True:
        report = read_report(directory, inquiry_id)
        if report is None and time.monotonic() > deadline_s:
            raise BrokerError("the broker does not answer: is it an older one? See its log")
        if report is not None:
            if report.is_over:
                return report
            if report.left != shown and sys.stderr.isatty():
                shown = report.left
                print(f"\r{report.asked - shown} of {report.asked}", end="", file=sys.stderr)
        time.sleep(_LOOK_EVERY_S)


def _print(report: Report) -> None:
    typer.echo(
        f"{report.asked} of {report.results} results were chosen;"
        f" {report.jobs_kept} can be run again, as their jobs are kept"
    )
    for verdict, count in sorted(report.verdicts.items()):
        typer.echo(f"{verdict:16} {count:>6}")
    for reason, count in sorted(report.skipped.items()):
        typer.echo(f"skipped: {reason:16} {count:>6}")
    for finding in report.findings:
        typer.echo(finding.sentence())
