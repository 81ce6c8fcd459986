"""What was made under neutral names comes back under the user's, or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from cache.digest import digest_of
from cache.errors import BlobMissingError
from cache.frame import compress
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.launchers.wire import INTO
from zcc.agent.results.restore import contents, restored
from zcc.compiler.commandline.tables import Family
from zcc.compiler.neutral.renaming import (
    NEUTRAL_DEPENDENCIES,
    NEUTRAL_DIRECTORY,
    NEUTRAL_OBJECT,
    Renaming,
)
from zcc.errors import JobError
from zcc.job import Lookups, OutputFile, Result, Usage

NAMES = Renaming(Family.GCC, (), b"/p/x.o", b"/p/x.d", b"x.o", (b"/p",))
PREPARED = cast(
    Prepared,
    SimpleNamespace(base=b"", renaming=NAMES, is_moved=True, written_into={b"/p/x.d"}),
)
NOTHING = Lookups()
RULE = NEUTRAL_OBJECT + b": \\\n x.c\n"


def result_of(
    outputs: dict[bytes, bytes], stderr: bytes = b"", lookups: Lookups = NOTHING
) -> tuple[Result, dict]:  # type: ignore[type-arg]
    files = tuple(
        OutputFile(path, digest_of(content), len(content), 0o644)
        for path, content in outputs.items()
    )
    frames = {digest_of(content): compress(content) for content in outputs.values()}
    return Result(0, b"", stderr, files, Usage(0.0, 0.0, 0), lookups, "n"), frames


def test_each_output_gets_its_name_and_the_rule_its_target() -> None:
    result, frames = result_of({NEUTRAL_OBJECT: b"object", NEUTRAL_DEPENDENCIES: RULE})
    assert contents(result, frames, PREPARED) == [
        (b"/p/x.d", 0o644 | INTO, b"x.o: x.c\n"),
        (b"/p/x.o", 0o644, b"object"),
    ]
    assert [each.path for each in restored(result, PREPARED).outputs] == [b"/p/x.o", b"/p/x.d"]


@pytest.mark.parametrize(
    ("content", "rule", "stderr"),
    [
        (b"\0" + NEUTRAL_OBJECT + b"\0", RULE, b""),
        (b"object", RULE, b"writing " + NEUTRAL_OBJECT),
        (b"object", RULE.replace(b" x.c", b" a\\ b.c"), b""),
        (b"object", NEUTRAL_OBJECT + b": \\\n x.c " + NEUTRAL_DIRECTORY + b"/y.h\n", b""),
    ],
    ids=["in the object", "in a message", "an escaped name", "a header beside the output"],
)
def test_a_neutral_name_where_none_belongs_refuses_the_result(
    content: bytes, rule: bytes, stderr: bytes
) -> None:
    result, frames = result_of({NEUTRAL_OBJECT: content, NEUTRAL_DEPENDENCIES: rule}, stderr)
    with pytest.raises(JobError):
        contents(result, frames, PREPARED)


@pytest.mark.parametrize(
    "lookups",
    [
        Lookups(misses=((NEUTRAL_DIRECTORY, (b"output.gcda",)),)),
        Lookups(misses=((NEUTRAL_DIRECTORY + b"/below", (b"x",)),)),
        Lookups(undeclared=(NEUTRAL_DIRECTORY + b"/x",)),
    ],
)
def test_a_look_up_beside_the_output_proves_nothing(lookups: Lookups) -> None:
    result, _ = result_of({NEUTRAL_OBJECT: b"object"}, lookups=lookups)
    assert restored(result, PREPARED).lookups.flaw
    elsewhere, _ = result_of({}, lookups=Lookups(misses=((b"/p", (b"x.gcda",)),)))
    assert not restored(elsewhere, PREPARED).lookups.flaw


def test_an_output_that_did_not_come_is_missed() -> None:
    result, _ = result_of({NEUTRAL_OBJECT: b"object"})
    with pytest.raises(BlobMissingError):
        contents(result, {}, PREPARED)
