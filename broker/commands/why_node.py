"""`zcc-broker why-node`: where jobs went and why, those of all members."""

from __future__ import annotations

import json
import secrets
import time
from typing import Annotated, Any

import typer

from broker.commands.audit import AsJson, require_broker
from broker.commands.options import DEFAULT_STATE, StateDir
from broker.commands.placed_files import read_answer, write_question
from broker.errors import BrokerError
from broker.state import require_state
from zcc.cli import terminal
from zcc.cli.placements import beginning_of, told
from zcc.member_id import member_id

_ANSWER_S = 15.0
_LOOK_EVERY_S = 0.1

Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="How the job's key begins, as the audit log has it. Without one: the latest jobs, a line each.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the broker's."""

    @app.command("why-node")
    def why_node_(job: Job = "", state: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
        """Say which nodes a job could have gone to, why it went where it did, and what came of it.

        Of all members' jobs; a member asks for its own with `zcc why-node`. The running broker answers.
        """
        beginning = beginning_of(job)
        if beginning is None:
            raise typer.BadParameter(f"{job!r} is no beginning of a job's key")
        require_state(state)
        require_broker(state, "it keeps the log of decisions in memory")
        rows = _ask(state, beginning)
        if as_json:
            typer.echo(json.dumps({"placed": rows}))
            return
        if not rows:
            raise BrokerError("no decision on such a job is kept: docs/design/scheduling.md")
        named = [row | {"user": member_id(row["user"])} for row in rows]
        for line in told(named, terminal.width(), tells_all=bool(job), names_users=True):
            typer.echo(line)


def _ask(state: str, beginning: bytes) -> list[dict[str, Any]]:
    question_id = secrets.token_hex(8)
    try:
        write_question(state, question_id, beginning)
    except OSError as error:
        raise BrokerError(f"cannot write to {state}: {error.strerror}") from error
    deadline_s = time.monotonic() + _ANSWER_S
    while (rows := read_answer(state, question_id)) is None:
        if time.monotonic() > deadline_s:
            raise BrokerError("the broker does not answer: is it an older one? See its log")
        time.sleep(_LOOK_EVERY_S)
    return rows
