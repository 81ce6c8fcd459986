"""What a check has found wrong is remembered beyond the agent, and not without bound."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from cache.digest import digest_of
from zcc.agent.history.database import FILE_NAME, Notebook
from zcc.agent.results.disputed import Disputed

ONE, TWO, THREE = map(digest_of, (b"1", b"2", b"3"))


def test_the_next_agent_knows_them_and_the_oldest_go(tmp_path: Path) -> None:
    path = str(tmp_path / FILE_NAME)
    with closing(Notebook(path)) as notebook:
        disputed = Disputed(notebook, limit=2)
        assert ONE not in disputed
        disputed.add((ONE,))
        disputed.add((TWO,))
        disputed.add((THREE,))
        assert [key in disputed for key in (ONE, TWO, THREE)] == [False, True, True]
    with closing(Notebook(path)) as notebook:
        again = Disputed(notebook, limit=2)
        assert [key in again for key in (ONE, TWO, THREE)] == [False, True, True]
        again.add((ONE,))
        assert TWO not in again
