"""The farm as it is, in events that make it of an empty one: what a watcher begins with. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice

import msgpack

from broker.core.farm import Farm
from broker.watching.asking import is_hidden
from broker.watching.limits import MAX_SHOWN_JOBS, MAX_SHOWN_REQUESTS, MAX_SNAPSHOT_BYTES
from broker.watching.recorder import Recorder
from zcc import __version__
from zcc.events import MAX_EVENTS, Row, join_rows


class _Room:
    """What a snapshot may still hold, and how many things have found no place in it."""

    def __init__(self) -> None:
        self.left_out = 0
        self._bytes = MAX_SNAPSHOT_BYTES
        self._rows = MAX_EVENTS - 8  # `farm`, `pulse` and the tiers are always there

    def fit(self, things: Iterable[list[bytes]]) -> list[list[bytes]]:
        """Those of which all rows have room, in order."""
        fitting: list[list[bytes]] = []
        for rows in things:
            size_bytes = sum(map(len, rows))
            if size_bytes <= self._bytes and len(rows) <= self._rows:
                self._bytes -= size_bytes
                self._rows -= len(rows)
                fitting.append(rows)
            else:
                self.left_out += 1
        return fitting


def pack_snapshot(farm: Farm, recorder: Recorder, began_s: float) -> bytes:
    """All nodes, who and what has a number, and as many jobs as a snapshot has, those that nodes have first.
    `began_s`: the Unix time of the broker's zero.

    To be made when all that was recorded before is in a batch: it is the state behind that. Nodes come first
    where it gets too large, then members, toolchains and builds, of each
    the latest first, then jobs.
    """
    at_ms = recorder.at_ms
    pack = msgpack.Packer(use_bin_type=True).pack
    nodes = [[pack(row)] for row in recorder.nodes.all_rows(at_ms)]
    executions = [each for each in farm.executions.values() if not is_hidden(each)]
    leased = [each for each in executions if each.lease is not None]
    waiting = (each for each in executions if each.lease is None)
    shown = list(islice(chain(leased, waiting), MAX_SHOWN_JOBS))
    jobs = [list(map(pack, recorder.rows_of(execution))) for execution in shown]
    # Last, since the others have introduced what they name.
    kinds = [[[pack(row)] for row in kind] for kind in recorder.register.said()]
    room = _Room()
    room.left_out += len(executions) - len(shown)
    room.left_out += sum(max(0, len(each.waiters) - MAX_SHOWN_REQUESTS) for each in shown)
    nodes = room.fit(nodes)
    named = chain.from_iterable([room.fit(reversed(kind))[::-1] for kind in kinds])
    rows = list(chain.from_iterable([*named, *nodes, *room.fit(jobs)]))
    first: Row = ("farm", at_ms, farm.name, __version__, began_s, room.left_out)
    store = [pack(row) for row in (recorder.pulse_row(), *recorder.tier_rows())]
    return join_rows([pack(first), *rows, *store])
