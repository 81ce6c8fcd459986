"""Which jobs are told, and for whom: those that somebody waits for. Pure.

What the broker has run again by itself, to see whether a result holds or a node is well, is told to nobody: who
watches and lends nodes would learn which of his results are looked at. It is told from when somebody asks for
the same job until nobody does.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.core.jobs import AUDITOR, Execution, Waiter


def requests_of(execution: Execution) -> Iterator[Waiter]:
    """The requests of agents for this job, the first one first."""
    return (each for each in execution.waiters.values() if each.session != AUDITOR)


def first_of(execution: Execution) -> Waiter | None:
    for each in execution.waiters.values():
        if each.session != AUDITOR:
            return each
    return None


def is_hidden(execution: Execution) -> bool:
    """Whether only the broker waits for it."""
    return execution.is_rerun and first_of(execution) is None
