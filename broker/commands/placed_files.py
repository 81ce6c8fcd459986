"""What an operator asks of placements, and the answer: two files between `zcc-broker why-node` and the broker.

    STATE/placed/question.json    written by the command: an id, and how the job's key begins, in hexadecimal
    STATE/placed/answer.json      written by the broker: that id, and the decisions

Who can write to the broker's state directory is its operator: no key and no message are needed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from broker.state import read_document
from zcc.keys import save_private
from zcc.messages import Placed

logger = logging.getLogger(__name__)

DIRECTORY = "placed"
_QUESTION, _ANSWER = "question.json", "answer.json"


def write_question(state: str, question_id: str, job: bytes) -> None:
    """
    Raises:
        OSError: it cannot be written.
    """
    directory = os.path.join(state, DIRECTORY)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    document = {"id": question_id, "job": job.hex()}
    save_private(os.path.join(directory, _QUESTION), json.dumps(document))


def read_answer(state: str, question_id: str) -> list[dict[str, Any]] | None:
    """The decisions, as `Desk` of the agent gives them; None before the broker has seen the question."""
    document = read_document(os.path.join(state, DIRECTORY, _ANSWER))
    if document is None or document.get("id") != question_id:
        return None
    rows: list[dict[str, Any]] = document["placed"]
    return rows


class PlacedFiles:
    """The broker's side; `placed(job, user, now)` knows."""

    def __init__(
        self, state_dir: str, placed: Callable[[bytes, str | None, float], Placed]
    ) -> None:
        self._directory = os.path.join(state_dir, DIRECTORY)
        self._placed = placed

    def tick(self, now: float) -> None:
        """Answer, where something was asked. To be called about twice a second."""
        path = os.path.join(self._directory, _QUESTION)
        if not os.path.exists(path):
            return
        document = read_document(path)
        try:
            os.unlink(path)
            if document is not None:
                self._answer(document, now)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("cannot answer what is in %s: %s", path, error)

    def _answer(self, document: dict[str, Any], now: float) -> None:
        job = bytes.fromhex(document["job"])
        rows = [asdict(row) for row in self._placed(job, None, now).rows]
        told = [row | {"job": row["job"].hex()} for row in rows]
        answer = json.dumps({"id": document["id"], "placed": told})
        save_private(os.path.join(self._directory, _ANSWER), answer)
