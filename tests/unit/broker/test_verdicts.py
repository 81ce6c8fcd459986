"""What results of one job say of those who made them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.trust.verdicts import Told, Verdict, differences, judge
from cache.digest import digest_of
from zcc.job import Lookups, OutputFile, Result, Usage

RIGHT = Result(
    exit_status=0,
    stdout=b"",
    stderr=b"warning",
    outputs=(OutputFile(b"/x.o", digest_of(b"object"), 6, 0o644),),
    usage=Usage(0.1, 0.2, 3),
    lookups=Lookups(misses=((b"/usr/include", (b"a.h",)),)),
    node="maker",
)
WRONG = replace(RIGHT, outputs=(replace(RIGHT.outputs[0], digest=digest_of(b"forged")),))
THIRD = replace(RIGHT, outputs=())


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (replace(RIGHT, usage=Usage(9.0, 9.0, 9), node="another"), ()),
        (replace(RIGHT, exit_status=1), ("exit status 0 or 1",)),
        (replace(RIGHT, stderr=b""), ("messages",)),
        (WRONG, ("/x.o",)),
        (replace(RIGHT, outputs=(replace(RIGHT.outputs[0], mode=0o755),)), ("/x.o",)),
        (THIRD, ("/x.o",)),
        (replace(RIGHT, lookups=Lookups()), ("look-ups",)),
    ],
)
def test_what_a_client_takes_is_compared(other: Result, what: tuple[str, ...]) -> None:
    assert differences(RIGHT, other) == what
    assert bool(differences(other, RIGHT)) == bool(what)


def test_a_path_is_shown_without_what_a_terminal_obeys() -> None:
    path = b"/src/a\n2026-11-30 ERROR a node is at fault\x1b[2J\xff.o"
    named = replace(RIGHT, outputs=(replace(RIGHT.outputs[0], path=path),))
    forged = replace(named, outputs=(replace(WRONG.outputs[0], path=path),))
    assert differences(named, forged) == ("/src/a?2026-11-30 ERROR a node is at fault?[2J?.o",)


@pytest.mark.parametrize(
    ("maker", "other", "third", "by", "verdict"),
    [
        (RIGHT, RIGHT, None, "", Verdict.EQUAL),
        (WRONG, RIGHT, None, "", Verdict.DISPUTED),
        (WRONG, RIGHT, RIGHT, "third", Verdict.MAKER_AT_FAULT),
        (RIGHT, WRONG, RIGHT, "third", Verdict.OTHER_AT_FAULT),
        (RIGHT, WRONG, THIRD, "third", Verdict.UNSTABLE),
        # No third node: the second one again.
        (WRONG, RIGHT, RIGHT, "other", Verdict.DISPUTED),
        (RIGHT, WRONG, RIGHT, "other", Verdict.UNSTABLE),
        (RIGHT, WRONG, THIRD, "other", Verdict.UNSTABLE),
    ],
)
def test_the_odd_one_of_three_keys_is_at_fault(
    maker: Result, other: Result, third: Result | None, by: str, verdict: Verdict
) -> None:
    told = None if third is None else Told(by, third)
    assert judge(Told("maker", maker), Told("other", other), told) is verdict
