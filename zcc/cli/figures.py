"""The numbers of `zcc stats` for people. Pure: the document of `zcc stats --json` in, lines out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zcc.agent.history.histogram import histogram_from
from zcc.agent.history.tally import OUTCOMES
from zcc.cli.layout import GLUE, fold
from zcc.cli.reasons import brief

_BOLD, _RED, _GREEN, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m"
# Reasons beyond these are summed up in one line.
_MOST_REASONS = 12
_NAME_COLUMNS = 22
_SPLIT = (
    ("queued_s", "queue"),
    ("sending_s", "send"),
    ("remote_wall_s", "compile"),
    # By its own word: "return" is what the farm's page calls a phase that ends at the broker.
    ("returning_s", "download"),
    ("overhead_s", "other"),
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something that is not as it should be, and what to do about it."""

    what: str
    advice: str


def health(document: dict[str, Any]) -> list[Complaint]:
    """What is wrong, the most urgent first; empty when all is well."""
    found = []
    agent = document.get("agent")
    if agent and not agent["broker"]:
        found.append(Complaint("no farm is joined", "zcc join TOKEN; all compiles run here"))
    elif agent and not agent["connected"]:
        why = agent["refusal"] or "it does not answer"
        if agent["refusal"] or not agent.get("dialling"):
            found.append(Complaint(f"not connected to {agent['broker']}: {why}", "zcc doctor"))
    elif agent and agent.get("without_nodes"):
        found.append(Complaint("no node takes jobs, so compiles run here", "zcc nodes says why"))
    if agent and agent.get("no_room"):
        found.append(Complaint(f"no room: {agent['no_room']}", "free some there; zcc doctor"))
    counted = (
        (
            "verify_differs",
            "results from elsewhere were not what this machine compiles; none was used",
            "see the notes below and the node: zcc-broker audit; zcc-broker cache purge --node",
        ),
        ("discrepancies", "failed on the farm and succeeded here", "report the note below: a bug"),
        (
            "proof_failures",
            "remote results were refused by their proof; nothing wrong was built",
            "report the note below: the scanner missed a file",
        ),
        ("cache_faults", "faults of the local cache; each was a miss", "see agent.log; disk full?"),
        (
            "notebook_faults",
            "pieces of the builds' history were given up",
            "report what agent.log says: a bug",
        ),
        (
            "cache_dropped",
            "results were not kept: the disk was too slow",
            "put cache_dir on a faster disk",
        ),
    )
    for name, what, advice in counted:
        if document[name]:
            found.append(Complaint(f"{document[name]:.0f} {what}", advice))
    return found


def table(document: dict[str, Any], title: str, has_colour: bool, columns: int = 0) -> list[str]:
    """The lines of `zcc stats`, in so many columns; 0: as long as they are."""
    lines = _table(document, title, has_colour)
    return [each for line in lines for each in fold(line, columns)]


def _table(document: dict[str, Any], title: str, has_colour: bool) -> list[str]:
    bold = _BOLD if has_colour else ""
    plain = _PLAIN if has_colour else ""
    if not document["calls"]:
        return [
            f"{bold}{title}{plain}",
            "no compiles: put zcc in front of the compiler (zcc gcc -c x.c)",
        ]
    return [
        f"{bold}{title}{plain}",
        *_outcomes(document),
        *_unknown(document),
        *_facts(document),
        *_health(document, has_colour),
    ]


def _outcomes(document: dict[str, Any]) -> Iterator[str]:
    calls, outcomes = document["calls"], document["outcomes"]
    yield f"calls          {calls:>9.0f}"
    for name in OUTCOMES:
        count = outcomes[name]
        if not count:
            continue
        line = f"  {name.replace('_', ' '):12} {count:>9}  {100 * count / calls:5.1f}%"
        times = histogram_from(document["answer_times"].get(name))
        if times.count:
            shares = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
            said = "  ".join(
                _glued(f"{label} {duration(times.percentile(at))}") for label, at in shares
            )
            line += f"   {said}"
        yield line
    reasons = list(document["local_reasons"].items())
    if reasons:
        yield "local, by reason"
    shown = reasons[:_MOST_REASONS]
    if len(reasons) > _MOST_REASONS:
        shown.append(("(others: --json)", sum(count for _, count in reasons[_MOST_REASONS:])))
    yield from _counted([(name, count, brief(name)) for name, count in shown])


