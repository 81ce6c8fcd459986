"""What the agent does with its own memory of results, as a build's environment asks."""

from __future__ import annotations

import pytest

from zcc.agent.results.local_cache import CacheMode, mode_of
from zcc.config import CACHE_MODES

# As ccache calls its prefix.
CCACHE = {b"CCACHE_DISABLE": b"1", b"UNCACHED_ERR_FD": b"3"}


@pytest.mark.parametrize("word", CACHE_MODES)
def test_a_word_in_the_environment_wins_behind_ccache_too(word: str) -> None:
    for around in ({}, CCACHE):
        environment = {**around, b"ZCC_CACHE": word.encode()}
        assert mode_of(environment, CacheMode.ON) is CacheMode(word)


@pytest.mark.parametrize("default", CacheMode)
@pytest.mark.parametrize("word", [None, b"", b"yes", b"\xff"])
def test_no_word_or_an_unknown_one_changes_nothing(default: CacheMode, word: bytes | None) -> None:
    environment = {} if word is None else {b"ZCC_CACHE": word}
    assert mode_of(environment, default) is default


@pytest.mark.parametrize("default", CacheMode)
def test_behind_ccache_nothing_is_kept_and_look_ups_stay_as_they_were(default: CacheMode) -> None:
    mode = mode_of(CCACHE, default)
    assert not mode.keeps
    assert mode.looks_up == default.looks_up


def test_a_ccache_that_is_switched_off_is_none() -> None:
    assert mode_of({b"CCACHE_DISABLE": b"1"}, CacheMode.ON) is CacheMode.ON


def test_every_mode_does_its_own_thing() -> None:
    assert {mode.value for mode in CacheMode} == set(CACHE_MODES)
    assert len({(mode.looks_up, mode.keeps) for mode in CacheMode}) == len(CacheMode)
