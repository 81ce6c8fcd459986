"""What goes along with a compile is put together in order, and a row's "it stays here" ends the asking."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from zcc.agent.analysis import contributors, hindrances
from zcc.agent.analysis.command import Command
from zcc.agent.analysis.contributors import Finders, provision_of
from zcc.agent.analysis.hindrances import hindrance_of
from zcc.agent.analysis.outcome import Here
from zcc.compiler.scan.provision import NOTHING, Provision, together
from zcc.reasons import Reason

FINDERS = cast(Finders, None)
COMMAND = cast(Command, None)


def test_all_kinds_are_put_together_in_order() -> None:
    first = Provision((b"a",), (b"b",), (b"c",), (b"d",), (b"e",))
    second = Provision((b"f",), (b"g",), (b"h",), (b"i",), (b"j",), has_code=True)
    both = together([first, NOTHING, second])
    assert both == Provision(
        (b"a", b"f"), (b"b", b"g"), (b"c", b"h"), (b"d", b"i"), (b"e", b"j"), has_code=True
    )
    assert not together([first]).has_code
    assert together([]) == NOTHING


def test_the_first_contributor_that_keeps_a_command_here_ends_the_asking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def brings(_: Finders, __: Command) -> Provision:
        asked.append("brings")
        return Provision(required=(b"x",))

    async def keeps(_: Finders, __: Command) -> Here:
        asked.append("keeps")
        return Here(Reason.PLUGIN, "why")

    monkeypatch.setattr(contributors, "CONTRIBUTORS", (brings, keeps, brings))
    assert asyncio.run(provision_of(FINDERS, COMMAND)) == Here(Reason.PLUGIN, "why")
    assert asked == ["brings", "keeps"]
    monkeypatch.setattr(contributors, "CONTRIBUTORS", (brings, brings))
    assert asyncio.run(provision_of(FINDERS, COMMAND)) == Provision(required=(b"x", b"x"))


def test_the_first_hindrance_is_what_the_user_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (lambda _: None, lambda _: Here(Reason.NATIVE), lambda _: Here(Reason.TIME_MACRO))
    monkeypatch.setattr(hindrances, "HINDRANCES", rows)
    assert hindrance_of(COMMAND) == Here(Reason.NATIVE)
    monkeypatch.setattr(hindrances, "HINDRANCES", rows[:1])
    assert hindrance_of(COMMAND) is None