def _unknown(document: dict[str, Any]) -> Iterator[str]:
    found = document.get("unknown_options") or {}
    if found:
        yield "options that this zcc does not know"
    yield from _counted([(name, count, "") for name, count in found.items()])


def _counted(rows: list[tuple[str, int, str]]) -> Iterator[str]:
    """Names, counts and texts, in columns as wide as the longest name needs."""
    wide = max((_NAME_COLUMNS, *(len(name) for name, _, _ in rows)))
    for name, count, text in rows:
        yield f"  {name:{wide}} {count:>6}  {text}".rstrip()


def _facts(document: dict[str, Any]) -> Iterator[str]:
    ways, cache = document["ways"], document.get("cache")
    causes = ", ".join(
        f"{name} {count}" for name, count in document.get("listed_reasons", {}).items()
    )
    why = f" ({causes})" if causes else ""
    yield f"inputs         scanned {ways['scanned']}, listed {ways['listed']}{why}"
    jobs = sum(document["nodes"].values()) - document["twin_runs"]
    if jobs > 0:
        parts = (_glued(f"{label} {duration(document[name] / jobs)}") for name, label in _SPLIT)
        yield f"a remote job   {', '.join(parts)} (means)"
    yield (
        f"saved          {duration(document['saved_cpu_s'])} of CPU by hits;"
        f" {duration(document['remote_cpu_s'])} spent elsewhere"
    )
    yield (
        f"traffic        sent {size_text(document['bytes_sent'])},"
        f" received {size_text(document['bytes_received'])}"
    )
    if document["input_bytes"]:
        yield f"inputs sent    {_inputs_sent(document['asked_bytes'], document['input_bytes'])}"
    moves = f"{document['cache_written']:.0f} kept, {document['cache_evicted']:.0f} evicted"
    if cache:
        held, limit = size_text(cache["size_bytes"]), size_text(cache["limit_bytes"])
        yield f"cache          {held} of {limit}, {cache['results']} results; {moves}"
    else:
        yield f"cache          {moves}"
    if document["nodes"]:
        nodes = ", ".join(f"{name} {count}" for name, count in document["nodes"].items())
        yield f"nodes          {nodes}"


def _health(document: dict[str, Any], has_colour: bool) -> Iterator[str]:
    red, green, plain = (_RED, _GREEN, _PLAIN) if has_colour else ("", "", "")
    complaints = health(document)
    if not complaints:
        agent = document.get("agent")
        state = "no agent runs now"
        if agent:
            state = "connected" if agent["connected"] else "dialling"
        yield f"health         {green}good{plain}, {state}"
    for complaint in complaints:
        yield f"health         {red}{complaint.what}{plain}: {complaint.advice}"
    for note in document.get("notes", ()):
        yield f"note           {note}"


def _glued(text: str) -> str:
    """On one line: a number, its name and its unit."""
    return text.replace(" ", GLUE)


def size_text(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.1f} GiB"


def duration(seconds: float) -> str:
    """Three digits at most: `0.7 ms`, `12 ms`, `1.5 s`, `4 min 10 s`, `3 h 5 min`."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60} min"


def _inputs_sent(asked_bytes: float, input_bytes: float) -> str:
    """Asked for are inputs of compiles too that then ended here: those are among no remote compile's."""
    asked, inputs = size_text(asked_bytes), size_text(input_bytes)
    if asked_bytes > input_bytes:
        return f"{asked}, more than the {inputs} of the remote compiles: others ended here"
    return f"{asked} of {inputs}: {100 * (1 - asked_bytes / input_bytes):.1f}% were there"
