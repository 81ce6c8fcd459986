"""Decisions of the broker's, in words. Pure: the rows of `zcc why-node --json` in, lines out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cache.digest import DIGEST_SIZE, short
from zcc.cli import layout
from zcc.printable import printable

_COLUMNS = ("node", "held", "expected", "verdict")
# Of a job named by its key.
_LEAST_DIGITS = 4

# Why a job took its slot (broker/scheduling/placement.py).
REASONS = {
    "longest": "the slot was the fastest idle one, and this the longest job that waited",
    "suits": "the slot was the fastest idle one, and this the longest job that suits so fast a slot",
    "shortest": "the slot was the fastest idle one, and this the shortest job: no other suits so slow a slot",
    "ahead": "no slot was idle, and here one was to be free soonest",
    "given-back": "it had been given back by another node, so it went first",
    "waited-long": "it had waited long, so it went first",
    "hedge": "the first node took long: it was done a second time beside",
    "waited-enough": "it had waited for a faster slot as long as that could gain",
    "probe": "the node was rated slow, has run nothing since, and is tried again with a short job",
    "trial": "the node is back from quarantine, and what it makes of this job is held against a known result",
    "in-its-place": "the job whose turn it was must not go to this node, and this one may",
}
# What stood against a node.
_VERDICTS = {
    "chosen": "chosen",
    "slower": "slower: the job would end later there",
    "lacks-toolchain": "lacks the toolchain: as fast, but for its way there",
    "fuller": "as good, and more of its slots were taken",
    "equal": "as good; the other came first",
    "full": "full: no slot for it",
    "memory": "has too little memory left that is promised to nobody, or is under pressure",
    "draining": "is leaving the farm",
    "paused": "takes no jobs",
    "quarantined": "in quarantine: its jobs fail",
    "on-trial": "back from quarantine, and known jobs are put to it first",
    "resting": "left alone for a moment: jobs ran out of something there, or had no answer",
    "not-for-it": "not for such a job: machine class, or another publisher's node",
    "aside": "put aside for this user's jobs, of which it lost several",
    "unfit": "has no room for the toolchain",
    "lost-it": "has lost this job before",
}
ENDINGS = {
    "finished": "it was compiled",
    "taken-back": "it was taken back before it began: it ends sooner on another node",
    "lends-less": "it was taken back before it began: the node lends fewer slots",
    "beaten": "another node had done it sooner",
    "unanswered": "the node did not answer in time",
    "node-lost": "the node was lost",
    "node-left": "the node left",
    "runs-elsewhere": "another node had it already",
    "given-back": "it was given back",
    "cancelled": "nobody waited for it any more",
}


def beginning_of(text: str) -> bytes | None:
    """The beginning of a job's key that these hexadecimal digits are, of which an odd last one does not count;
    None where they are none, or too few. Nothing is the beginning of all."""
    digits = text.lower()
    if not digits:
        return b""
    if not _LEAST_DIGITS <= len(digits) <= 2 * DIGEST_SIZE or digits.strip("0123456789abcdef"):
        return None
    return bytes.fromhex(digits[: len(digits) // 2 * 2])


def told(
    rows: list[dict[str, Any]], columns: int, *, tells_all: bool, names_users: bool = False
) -> list[str]:
    """The decisions, each with its candidates, or (not `tells_all`) in a line."""
    lines = []
    for row in rows:
        if tells_all:
            lines += [
                each for line in _story(row, names_users) for each in layout.fold(line, columns)
            ]
            lines += _table(row, columns)
        else:
            lines += layout.fold(_line(row, names_users), columns)
    return [line.replace(layout.GLUE, " ") for line in lines]


def _line(row: dict[str, Any], names_users: bool) -> str:
    user = f"  {row['user']}" if names_users else ""
    outcome = (
        "runs" if row["took_s"] is None else f"{row['ending']} after {_seconds(row['took_s'])}"
    )
    return (
        f"{short(bytes.fromhex(row['job']))}{user}  {_seconds(row['ago_s'])} ago  {_word(row['node'])}"
        f"  {row['reason']}  expected {_seconds(row['expected_s'])}, {outcome}"
    )


def _story(row: dict[str, Any], names_users: bool) -> Iterator[str]:
    user = f" of {row['user']}" if names_users else ""
    yield f"job {short(bytes.fromhex(row['job']))}{user}, {_seconds(row['ago_s'])} ago: {_word(row['node'])}"
    yield f"why       {REASONS.get(row['reason'], row['reason'])} ({row['reason']})"
    yield (
        f"expected  {_seconds(row['expected_s'])} to its end; it costs {_seconds(row['cost_s'])} of the farm's"
        f" average slot, and had waited for {_seconds(row['queued_s'])}"
    )
    yield f"happened  {_outcome(row)}"
    if not row["is_whole"]:
        yield "how the other nodes stood then is forgotten"


def _outcome(row: dict[str, Any]) -> str:
    begun_s, took_s = row["begun_s"], row["took_s"]
    begun = "" if begun_s is None else f"; the compiler began after {_seconds(begun_s)}"
    if took_s is None:
        return f"it is not over yet{begun}"
    ending = ENDINGS.get(row["ending"], f"the node gave no verdict: {row['ending']}")
    detail = f" ({_word(row['detail'])})" if row["detail"] else ""
    cpu = f", CPU {_seconds(row['cpu_s'])}" if row["cpu_s"] else ""
    return f"{ending}{detail} after {_seconds(took_s)}{cpu}{begun}"


def _table(row: dict[str, Any], columns: int) -> list[str]:
    if not row["candidates"]:
        return []
    cells = [
        (
            _word(each["name"]), f"{each['held']}/{each['slots']}",
            _seconds(each["expected_s"]), _verdict(each),
        )
        for each in row["candidates"]
    ]  # fmt: skip
    lines = layout.table(_COLUMNS, cells, columns, right=_COLUMNS[1:3])
    if row["others"]:
        others = ", ".join(f"{count} {verdict}" for verdict, count in row["others"])
        lines.append(f"and further nodes: {others}")
    return lines


def _verdict(candidate: dict[str, Any]) -> str:
    said = _VERDICTS.get(candidate["verdict"], candidate["verdict"])
    return f"{said} ({_word(candidate['why'])})" if candidate["why"] else said


def _word(text: str) -> str:
    """Names, details and reasons are the nodes' own."""
    return printable(text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}{layout.GLUE}s" if seconds < 100 else f"{seconds:.0f}{layout.GLUE}s"
