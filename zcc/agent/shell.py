"""The agent's sockets, processes, clock and disk around its pure core."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import zmq

from zcc.agent.analysis.ask_compiler import run_query
from zcc.agent.analysis.compilers import Compilers
from zcc.agent.analysis.outcome import Here, Prepared
from zcc.agent.analysis.pipeline import Analyser
from zcc.agent.analysis.questions import Surroundings
from zcc.agent.analysis.split import jobs_of
from zcc.agent.calls import (
    Call,
    failed,
    placed,
    why_not_taken,
)
from zcc.agent.control.answers import Desk
from zcc.agent.core.discrepancy import LocalRun
from zcc.agent.core.effects import (
    CompareResult,
    CountOutcome,
    Effect,
    FailCall,
    ForgetCall,
    ForgetRefusals,
    NoteRefusal,
    PlaceResult,
    RaceHere,
    RunHere,
    StopRace,
)
from zcc.agent.core.events import (
    CallArrived,
    CallClosed,
    CallIsLocal,
    CallPrepared,
    CallStopped,
    CheckWanted,
    Event,
    FarmClosed,
    FarmOpened,
    JobBegan,
    JobRefused,
    JobWaits,
    Looked,
    RaceLost,
    RaceWon,
    ResultRecalled,
    TimePassed,
)
from zcc.agent.core.machine import AgentMachine
from zcc.agent.core.slots import Slots
from zcc.agent.core.weight import slots_of
from zcc.agent.farm.session import FarmSession
from zcc.agent.farm.uploads import InputUploads
from zcc.agent.history.recorder import Account
from zcc.agent.jobs import Jobs, parts_of
from zcc.agent.launchers import compiler_name, wire
from zcc.agent.launchers.connection import Visitor
from zcc.agent.launchers.parked import RestingRoom
from zcc.agent.launchers.peer import Caller, CompilerState, Looks
from zcc.agent.launchers.succession import Succession
from zcc.agent.memory import MemoryShares
from zcc.agent.results.late_answers import first_other_input, first_outdated, is_of_use, reply_here
from zcc.agent.results.local_cache import CacheMode, Recall, mode_of
from zcc.agent.results.part import way_of
from zcc.agent.results.racing import Aside, Races
from zcc.agent.results.refusals import Refusals
from zcc.agent.results.results import Results
from zcc.agent.results.verifying import Checker
from zcc.agent.results.voiding import Voiding
from zcc.config import SOONER, Config
from zcc.farm import Access
from zcc.messages import (
    HAS_BEGUN_S,
    AskVoided,
    Finished,
    Nodes,
    Placed,
    Unknown,
    Voided,
)
from zcc.reasons import Reason
from zcc.variables import wrong_in_call

logger = logging.getLogger(__name__)

TICK_S = 1.0
# A launcher gives up on a silent agent after 30 s; it hears from us well before.
KEEP_ALIVE_S = 5.0


class AgentShell:
    """One agent. `left` is done when it has idled long enough or was told to stop."""

    def __init__(
        self,
        config: Config,
        access: Access | None,
        state_dir: str,
        cache_dir: str,
        home: bytes,
        succession: Succession,
    ) -> None:
        # Leaves the socket's path to another agent; who opens the door says how.
        self.hand_over: Callable[[], None] = lambda: None
        self._succession = succession
        self._has_handed_over = False
        self._loop = asyncio.get_running_loop()
        self.left: asyncio.Future[None] = self._loop.create_future()
        self._config = config
        self._machine = AgentMachine(
            Slots(config.local_slots),
            config.remote_timeout_s,
            # What a publisher compiles is to be remembered, by a node on this machine.
            is_sharing=config.local == SOONER and access is not None and access.role != "publisher",
        )
        self._machine.is_farm_expected = access is not None
        if access is None:
            self._machine.farm_reason = Reason.NOT_JOINED
        self._compilers = Compilers(os.path.join(state_dir, "toolchains"))
        memory = MemoryShares(config.memory_bytes)
        self._analyser = Analyser(
            Surroundings(run_query, self._compilers.toolchain),
            home,
            os.fsencode(config.base_dir),
            self._count_unknown,
            memory,
        )
        tells = config.events == "on"
        self._account = Account(state_dir, self._analyser.projects.checkout_of, tells=tells)
        self._stats = self._account.stats
        self._uploads = uploads = InputUploads(memory.offers)
        self._cache_mode = CacheMode(config.cache)
        self._recall = Recall(cache_dir, config.cache_bytes, memory.results)
        self._checker = Checker(config.verify, self._account, self._recall, self._analyser.disk)
        self._calls: dict[int, Call] = {}
        self._resting = RestingRoom()
        self._refusals = Refusals()
        self._tasks: set[asyncio.Task[None]] = set()
        self._races = Races(state_dir, self._race_ended)
        self._looking: asyncio.TimerHandle | None = None
        self._idle_since_s = self._loop.time()
        self._holders = Looks(self._idle_since_s)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._session: FarmSession | None = None
        self._voiding: Voiding | None = None
        if access is not None:
            self._voiding = Voiding(cache_dir, self._recall, access.broker_public)
            name = f"{os.uname().nodename}:{os.getpid()}"
            self._session = FarmSession(
                self._context, access, name, self, uploads.read, uploads.path_of
            )
        self._results = Results(
            self._analyser, self._recall, self._account, self._session, self._machine.forecast
        )
        self._jobs = Jobs(
            self._session, uploads, self._results, self._account, self._machine.forecast
        )
        self._desk = Desk(
            self._account,
            self._recall,
            self._uploads,
            self._machine,
            self._session,
            memory,
            self._analyser.held,
        )
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        self._keeping = self._loop.call_later(KEEP_ALIVE_S, self._keep_alive)

    async def close(self) -> None:
        self._ticking.cancel()
        self._keeping.cancel()
        if self._looking is not None:
            self._looking.cancel()
        await self._races.close()
        for task in self._tasks:
            task.cancel()
        if self._session is not None:
            self._session.close("the agent leaves")
        self._resting.close()
        self._recall.close()
        self._account.close(self._desk.gauges())
        self._context.term()

    # ---- launchers (Host) ----------------------------------------------------------------------

    def call_arrived(self, visitor: Visitor, request: wire.Request) -> None:
        if self._makes_way_for(request.build) or self._makes_way_to(visitor.caller):
            visitor.send(wire.encode_restart())
            visitor.close()
            return
        if self._machine.slots.used >= self._machine.slots.limit:
            self._resting.look()
        number = visitor.number
        mode = mode_of(request.environment, self._cache_mode)
        build = self._stats.enter(request.cwd)
        call = Call(visitor, request, self._loop.time(), build, cache_mode=mode)
        if request.is_named:
            call.age_s = visitor.caller.age_s()
        self._calls[number] = call
        self._account.arrived(request)
        for each in wrong_in_call(request.environment):
            self._stats.note_once(each)
        policy = request.environment.get(b"ZCC_FALLBACK")
        self._handle(
            CallArrived(number, request.depth > 0, policy == b"never", policy == b"forbid")
        )
        here = self._at_once(call) or self._meanwhile(number, call)
        if here is not None:
            self._run_here(number, call, here)
            return
        task = self._loop.create_task(self._analyse(number, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def call_misunderstood(self) -> None:
        self._makes_way_for(None)

    def _makes_way_for(self, build: int | None) -> bool:
        if not self._succession.is_over_for(build, self._loop.time()):
            return False
        self._hand_over(self._succession.reason())
        return True

    def _makes_way_to(self, caller: Caller) -> bool:
        """One that was started under `sg` would compile here whatever is asked for without that group, and one
        under `ulimit -f 0` can keep nothing."""
        if caller.has_fewer_groups():
            self._hand_over("a caller has fewer groups")
        elif caller.may_write_more():
            self._hand_over("a caller may write larger files")
        else:
            return False
        return True

    def _hand_over(self, reason: str) -> None:
        if not self._has_handed_over:
            self._has_handed_over = True
            logger.info("another agent is to come: %s", reason)
            self.hand_over()
            # The end of the last compile is what it waits for now.
            self._resting.watch(True)

    def call_closed(self, visitor: Visitor) -> None:
        self._idle_since_s = self._loop.time()
        self._handle(CallClosed(visitor.number, self._local_run(visitor.number)))

    def _local_run(self, number: int) -> LocalRun | None:
        """What the compile here has left of a job that failed on the farm."""
        ticket = self._machine.awaited(number)
        if ticket is None:
            return None
        ended_ns = time.time_ns()
        other = first_other_input(self._calls[number], self._analyser.disk, self._loop.time())
        return self._jobs.local_run(ticket, ended_ns, other)

    def _compare(self, call: Call) -> None:
        """What has come against what the compile here has written."""
        if call.check is not None and call.ran_here_ns:
            other = first_other_input(call, self._analyser.disk, self._loop.time())
            keeps, begun_ns = call.cache_mode.keeps, call.ran_here_ns
            self._checker.conclude(call.check, call.parts, call.build, begun_ns, keeps, other)

    async def control(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("op") == "stop":
            self._loop.call_soon(self.stop)
            return {}
        self._resting.look()
        return await self._desk.answer(request)

    # ---- the farm (Listener) -------------------------------------------------------------------

    def farm_opened(self) -> None:
        if self._session is not None and self._voiding is not None:
            self._session.ask(self._voiding.question())
        self._handle(FarmOpened())
        self._desk.farm_opened()

    def farm_closed(self, reason: Reason) -> None:
        self._handle(FarmClosed(reason))
        self._desk.farm_closed()

    def job_refused(self, ticket: int, reason: str) -> None:
        code, _, detail = reason.partition(": ")
        self._handle(JobRefused(ticket, code, detail))

    def job_begins(self, ticket: int, expected_s: float) -> None:
        waits = expected_s > HAS_BEGUN_S
        self._handle(JobWaits(ticket, expected_s) if waits else JobBegan(ticket))

    def job_finished(self, message: Finished) -> None:
        event = self._jobs.came(message)
        if event is not None:
            self._handle(event)

    def broker_answered(self, answer: Nodes | Placed | Unknown) -> None:
        if answer == Unknown(AskVoided.KIND) and self._voiding is not None:
            self._voiding.not_told()
        self._desk.broker_answered(answer)

    def results_voided(self, message: Voided) -> None:
        is_all_in_doubt = self._voiding is not None and self._voiding.told(message)
        # What is on its way, sent before the verdict, is not to be believed either.
        coming = {part.prepared.key for call in self._calls.values() for part in call.parts}
        self._account.disputed.add(coming if is_all_in_doubt else coming.intersection(message.keys))

    # ---- one call ------------------------------------------------------------------------------

    def _at_once(self, call: Call) -> Here | None:
        """A command that only passes through waits for nobody."""
        try:
            call.request = self._with_compiler(call.request)
            here = self._analyser.at_once(call.request)
            if here is None:
                here = self._refusals.why_here(call.request, self._loop.time())
            return here or call.visitor.caller.why_here(call.request)
        except Exception as error:  # noqa: BLE001 - logged there
            return failed(call.request, error)

    def _meanwhile(self, number: int, call: Call) -> Here | None:
        """A compiler that is new is packed first, and who comes then need not wait for that."""
        if not self._compilers.is_packing(call.request.executable):
            return None
        is_idle = self._machine.may_begin_here(number)
        return Here(Reason.SOONER_HERE, "its compiler is being packed") if is_idle else None

    async def _analyse(self, number: int, call: Call) -> None:
        answer: list[Prepared] | Here
        try:
            answer = await jobs_of(self._analyser, call.request, call.arrived_s, self._loop.time)
        except Exception as error:  # noqa: BLE001 - logged there
            answer = failed(call.request, error)
        if isinstance(answer, Here):
            self._run_here(number, call, answer)
            return
        if number not in self._calls:
            return  # its launcher has gone meanwhile
        self._jobs.enter(number, call, answer)
        if call.cache_mode.looks_up:
            self._results.recall(call)
        call.check = self._checker.choose(call.request.environment, call.parts)
        if call.check is not None:
            self._handle(CheckWanted(number))
        way, why = way_of(call.parts), why_not_taken(call)
        is_known = all(part.result for part in call.parts)
        if why is None and is_known:
            why = first_outdated(call, self._analyser.disk, self._loop.time())
        if why is not None:
            self._run_here(number, call, why)
        elif is_known:
            self._handle(ResultRecalled(number, way))
        else:
            keys = tuple(part.prepared.cost_key for part in call.parts)
            can_race = self._races.can_race(call.parts)
            fresh, parts = call.wants_fresh, parts_of(call)
            self._handle(CallPrepared(number, way, parts, fresh, keys, can_race))

    def _run_here(self, number: int, call: Call, why: Here) -> None:
        request, limit = call.request, self._machine.slots.limit
        slots = slots_of(request.argv[1:], request.environment, limit)
        self._handle(CallIsLocal(number, why.reason, why.detail, slots))

    def _with_compiler(self, request: wire.Request) -> wire.Request:
        if not request.use_default:
            return request
        name = self._config.cxx if request.is_cxx else self._config.cc
        return compiler_name.with_default(request, os.fsencode(name))

    def _race_ended(self, number: int, aside: Aside | None) -> None:
        call, disk, now = self._calls.get(number), self._analyser.disk, self._loop.time()
        if call is None or not is_of_use(call, aside, disk, now):
            self._handle(RaceLost(number))
        else:
            call.aside = aside
            self._handle(RaceWon(number))

    # ---- effects -------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        for effect in self._machine.handle(event, self._loop.time()):
            self._do(effect)
        self._resting.watch(self._has_handed_over or self._machine.wants_ends)
        look_again_s = self._machine.look_again_s
        if look_again_s is not None and self._looking is None:
            self._looking = self._loop.call_later(look_again_s, self._look)

    def _look(self) -> None:
        self._looking = None
        self._handle(Looked())

    def _do(self, effect: Effect) -> None:
        match effect:
            case NoteRefusal(number, reason, detail, is_clear):
                request, now = self._calls[number].request, self._loop.time()
                self._refusals.refused(request, reason, detail, now, is_clear)
            case ForgetRefusals(number):
                self._refusals.taken(self._calls[number].request)
            case RunHere(number, is_compared):
                call = self._calls[number]
                call.visitor.send(reply_here(call, self._analyser.disk, self._loop.time()))
                if not is_compared:
                    call.visitor.rest(self._resting)
            case CompareResult(number):
                self._compare(self._calls[number])
            case PlaceResult(number):
                call = self._calls[number]
                call.visitor.send(*wire.encode_result(0, *placed(call)))
                call.aside = None
                for part in call.parts:
                    part.files = []
            case RaceHere(number):
                call = self._calls[number]
                if self._races.can_race(call.parts):
                    prepared, cwd = call.parts[0].prepared, call.visitor.caller.directory
                    self._races.start(number, prepared, call.request, cwd)
                else:  # it is done under its own names since
                    self._loop.call_soon(self._race_ended, number, None)
            case StopRace(number):
                self._races.stop(number)
            case FailCall(number, message):
                self._calls[number].visitor.send(wire.encode_fail(message))
            case CountOutcome():
                self._count(effect)
            case ForgetCall(number):
                call = self._calls.pop(number)
                self._account.left(call.build, call.request, call.parts)
                self._jobs.leave(call)
            case _:
                event = self._jobs.do(effect, self._loop.time())
                if event is not None:
                    self._handle(event)

    def _count(self, effect: CountOutcome) -> None:
        call = self._calls[effect.call]
        if effect.reason:
            logger.debug("local: %s %s", effect.reason, effect.detail)
            if effect.reason == Reason.UNKNOWN_OPTION:
                self._count_unknown(os.fsencode(effect.detail))
        took_s = self._loop.time() - call.arrived_s
        account, mode = self._account, call.cache_mode
        self._desk.counted(effect)
        try:
            account.settled(call.build, call.request, call.parts, mode, effect, took_s)
        except Exception:  # what only looks on must not keep a build from going on
            logger.exception("counting %r", effect)

    def _count_unknown(self, word: bytes) -> None:
        self._stats.count_unknown(word)

    # ---- time ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        self._resting.look()
        self._look_at_holders()
        self._handle(TimePassed())
        if self._succession.is_over(self._loop.time()):
            self._hand_over(self._succession.reason())
        self._desk.follow()
        self._stats.save()
        idle_s = self._loop.time() - self._idle_since_s
        if not self._calls and idle_s > self._config.idle_minutes * 60:
            logger.info("idle for %.0f s: leaving", idle_s)
            self.stop()

    def _look_at_holders(self) -> None:
        is_waited_for = self._has_handed_over or self._machine.wants_ends
        if not self._holders.is_time(self._loop.time(), is_waited_for):
            return
        for number in self._machine.running_here():
            call = self._calls[number]
            standing = call.visitor.caller.standing(call.arrived_s)
            if standing is CompilerState.ENDED:
                call.visitor.dismiss()
            elif standing is CompilerState.STOPPED:
                self._handle(CallStopped(number))

    def _keep_alive(self) -> None:
        self._keeping = self._loop.call_later(KEEP_ALIVE_S, self._keep_alive)
        for number in self._machine.pending():
            self._calls[number].visitor.send(wire.encode_wait())

    @property
    def is_busy(self) -> bool:
        return bool(self._calls)

    def stop(self) -> None:
        """Leave; what is under way is compiled locally by its launchers."""
        if not self.left.done():
            self.left.set_result(None)
