"""Jobs that leave as much as they can: log, messages, outputs, directories. A node's beats go on.

A job that filled the log of its look-ups kept the node's loop for as long as it took to be read: the node was
lost, and blamed.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.farm import AttackedFarm, Client, assert_unharmed, play
from zcc.job import Manifest

# The answers that may come: a result that proves nothing, or that there is none.
ANSWERS = {"Finished", "Refused"}


async def filled(farm: AttackedFarm, innocent: Client, mode: str) -> dict[str, Any]:
    """Four such jobs at once, as many as the farm has slots; then an innocent's."""
    attackers = [await farm.client(f"attacker{number}") for number in range(4)]
    tickets = []
    for number, attacker in enumerate(attackers):
        job = farm.job(mode.encode(), name=b"a%d" % number)
        if mode == "follow":
            way = b"x/" * 900 + b"../" * 900
            links = tuple((b"/l%d" % at, way + b"l%d" % (at + 1)) for at in range(39))
            job = farm.job(
                mode.encode(),
                name=b"a%d" % number,
                manifest=Manifest(job.manifest.files, symlinks=links),
            )
        if mode == "outputs":
            outputs = tuple(b"/src/o%d" % at for at in range(256))
            job = farm.job(mode.encode(), name=b"a%d" % number, outputs=outputs)
        tickets.append(await attacker.submit(job))
    meanwhile = await farm.compiles(innocent, 60.0)
    answers = [
        type(await attacker.outcome(ticket, 60.0)).__name__
        for attacker, ticket in zip(attackers, tickets, strict=True)
    ]
    return {"answers": answers, "meanwhile": meanwhile}


@pytest.mark.parametrize("mode", ["fill-log", "short-log", "follow", "say", "deep", "outputs"])
def test_what_a_job_leaves_holds_no_node_up(mode: str) -> None:
    outcome = play(__name__, "filled", mode)
    assert set(outcome["answers"]) <= ANSWERS, outcome
    assert outcome["meanwhile"]["innocent"] == "Finished", outcome
    assert_unharmed(outcome)
