"""What the differential tester excuses: never what a random seed makes repeatable."""

from __future__ import annotations

import pytest

from tests.differential.exempt import exemption_for
from tests.differential.observe import STATUS, Difference
from tests.differential.words import OF_LANGUAGE, SENSIBLE, exclude_each_other, is_stamped

STAMPED = Difference("a.gcno", ("-rw-r--r-- 1", b"1"), ("-rw-r--r-- 1", b"2"))


@pytest.mark.parametrize("word", ["--coverage", "-fprofile-generate", "-flto", "-ftest-coverage"])
def test_a_random_stamp_is_excused_only_without_a_seed(word: str) -> None:
    assert is_stamped((word,))
    assert exemption_for(STAMPED, ["-c", word]) is not None
    assert exemption_for(STAMPED, ["-c", word, "-frandom-seed=a.c"]) is None


def test_an_exit_status_is_never_excused() -> None:
    assert exemption_for(Difference(STATUS, 0, 1), ["-flto"]) is None


def test_words_that_exclude_each_other_are_told_in_either_order() -> None:
    assert exclude_each_other(("-static",), ("-fsanitize=address",))
    assert exclude_each_other(("-fsanitize=address",), ("-static",))
    assert not exclude_each_other(("-O2",), ("-g",))


def test_no_group_of_words_is_empty() -> None:
    """An empty one would be an option without a word."""
    tables = [*SENSIBLE.values()]
    groups = [group for words in tables for group in (*words.plain, *words.side)]
    groups += [group for row in OF_LANGUAGE.values() for group in row]
    assert all(group and all(group) for group in groups)
