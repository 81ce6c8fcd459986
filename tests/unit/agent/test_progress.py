"""How far a build is that somebody watches: calls by ZCC_BUILD."""

from __future__ import annotations

from zcc.agent.history.progress import MAX_NAMES, Counted, Progress


def test_calls_are_counted_by_name() -> None:
    progress = Progress()
    for outcome in ("local_hit", "shared_hit", "remote", "local", "failed"):
        progress.arrived(b"mine")
        progress.settled(b"mine", outcome, 0.5 if outcome.endswith("hit") else 0.0)
    progress.arrived(b"other")
    assert progress.of(b"mine") == Counted(0, 5, 2, 1, 1, 1.0)
    progress.left(b"mine")
    assert (progress.of(b"mine").done, progress.of(b"mine").running) == (1, 4)
    assert progress.of(b"other") == Counted(running=1)


def test_a_call_without_a_name_is_nobodys() -> None:
    progress = Progress()
    progress.arrived(b"")
    progress.settled(b"", "remote", 0.0)
    progress.left(b"")
    assert progress.of(b"") == Counted()


def test_names_have_a_bound_and_those_under_way_stay() -> None:
    progress = Progress()
    progress.arrived(b"first")
    for number in range(2 * MAX_NAMES):
        name = b"build %d" % number
        progress.arrived(name)
        progress.left(name)
    assert progress.of(b"first") == Counted(running=1)
    assert progress.of(b"build 3") == Counted()
    assert progress.of(b"build %d" % (2 * MAX_NAMES - 1)) == Counted(done=1)
    progress.left(b"build 3")  # it is not known any more
