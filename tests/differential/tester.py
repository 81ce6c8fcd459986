"""The loop: make a case, run it plain and through zcc, compare, edit, and again; count; shrink what fails."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from tests.differential.case import Case, Project, synchronise
from tests.differential.commands import compilers, make_case
from tests.differential.exempt import exemption_for
from tests.differential.observe import HUNG, Difference, Seen, differences, run, wait_until_settled
from tests.differential.script import as_script
from tests.differential.shrink import shrink
from tests.differential.ways import Farm, Way, table
from tests.differential.words import is_stamped

_SHOWN_BYTES = 400
# A pipe's two ends race, a driver prints memory that it has freed: what zcc gave is right where the plain
# compiler gives just that in one of so many runs.
_PLAIN_RUNS = 12
_NOTHING: Mapping[str, str] = {}
_FAILS_BY_CHANCE = "the exit status: the plain compiler's was another in another run"
_GIVES_BOTH = "all of it: the plain compiler gave this in another run"


@dataclass(frozen=True)
class Failure:
    """`signature` is what shrinking has to keep: the same artefacts differ."""

    case: Case
    signature: tuple[str, ...]
    text: str


@dataclass
class Report:
    """What a session has seen. `shares`: what zcc did with each run, and why."""

    cases: int = 0
    shares: Counter[str] = field(default_factory=Counter)
    exempted: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, Failure]] = field(default_factory=list)
    seeded: int = 0
    unseeded: int = 0

    def worth(self) -> str:
        """What the session was good for: shares of runs that compiled, left, and were held to the byte."""
        runs = max(sum(self.shares.values()), 1)
        failed = runs - self.verdicts["exit status 0"]
        away = sum(count for name, count in self.shares.items() if name.startswith("remote"))
        excused = sum(self.exempted.values())
        return (
            f"failed plainly: {100 * failed / runs:.1f}%, ran remotely: {100 * away / runs:.1f}%, "
            f"stamped at random: {self.seeded} runs with -frandom-seed, compared, "
            f"{self.unseeded} without; {excused} differences excused"
        )

    def summary(self) -> str:
        runs = sum(self.shares.values())
        proofs: defaultdict[str, int] = defaultdict(int)
        for name, count in self.shares.items():
            proofs[name.partition(": ")[0] if "proof: " in name else name] += count
        lines = [f"{self.cases} cases, {runs} runs through zcc, {len(self.failures)} differ"]
        lines += [self.worth()]
        lines += ["what zcc did, and why:", table(Counter(proofs), runs)]
        lines += [f"  for example case {at}: {name}" for name, at in sorted(self.examples.items())]
        lines += ["what the plain compiler did:", table(self.verdicts, runs)]
        if self.exempted:
            lines += ["not reproducible by the plain compiler either:", table(self.exempted, runs)]
        return "\n".join(lines)


class Differ:
    """`root` is where every case is built, one after the other: the agent meets each path again and again."""

    def __init__(self, farm: Farm, root: str, way: Way) -> None:
        self._farm = farm
        self._root = os.path.join(root, "p")
        self._way = way
        self.report = Report()

    def session(
        self,
        seed: int,
        until: Callable[[], bool],
        start: int = 0,
        shrinks: bool = True,
        further: bool = False,
    ) -> Report:
        """Cases `start`, `start + 1`, ... of this seed, until told to stop."""
        names = compilers(further)
        number = start
        while not until():
            case = make_case(Random(f"{seed}/{number}"), names)
            self.report.cases += 1
            failure = self.check(case, number)
            if failure is not None:
                print(f"case {number} of seed {seed}: {failure.text}", flush=True)
                if shrinks:
                    failure = self._shrunk(failure)
                print(as_script(failure.case, ", ".join(failure.signature)), flush=True)
                self.report.failures.append((number, failure))
            number += 1
        return self.report

    def check(self, case: Case, number: int | None = None) -> Failure | None:
        """The first difference of this case. `number`: count what happens, under this name."""
        stages: list[Project] = [case.project]
        if case.edits:
            stages.append(case.edited())
        shutil.rmtree(self._root, ignore_errors=True)
        os.makedirs(self._root)
        for stage, project in enumerate(stages):
            synchronise(self._root, project)
            changed_s = time.time()
            expected = self._run(case, ())
            if expected.status == HUNG:
                break  # headers that include each other without end
            if case.settles:
                synchronise(self._root, project)
                wait_until_settled(changed_s)
            for _ in range(self._way.runs):
                failure = self._check_run(case, project, expected, stage, number)
                if failure is not None:
                    return failure
        return None

    def _check_run(
        self, case: Case, project: Project, expected: Seen, stage: int, number: int | None
    ) -> Failure | None:
        synchronise(self._root, project)
        found = self._run(case, self._farm.launcher)
        outcome = self._farm.outcome()
        if number is not None:
            self.report.shares[outcome.share] += 1
            self.report.examples.setdefault(outcome.share, number)
            self.report.verdicts[f"exit status {expected.status}"] += 1
            if (
                expected.status == 0
                and "clang" not in case.compiler
                and is_stamped(tuple(case.words))
            ):
                has_seed = any(word.startswith("-frandom-seed=") for word in case.words)
                self.report.seeded += has_seed
                self.report.unseeded += not has_seed
        left = differences(expected, found)
        if left:
            left = self._unexplained(case, project, expected, found, left, number)
        faults = outcome.faults
        by_status = tuple(each for each in faults if each.startswith("discrepancies: exit "))
        if by_status and self._fails_by_chance(case, project, expected):
            faults = tuple(each for each in faults if each not in by_status)
            if number is not None:
                self.report.exempted[_FAILS_BY_CHANCE] += 1
        if not left and not faults:
            return None
        signature = (*(each.name for each in left), *(f.partition(":")[0] for f in faults))
        text = "\n".join([*faults, *map(_described, left)])
        where = "after the edit" if stage else "at first"
        return Failure(case, signature, f"{where}, zcc did: {outcome.share}\n{text}")

    def _fails_by_chance(self, case: Case, project: Project, expected: Seen) -> bool:
        """Whether the plain compiler ends otherwise in another run: what the farm saw may be that."""
        for _ in range(_PLAIN_RUNS):
            synchronise(self._root, project)
            if self._run(case, ()).status != expected.status:
                return True
        return False

    def _unexplained(
        self,
        case: Case,
        project: Project,
        expected: Seen,
        found: Seen,
        left: list[Difference],
        number: int | None,
    ) -> list[Difference]:
        """Those of the differences in which the plain compiler agrees with itself, or for no known reason;
        none where it gives what zcc gave."""
        texts = [*case.words, *case.environment, *(e.data for e in project.values())]
        excused: Counter[str] = Counter()
        for at in range(_PLAIN_RUNS):
            synchronise(self._root, project)
            # What lies in memory by chance moves with the environment; zcc's own variable moves it too.
            moved = {"ZCC_GUARD": "1"} if at % 2 else {}
            repeated = self._run(case, (), moved)
            if not differences(repeated, found):
                excused, left = Counter((_GIVES_BOTH,)), []
            unstable = {each.name: each for each in differences(expected, repeated)}
            unexplained = []
            for each in left:
                again = unstable.get(each.name)
                row = None if again is None else exemption_for(again, texts)
                if row is None or not _is_alike(each):
                    unexplained.append(each)
                else:
                    excused[row.why] += 1
            left = unexplained
            if not left:
                break
        if number is not None:
            self.report.exempted += excused
        return left

    def _run(
        self, case: Case, launcher: tuple[str, ...], more: Mapping[str, str] = _NOTHING
    ) -> Seen:
        return run(case, self._root, {**self._farm.environment, **more}, launcher)

    def _shrunk(self, failure: Failure) -> Failure:
        latest = failure

        def still_fails(simpler: Case) -> bool:
            nonlocal latest
            try:
                found = self.check(simpler)
            except OSError:  # a project that cannot be put on a disk
                return False
            if found is None or not set(found.signature) & set(failure.signature):
                return False
            latest = found
            return True

        shrink(failure.case, still_fails)
        return latest


def _is_alike(difference: Difference) -> bool:
    """What two runs of a compiler that does not repeat itself still have in common: kind, mode, being there."""
    left, right = difference.expected, difference.found
    if isinstance(left, tuple) and isinstance(right, tuple):
        return left[:1] == right[:1]
    return type(left) is type(right)


def _described(difference: Difference) -> str:
    return "\n".join(
        (
            f"{difference.name} differs:",
            f"    plain: {_cut(difference.expected)}",
            f"    zcc:   {_cut(difference.found)}",
        )
    )


def _cut(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_BYTES else f"{shown[:_SHOWN_BYTES]}... ({len(shown)})"


def with_farm(way: Way, work: Callable[[Differ], Report]) -> Report:
    """Bring a farm up, let `work` use it, and take it down."""
    with tempfile.TemporaryDirectory(prefix="zcc-differential-", ignore_cleanup_errors=True) as at:
        farm = Farm(os.path.join(at, "farm"), way)
        os.mkdir(os.path.join(at, "farm"))
        try:
            farm.start()
            return work(Differ(farm, at, way))
        finally:
            farm.stop()
