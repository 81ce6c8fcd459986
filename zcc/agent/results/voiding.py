"""What the farm has taken back, and this user's own cache forgets therefore.

    heard.BROKER    in the cache's directory: "MARK NUMBER" of the last Voided that was acted on; BROKER are the
                    first digits of the digest of its public key

It belongs to the results that it speaks of, whichever agent uses them, and is written only behind what it
stands for. Where a broker has none, nothing was taken from it yet: so it is written before the first result is
kept. A broker that has another list than the one that is known costs all results. So does one that keeps no
list, being of an older release, where one was known; and nothing that comes from it is kept. An agent that has
no answer yet serves what is here, as it does where there is no farm: that was right as far as anybody has told
it.

Several agents may have one cache. One that has heard less than the file says keeps nothing: what it has taken
may be what another has just removed, and the next agent would ask behind that.
"""

from __future__ import annotations

import logging
import os
from functools import partial

from cache.digest import digest_of
from zcc.agent.results.local_cache import Recall
from zcc.keys import save_private
from zcc.messages import AskVoided, Voided

logger = logging.getLogger(__name__)

_DIGITS = 16
# No broker's list is marked so: what is in the file cannot be read, and its results are not to be trusted.
_DAMAGED = bytes(16)


class Voiding:
    """For one broker, known by its public key."""

    def __init__(self, cache_dir: str, recall: Recall, broker_public: str) -> None:
        name = f"heard.{digest_of(broker_public.encode()).hex()[:_DIGITS]}"
        self._path = os.path.join(cache_dir, name)
        self._recall = recall
        self._list, self._number = _read(self._path)
        self._noted = (self._list, self._number)  # in the file, by this agent or before it
        self._has_list = True  # the broker, as far as it has not said otherwise
        recall.may_keep = self._is_noted

    def question(self) -> AskVoided:
        return AskVoided(self._list, self._number)

    def told(self, message: Voided) -> bool:
        """Forget what is void. Whether any result that is on its way now may be void as well: whose it is shows
        when it is here, and a node's name is asked of what is kept alone."""
        self._has_list = True
        if (message.list_id, message.last) == (self._list, self._number):
            return False
        # The broker goes on behind a number where it has found the mark that it was asked with, nowhere else.
        is_known = message.since == self._number < message.last
        is_all_in_doubt = bool(self._list) and (not is_known or bool(message.nodes))
        keys, nodes = message.keys, message.nodes
        if not self._list:
            logger.info("nothing was taken from this farm yet")
        elif is_known:
            logger.info(
                "the farm takes back results: %d, and all of %d nodes", len(keys), len(nodes)
            )
            self._recall.forget_void(keys, nodes)
        else:
            logger.info(
                "forgetting all results: which of them the farm has taken back is not known"
            )
            self._recall.forget_all()
        self._list, self._number = message.list_id, message.last
        self._recall.when_forgotten(partial(self._write, self._list, self._number))
        return is_all_in_doubt

    def not_told(self) -> None:
        """The broker does not know the question: what it takes back is heard by nobody."""
        was_said, self._has_list = not self._has_list, False
        if self._list and not was_said:
            logger.info(
                "forgetting all results: the broker does not say which of them it takes back"
            )
            self._recall.forget_all()
            self._list, self._number = _DAMAGED, 0
            self._recall.when_forgotten(partial(self._write, self._list, self._number))

    def _is_noted(self) -> bool:
        """Whether the next agent will know of which list this one has heard, and not of more: somebody may have
        cleaned up, before the broker's first answer there is none, and another agent may have heard more."""
        if not self._has_list:
            return False
        noted = _read(self._path)
        if not noted[0]:
            return bool(self._list) and self._write(self._list, self._number)
        is_behind = noted[0] != self._list or noted[1] > self._number
        return noted == self._noted or not is_behind

    def _write(self, list_id: bytes, number: int) -> bool:
        try:
            save_private(self._path, f"{list_id.hex()} {number}\n")
        except OSError as error:  # what was forgotten is heard once more
            logger.warning("%s: %s", self._path, error)
            return False
        self._noted = (list_id, number)
        return True


def _read(path: str) -> tuple[bytes, int]:
    try:
        with open(path, encoding="ascii") as file:
            listed, number = file.read().split()
        return bytes.fromhex(listed), int(number)
    except FileNotFoundError:
        return b"", 0
    except (OSError, ValueError):
        return _DAMAGED, 0
