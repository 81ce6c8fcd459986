"""What the command line asks a running agent (`zcc stats`, `zcc nodes`...), answered with JSON objects."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from cache.digest import DIGEST_SIZE
from zcc import __version__
from zcc.agent.core.effects import CountOutcome
from zcc.agent.core.machine import AgentMachine
from zcc.agent.farm.session import FarmSession
from zcc.agent.farm.uploads import InputUploads
from zcc.agent.history.recorder import Account
from zcc.agent.launchers.inheritance import standing
from zcc.agent.memory import MemoryShares, resident_bytes
from zcc.agent.results.local_cache import Recall
from zcc.messages import AskNodes, AskPlaced, Message, Nodes, Placed, Unknown
from zcc.reasons import Reason

ASK_TIMEOUT_S = 5.0
# A broker answers within FIRST_ANSWER_S and beats within a second from then on, if it is there.
FIRST_WORD_S = 4.0
LOOK_S = 0.05
_OF_A_NODE = (
    "name", "slots", "all_slots", "mode", "running", "speed", "state", "load", "finished", "faults", "reason",
    "member",
)  # fmt: skip


class Desk:
    """Answers from what the agent knows; changes nothing but the statistics."""

    def __init__(
        self,
        account: Account,
        recall: Recall,
        uploads: InputUploads,
        machine: AgentMachine,
        session: FarmSession | None,
        memory: MemoryShares,
        held: Callable[[], dict[str, tuple[int, int]]],
    ) -> None:
        self._memory = memory
        self._held = held
        self._account = account
        self._recall = recall
        self._uploads = uploads
        self._machine = machine
        self._session = session
        self._waiting: list[_Waiting] = []
        # Why the last compile that could have gone elsewhere did not, where that is for somebody to mend.
        self._is_without_nodes = False
        self._no_room = ""
        self._started_at = time.time()

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to `{"op": ...}`; what is wrong is said under `error`."""
        match request.get("op"):
            case "stats":
                self.follow()
                document = self._account.stats.as_dict()
                cache = await asyncio.to_thread(self._recall.sizes)
                return document | {"cache": cache, "agent": self._status()}
            case "zero":
                self.follow()
                self._account.stats.clear()
                self._account.stats.save()
                return {}
            case "settle":
                await asyncio.to_thread(self._recall.wait_written)
                await self._account.settle(self.gauges())
                return {}
            case "recount":
                self._recall.recount()
                return {}
            case "status":
                return self._status()
            case "progress":
                return self._progress(str(request.get("build", "")))
            case "nodes":
                return await self._list_nodes()
            case "slots":
                return await self._count_slots()
            case "placed":
                return await self._tell_placed(str(request.get("job", "")))
            case _:
                return {"error": "unknown request"}

    def follow(self) -> None:
        """Count what has been counted elsewhere since the last time."""
        self._account.stats.follow(self.gauges())
        if self._session is not None:
            self._account.tell(self._session)

    def gauges(self) -> dict[str, float]:
        """What is counted elsewhere, since this agent began."""
        gauges = self._recall.counts() | self._account.counts()
        gauges["asked_bytes"] = self._uploads.asked_bytes
        if self._session is not None:
            gauges["bytes_sent"] = self._session.bytes_sent
            gauges["bytes_received"] = self._session.bytes_received
        return gauges

    def farm_opened(self) -> None:
        """Ask what was asked while there was no connection."""
        if self._session is not None:
            for waiting in self._waiting:
                self._session.ask(waiting.question)

    def farm_closed(self) -> None:
        """Nobody waits for a broker that has said no."""
        if self._session is not None and self._session.refusal:
            for waiting in self._waiting:
                waiting.end(None)

    def counted(self, outcome: CountOutcome) -> None:
        """What became of a call."""
        if outcome.outcome == "remote":
            self._is_without_nodes = False
        elif outcome.reason == Reason.NO_NODES:
            self._is_without_nodes = True
        if outcome.reason == Reason.NO_ROOM:
            self._no_room = outcome.detail
        elif outcome.way:
            self._no_room = ""

    def broker_answered(self, answer: Nodes | Placed | Unknown) -> None:
        """Answers come in the order of the questions: the first that waits for such a one has it."""
        for waiting in self._waiting:
            if waiting.is_answered_by(answer) and waiting.end(answer):
                return

    def _status(self) -> dict[str, Any]:
        session, machine = self._session, self._machine
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": time.time() - self._started_at,
            "calls": len(machine.calls),
            "slots": {"limit": machine.slots.limit, "used": machine.slots.used},
            "broker": session.endpoint if session is not None else None,
            "farm": session.access.farm if session is not None else None,
            "connected": session is not None and session.is_open,
            "dialling": session is not None and session.is_dialling,
            "refusal": session.refusal if session is not None else "",
            "without_nodes": self._is_without_nodes,
            "no_room": self._no_room,
            "standing": asdict(standing()),
            "memory": self._remembered(),
        }

    def _progress(self, build: str) -> dict[str, Any]:
        """Of the calls that have this in ZCC_BUILD."""
        session = self._session
        standing_with = {
            "farm": session.access.farm if session is not None else None,
            "connected": session is not None and session.is_open,
            "dialling": session is not None and session.is_dialling,
        }
        return asdict(self._account.progress.of(os.fsencode(build))) | standing_with

    def _remembered(self) -> dict[str, Any]:
        """What this process takes, and which of its maps how much of that, by their own account."""
        held = self._held() | {
            "results": self._recall.known.held,
            "offers": (self._uploads.offered, self._uploads.size_bytes),
        }
        if self._session is not None:
            held["outputs"] = self._session.outputs.held
        return {
            "resident_bytes": resident_bytes(),
            "limit_bytes": self._memory.limit_bytes,
            "maps": {name: {"entries": each[0], "bytes": each[1]} for name, each in held.items()},
        }

    async def _count_slots(self) -> dict[str, Any]:
        """Compiles that can run at a time, here and on the farm. A broker says it in its first second."""
        session = self._session
        deadline_s = time.monotonic() + FIRST_WORD_S
        while (
            session is not None
            and session.share is None
            and (session.is_open or session.is_dialling)
            and time.monotonic() < deadline_s
        ):
            await asyncio.sleep(LOOK_S)
        share = session.share if session is not None else None
        return {"local": self._machine.slots.limit, "farm": share or 0}

    async def _list_nodes(self) -> dict[str, Any]:
        nodes = await self._ask(AskNodes(), Nodes)
        if not isinstance(nodes, Nodes):
            return {"error": nodes}
        return {"nodes": [{name: getattr(row, name) for name in _OF_A_NODE} for row in nodes.rows]}

    async def _tell_placed(self, job: str) -> dict[str, Any]:
        """Of the jobs whose key begins with these hexadecimal digits."""
        try:
            beginning = bytes.fromhex(job)
        except ValueError:
            return {"error": "a job is named by hexadecimal digits, two for a byte"}
        placed = await self._ask(AskPlaced(beginning[:DIGEST_SIZE]), Placed)
        if not isinstance(placed, Placed):
            return {"error": placed}
        rows = [asdict(row) for row in placed.rows]
        return {"placed": [row | {"job": row["job"].hex()} for row in rows]}

    async def _ask(self, question: Message, takes: type[Message]) -> Message | str:
        """The broker's answer, or why there is none."""
        if self._session is None:
            return "no farm joined"
        if self._session.refusal:
            return self._session.refusal
        future: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(question, takes, future)
        self._waiting.append(waiting)
        self._session.ask(question)  # not connected yet: farm_opened asks
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                answer = await future
        except TimeoutError:
            return "the broker does not answer"
        finally:
            self._waiting.remove(waiting)
        if isinstance(answer, Unknown):
            return "the broker is older than this zcc, and does not know this question"
        return self._session.refusal if answer is None else answer


@dataclass(slots=True, eq=False)
class _Waiting:
    """Somebody who asked the broker."""

    question: Message
    takes: type[Message]
    answer: asyncio.Future[Message | None]

    def is_answered_by(self, answer: Message) -> bool:
        return self.takes is type(answer) or answer == Unknown(self.question.KIND)

    def end(self, answer: Message | None) -> bool:
        """Returns whether he still waited."""
        if self.answer.done():
            return False
        self.answer.set_result(answer)
        return True
