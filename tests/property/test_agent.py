"""Whatever launchers, farm and compilers do, in whatever order: each call has one answer, made of results that
all hold or by one compiler; what nobody waits for is called off; nothing is compiled anew twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zcc.agent.core.call_state import CallStage
from zcc.agent.core.chances import PASSING
from zcc.agent.core.discrepancy import LocalRun
from zcc.agent.core.effects import (
    CancelJob,
    CompareResult,
    CompileInPlace,
    ConfirmResult,
    CountDiscrepancy,
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
    SubmitJob,
    VoidResult,
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
    PartFailed,
    PartPrepared,
    PartTaken,
    PartUnproven,
    RaceLost,
    RaceWon,
    ResultConfirmed,
    ResultRecalled,
    TimePassed,
)
from zcc.agent.core.machine import AgentMachine
from zcc.agent.core.slots import Slots
from zcc.messages import WRONG_JOB
from zcc.reasons import Reason

UNPROVEN = (
    Reason.PROOF,
    Reason.PLUGIN,
    Reason.DAMAGED_RESULT,
    Reason.DISPUTED,
    Reason.TEMPORARY_NAME,
    Reason.INPUTS_CHANGED,
    Reason.SEVERAL_SOURCES,
)
REFUSED = ("no-nodes", Reason.JOB_REFUSED.value, Reason.SMALL.value, "of a later release")
SUCCESS = LocalRun(2_000_000_000, 1_000_000_000, 2_000_000_001)
FIRST_FURTHER_TICKET = 1_000
SELDOM = st.sampled_from((False, False, False, False, False, True))


@dataclass(frozen=True)
class Command:
    """What a launcher calls with. `known` are its parts, and whether this machine remembers their results."""

    known: list[bool]
    is_nested: bool
    is_strict: bool
    is_forbidden: bool
    is_checked: bool
    is_moved: bool
    is_fresh: bool
    can_race: bool


COMMANDS = st.builds(
    Command,
    known=st.lists(SELDOM, min_size=1, max_size=3),
    is_nested=SELDOM,
    is_strict=SELDOM,
    is_forbidden=SELDOM,
    is_checked=SELDOM,
    is_moved=st.booleans(),
    is_fresh=SELDOM,
    can_race=st.booleans(),
)


@dataclass(frozen=True)
class Word:
    """What the farm says of a ticket; `still_holds`: so do the results of the call, if it is the last."""

    kind: str
    is_late: bool
    is_recalled: bool
    still_holds: bool
    reason: Reason
    refusal: str
    seconds: float


WORDS = st.builds(
    Word,
    kind=st.sampled_from(
        ("good", "good", "unproven", "unproven", "failed", "refused", "waits", "begins")
    ),
    is_late=SELDOM,
    is_recalled=st.booleans(),
    still_holds=st.sampled_from((True, True, False)),
    reason=st.sampled_from(UNPROVEN),
    refusal=st.sampled_from(REFUSED),
    seconds=st.sampled_from((0.5, 20.0)),
)


@dataclass
class KnownCall:
    """A call as its launcher, its parts and the farm have it."""

    command: Command
    is_analysed: bool = False
    tickets: list[int] = field(default_factory=list)
    good: set[int] = field(default_factory=set)  # tickets whose results are here
    is_confirmed: bool = False
    is_raced: bool = False
    has_won: bool = False
    failed: bool = False
    anew: int = 0
    answer: str = ""
    outcomes: list[str] = field(default_factory=list)

    @property
    def is_checked(self) -> bool:
        return (
            self.is_analysed
            and self.command.is_checked
            and not self.command.is_forbidden
            and bool(self.tickets)
        )


def last_word(kind: str, reason: Reason) -> Word:
    return Word(kind, True, True, True, reason, "", 0.0)


def is_new(call: KnownCall) -> bool:
    return not call.is_analysed


def is_answered(call: KnownCall) -> bool:
    return bool(call.answer)


def runs_here(call: KnownCall) -> bool:
    return call.answer == "here"


def is_raced(call: KnownCall) -> bool:
    return call.is_raced


class AgentRules(RuleBasedStateMachine):
    @initialize(
        slots=st.integers(1, 3),
        is_sharing=st.booleans(),
        farm=st.sampled_from(("open", "open", "open", "expected", "none")),
    )
    def start(self, slots: int, is_sharing: bool, farm: str) -> None:
        self.agent = AgentMachine(Slots(slots), remote_timeout_s=100.0, is_sharing=is_sharing)
        self.agent.is_farm_expected = farm == "expected"
        self.now = 0.0
        self.calls: dict[int, KnownCall] = {}
        self.owners: dict[int, int] = {}
        self.last_call = 0
        self.last_ticket = FIRST_FURTHER_TICKET
        # Tickets that the farm works on.
        self.away: set[int] = set()
        self.moved: set[int] = set()
        # What the next ConfirmResult leads to, and what is under way in `happen`.
        self.still_holds = True
        self.learn(5.0)
        if farm == "open":
            self.happen(FarmOpened())

    # --- the shell ------------------------------------------------------------------------------

    def happen(self, event: Event) -> None:
        for effect in self.agent.handle(event, self.now):
            self.carry_out(effect)
        self.agent.validate()

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case SubmitJob() | CancelJob() | ConfirmResult() | VoidResult() | CompileInPlace():
                self.carry_out_for_job(effect, self.calls[self.owners[effect.ticket]])
            case CountDiscrepancy(ticket):
                call = self.calls[self.owners[ticket]]
                assert call.failed
                assert call.answer == "here"
            case _:
                self.carry_out_for_call(effect, self.calls[effect.call])

    def carry_out_for_job(
        self,
        effect: SubmitJob | CancelJob | ConfirmResult | VoidResult | CompileInPlace,
        call: KnownCall,
    ) -> None:
        ticket = effect.ticket
        match effect:
            case SubmitJob():
                assert not call.answer, "it is answered"
                assert ticket not in call.good, "its result is here"
                assert ticket not in self.away, "it is under way"
                self.away.add(ticket)
            case CancelJob():
                assert ticket in self.away or not self.agent.is_farm_open
                self.away.discard(ticket)
            case ConfirmResult():
                assert call.good == set(call.tickets), "others are to come"
                holds = self.still_holds
                call.is_confirmed = holds
                self.happen(
                    ResultConfirmed(ticket)
                    if holds
                    else PartUnproven(ticket, Reason.INPUTS_CHANGED, "", is_recalled=False)
                )
            case VoidResult():
                call.good.discard(ticket)
            case CompileInPlace():
                assert ticket in self.moved, "it is in its place"
                self.moved.discard(ticket)

    def carry_out_for_call(self, effect: Effect, call: KnownCall) -> None:
        match effect:
            case RunHere(_, is_compared):
                assert not call.is_raced, "two compilers write"
                assert not call.command.is_forbidden
                assert is_compared == (call.is_checked or call.failed)
                self.answered(call, "here")
            case PlaceResult():
                assert call.has_won or call.is_confirmed
                assert not call.is_checked or call.has_won
                self.answered(call, "placed")
            case FailCall():
                assert call.command.is_strict or call.command.is_forbidden
                self.answered(call, "failed")
            case CountOutcome(_, outcome):
                call.outcomes.append(outcome)
                assert len(call.outcomes) == 1, "counted twice"
            case RaceHere():
                assert not call.is_raced
                assert not call.answer
                call.is_raced = True
            case StopRace():
                assert call.is_raced
                call.is_raced = False
            case NoteRefusal(_, reason, _, is_clear):
                assert reason not in PASSING
                assert is_clear == (reason in WRONG_JOB)
            case ForgetRefusals():
                assert call.is_confirmed
            case CompareResult():
                assert call.is_checked
                assert call.answer == "here"
            case ForgetCall(number):
                assert not call.is_raced
                assert not self.away.intersection(call.tickets), "nobody waits for it"
                del self.calls[number]
            case _:
                raise AssertionError(effect)

    def answered(self, call: KnownCall, how: str) -> None:
        assert not call.answer, "two answers"
        call.answer = how

    # --- launchers ------------------------------------------------------------------------------

    @rule(
        coming=st.lists(COMMANDS, min_size=1, max_size=3),
        is_analysed=st.sampled_from((True, True, False)),
    )
    def calls_come(self, coming: list[Command], is_analysed: bool) -> None:
        for command in coming:
            self.last_call += 1
            self.calls[self.last_call] = KnownCall(command)
            is_strict, is_forbidden = command.is_strict, command.is_forbidden
            arrived = CallArrived(self.last_call, command.is_nested, is_strict, is_forbidden)
            self.happen(arrived)
            if is_analysed:
                self.prepare(self.last_call)

    @precondition(lambda self: self.has(is_new))
    @rule(data=st.data())
    def call_is_prepared(self, data: st.DataObject) -> None:
        self.prepare(self.chosen(data, is_new))

    def prepare(self, number: int) -> None:
        call, command = self.calls[number], self.calls[number].command
        call.is_analysed = True
        if command.is_checked:
            self.happen(CheckWanted(number))
        parts: list[PartPrepared] = []
        for is_known in command.known:
            self.last_ticket += 1
            ticket = self.last_ticket if parts else number
            self.owners[ticket] = number
            call.tickets.append(ticket)
            if is_known:
                call.good.add(ticket)
            if command.is_moved:
                self.moved.add(ticket)
            parts.append(PartPrepared(ticket, is_known, command.is_moved))
        if all(command.known):
            call.is_confirmed = True
            self.happen(ResultRecalled(number, "scanned"))
            return
        can_race = command.can_race and len(parts) == 1
        is_fresh = command.is_fresh
        self.happen(CallPrepared(number, "scanned", tuple(parts), is_fresh, ("key",), can_race))

    def chosen(self, data: st.DataObject, fits: Callable[[KnownCall], object]) -> int:
        return data.draw(st.sampled_from([n for n, call in self.calls.items() if fits(call)]))

    def has(self, fits: Callable[[KnownCall], object]) -> bool:
        return any(map(fits, self.calls.values()))

    @precondition(lambda self: self.has(is_new))
    @rule(data=st.data(), slots=st.integers(1, 4))
    def call_is_local(self, data: st.DataObject, slots: int) -> None:
        number = self.chosen(data, is_new)
        self.calls[number].is_analysed = True
        self.happen(CallIsLocal(number, Reason.NOT_A_COMPILE, "", slots))

    @precondition(lambda self: self.has(is_answered))
    @rule(data=st.data(), has_succeeded=st.booleans())
    def call_ends(self, data: st.DataObject, has_succeeded: bool) -> None:
        self.close(self.chosen(data, is_answered), SUCCESS if has_succeeded else None)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def launcher_is_killed(self, data: st.DataObject) -> None:
        self.close(self.chosen(data, bool))

    @precondition(lambda self: self.has(runs_here))
    @rule(data=st.data())
    def compiler_is_stopped(self, data: st.DataObject) -> None:
        self.happen(CallStopped(self.chosen(data, runs_here)))

    def close(self, number: int, run: LocalRun | None = None) -> None:
        awaited = self.agent.awaited(number)
        self.happen(CallClosed(number, run if awaited is not None else None))

    # --- the farm -------------------------------------------------------------------------------

    @rule(is_lost=SELDOM)
    def farm_opens(self, is_lost: bool) -> None:
        """For the first time, or again: what was under way is void. Or it is lost."""
        self.away.clear()
        self.happen(FarmClosed(Reason.BROKER_SILENT) if is_lost else FarmOpened())

    @precondition(lambda self: self.away)
    @rule(data=st.data(), words=st.lists(WORDS, min_size=1, max_size=6))
    def farm_speaks(self, data: st.DataObject, words: list[Word]) -> None:
        for word in words:
            # Perhaps it crossed with a Cancel.
            tickets = sorted(self.owners if word.is_late else self.away)
            if tickets:
                self.say(word, data.draw(st.sampled_from(tickets)))

    def say(self, word: Word, ticket: int) -> None:
        call = self.calls.get(self.owners[ticket])
        match word.kind:
            case "waits":
                self.happen(JobWaits(ticket, word.seconds))
                return
            case "begins":
                for each in sorted(self.away):
                    self.happen(JobBegan(each))
                return
        self.away.discard(ticket)
        self.still_holds = word.still_holds
        match word.kind:
            case "good":
                if call is not None:
                    call.good.add(ticket)
                self.happen(PartTaken(ticket, word.is_recalled))
            case "unproven":
                self.happen(PartUnproven(ticket, word.reason, "/x.h", word.is_recalled))
                if call is not None and ticket in self.away:
                    call.anew += 1
                    assert call.anew == 1, "compiled anew twice"
            case "failed":
                if call is not None:
                    call.failed = True
                self.happen(PartFailed(ticket, 1))
            case _:
                self.happen(JobRefused(ticket, word.refusal, ""))

    # --- this machine ---------------------------------------------------------------------------

    @precondition(lambda self: self.has(is_raced))
    @rule(data=st.data(), is_won=st.booleans())
    def race_ends(self, data: st.DataObject, is_won: bool) -> None:
        number = self.chosen(data, is_raced)
        call = self.calls[number]
        call.is_raced, call.has_won = False, is_won
        self.happen(RaceWon(number) if is_won else RaceLost(number))

    @rule(
        seconds=st.sampled_from((0.0, 0.02, 1.0, 30.0, 30.0, 101.0)),
        cost_s=st.sampled_from((0.0, 0.0, 0.0, 0.01, 5.0)),
    )
    def time_passes(self, seconds: float, cost_s: float) -> None:
        """And what compiles cost is learnt, perhaps."""
        if cost_s:
            self.learn(cost_s)
        self.now += seconds
        self.happen(TimePassed() if seconds >= 1.0 else Looked())

    def learn(self, cost_s: float) -> None:
        for _ in range(8):
            self.agent.forecast.ran_there("key", cost_s, cost_s, 0.1)

    # --- what holds -----------------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "agent"))
    @invariant()
    def what_nobody_waits_for_is_called_off(self) -> None:
        for number, call in self.calls.items():
            state = self.agent.calls[number]
            under_way = self.away.intersection(call.tickets)
            if state.stage is CallStage.REMOTE:
                assert not self.agent.is_farm_open or under_way == set(call.tickets) - call.good
                assert set(call.tickets) - call.good, "it waits for nothing"
            else:
                assert not under_way
            assert (state.stage is CallStage.ANSWERED) == (call.answer in ("placed", "failed"))
            assert bool(call.answer) <= bool(call.outcomes)

    def teardown(self) -> None:
        """Every call is answered once the farm says what became of its jobs, and compilers end."""
        if not hasattr(self, "agent"):
            return
        for number, call in list(self.calls.items()):
            if not call.is_analysed:
                call.is_analysed = True
                self.happen(CallIsLocal(number, Reason.NOT_A_COMPILE, ""))
        self.farm_opens(False)
        for reason in (Reason.TEMPORARY_NAME, Reason.DAMAGED_RESULT, Reason.DAMAGED_RESULT):
            for ticket in sorted(self.owners):
                self.say(last_word("unproven", reason), ticket)
        for ticket in sorted(self.owners):
            self.say(last_word("good", reason), ticket)
        for number, call in list(self.calls.items()):
            if call.is_raced:
                call.is_raced = False
                self.happen(RaceLost(number))
        while any(call.answer for call in self.calls.values()):
            self.close(next(number for number, call in self.calls.items() if call.answer))
        assert not self.calls, "a call that is never answered"
        assert not self.agent.calls
        assert self.agent.slots.used == self.agent.slots.waiting == 0


TestAgent = AgentRules.TestCase
TestAgent.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
