"""What two or three results of one job say of those who made them. Pure.

Compared is all that a client takes: exit status, messages, the outputs with their digests and modes, and the
look-ups, by which each client judges whether a result holds for him. Times and names are each run's own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

from zcc.job import Result
from zcc.printable import printable


class Verdict(Enum):
    """`UNSTABLE`: the job does not repeat itself, so nobody is at fault. `DISPUTED`: one of two nodes is, and
    there is no third to say which."""

    EQUAL = "equal"
    MAKER_AT_FAULT = "maker-at-fault"
    OTHER_AT_FAULT = "other-at-fault"
    UNSTABLE = "unstable"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Told:
    """A result, and the key of the node that it came from."""

    node_key: str
    result: Result


def differences(one: Result, other: Result) -> tuple[str, ...]:
    """In what they differ, for people and terminals; empty when a client would get the same from both."""
    found = []
    if one.exit_status != other.exit_status:
        found.append(f"exit status {one.exit_status} or {other.exit_status}")
    if one.stdout != other.stdout or one.stderr != other.stderr:
        found.append("messages")
    left = {each.path: (each.digest, each.mode) for each in one.outputs}
    right = {each.path: (each.digest, each.mode) for each in other.outputs}
    found += [
        printable(os.fsdecode(path))
        for path in sorted(left.keys() | right.keys())
        if left.get(path) != right.get(path)
    ]
    if one.lookups != other.lookups:
        found.append("look-ups")
    return tuple(found)


def judge(maker: Told, other: Told, third: Told | None) -> Verdict:
    """`maker`'s result is the remembered one. `third` is a third node's, or where there is none another run of
    `other`'s node; None before it is known."""
    if not differences(maker.result, other.result):
        return Verdict.EQUAL
    if third is None:
        return Verdict.DISPUTED
    if not differences(third.result, maker.result):
        # A node that gives one result, then the other, has a job that does not repeat itself.
        is_itself = third.node_key == other.node_key
        return Verdict.UNSTABLE if is_itself else Verdict.OTHER_AT_FAULT
    if not differences(third.result, other.result):
        is_itself = third.node_key == other.node_key
        return Verdict.DISPUTED if is_itself else Verdict.MAKER_AT_FAULT
    return Verdict.UNSTABLE
