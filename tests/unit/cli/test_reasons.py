"""Each reason is made somewhere, told everywhere, documented, and reached by a test; no code stands alone."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from zcc import codec
from zcc.agent.history.causes import Cause
from zcc.agent.history.tally import Tally, tally_from
from zcc.cli.explain import told
from zcc.cli.exposition import CCACHE_NAMES, ccache, prometheus
from zcc.cli.figures import table
from zcc.cli.layout import fold
from zcc.cli.reasons import about, sentences
from zcc.cli.reasons_page import page
from zcc.compiler.text.hazards import Hazard
from zcc.messages import Refused
from zcc.reasons import NOTHING, RETIRED, Kind, Reason, reason_of

ROOT = Path(__file__).parents[3]
SOURCES = ("cache", "zcc", "broker", "node")
HOME = ROOT / "zcc" / "reasons.py"

# What statistics, notebooks and brokers of before hold. None of these goes, unless to RETIRED.
CODES = """
    analysis-failed appended-output
    assembler-input broker-disk broker-failed broker-silent broker-stopped build-session
    cache-off changed closed-stream compare-debug compile-error compiler-not-understood computed-include
    config-file conftest damaged damaged-result default-output diagnostics-file disk disputed dump-names
    dump-output embed-directory encoding end-of-options environment evicted farm-full file-list first header-map
    information inode-name input-absent inputs-changed internal-error job-refused jobs-failed key-revoked
    language linker-input listing listing-time long-command lto-internal machine makes-pch missing-input
    missing-operand missing-source mixed-streams module-map modules multiple-arch names-neutral-place native
    needs-memory nested-option no-compiler no-farm no-nodes no-room no-source nodes-failed not-a-compile
    not-a-job not-a-source not-joined not-kept objective-c odd-output offload other-action other-namespace
    other-rights out-of-bounds output-directory output-is-input output-is-source output-missing output-moved
    output-not-plain output-to-device output-to-stdout outside-roots pasted-probe plugin pragma-dependency
    precompiled-header preprocess-only profile-use program-prefix proof protocol-error raced refresh refused
    remote-timeout repository reproducer resource-directory response-encoding response-missing
    response-quoting response-size result-gone session-refused several-sources shared-inode small sooner-here
    special-file stale-profile stdin-source syntax-only temporary-name terminal-description time-macro
    time-report time-stamp too-large too-many-queued trace-in-temporary unknown unknown-option unreadable
    verbose verbose-asm verify vfs-overlay working-directory wrapper wrapper-without-zcc
""".split()  # noqa: SIM905 (a table, not a hundred lines)

# Strings that are spelt as a reason and are none.
NAMESAKES = {
    "zcc/compiler/text/hazards.py": {hazard.value for hazard in Hazard},
    "node/shell.py": {"refused"},  # why a node dials again, for its log
}
# Who is given a reason, at which place among its arguments.
GIVERS = {
    "Here": 0, "Local": 0, "NotBounded": 0, "NotScannable": 0, "Misplaced": 0, "Refused": 0, "Missed": 0,
    "Cause": 0, "ResponseDoubtError": 0, "FarmClosed": 0, "PartUnproven": 1, "NoteRefusal": 1,
    "JobRefused": 1, "CallIsLocal": 1, "local": 0, "_stays": 0, "_lose": 0, "_locally": 1, "_all_locally": 1,
    "_named": 1, "_take_named": 2, "refuse": 1, "ran_here": 1,
}  # fmt: skip
# What makes no reason, but asks for one.
ASKERS = {"frozenset"}


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def member_in(node: ast.AST) -> Reason | None:
    """The reason that `Reason.X` names."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("Reason", "reasons.Reason"):
        return Reason.__members__.get(node.attr)
    return None


def made_in(path: Path) -> set[Reason]:
    """The reasons that this file gives; what is only compared or looked for among others is not."""
    found: set[Reason] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Compare):
            return
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ASKERS:
            return
        if isinstance(node, ast.Tuple) and all(map(member_in, node.elts)):
            return  # a list of what is asked for, in order
        if (member := member_in(node)) is not None:
            found.add(member)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree(path))
    return found


@pytest.mark.long
def test_each_reason_is_made_somewhere() -> None:
    made = set().union(*(made_in(path) for path in files(*SOURCES) if path != HOME))
    assert set(Reason) - made == set()


@pytest.mark.parametrize("path", files(*SOURCES), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_stands_alone(path: Path) -> None:
    if path == HOME:
        return
    mine = NAMESAKES.get(str(path.relative_to(ROOT)), set())
    alone = [
        f"line {line}: {code!r} is Reason.{reason.name}"
        for line, code in suspects(tree(path))
        if (reason := reason_of(code)) is not None and code not in mine
    ]
    assert alone == []


def suspects(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Texts, each behind its line, that are a reason's code if they are spelt as one: with a hyphen anywhere,
    else where a reason is given or compared."""
    for node in ast.walk(module):
        given: list[ast.expr] = []
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "-" in node.value:
            given = [node]
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            at = GIVERS.get(name)
            given = [*node.args[at : at + 1]] if at is not None else []
            given += [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
        elif isinstance(node, ast.Compare) and getattr(node.left, "attr", "") == "reason":
            given = node.comparators
        for each in given:
            for inner in ast.walk(each):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.lineno, inner.value


def test_the_test_for_lone_codes_sees_them() -> None:
    text = 'Here("proof")\nself._stays("plugin", word)\nx.reason == "small"\ny = "time-macro"\nz = "small"'
    seen = [code for _, code in suspects(ast.parse(text)) if reason_of(code)]
    assert sorted(seen) == ["plugin", "proof", "small", "time-macro"]


def reached() -> set[Reason]:
    """Those that the tests name: by member, or by a code that can be nothing else."""
    found = set()
    for path in files("tests"):
        if path == Path(__file__):
            continue
        texts = []
        for node in ast.walk(tree(path)):
            if (member := member_in(node)) is not None:
                found.add(member)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
        words = set(re.findall(r"[a-z]+(?:-[a-z]+)+", "\n".join(texts)))
        found |= {reason for word in words if (reason := reason_of(word)) is not None}
    return found


@pytest.mark.long
def test_each_reason_is_reached_by_a_test() -> None:
    """A code of one word, such as `small`, may stand for anything: those are named by member."""
    assert set(Reason) - reached() == set(), "a code of one word counts only as Reason.X"


def test_the_page_is_as_the_code_is() -> None:
    written = (ROOT / "docs" / "reference" / "reasons.md").read_text()
    assert written == page(), "make docs"
    assert all(f"`{reason}`" in written for reason in Reason)


# ---- codes ----


def test_no_code_of_before_is_lost() -> None:
    assert set(CODES) == {*Reason, *RETIRED}
    assert not set(Reason) & set(RETIRED)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_on_the_wire_and_on_disk_what_its_code_is(reason: Reason) -> None:
    assert reason.name == reason.value.upper().replace("-", "_")
    assert codec.encode(Refused(1, reason)) == codec.encode(Refused(1, reason.value))
    assert json.dumps({reason: [reason]}) == json.dumps({reason.value: [reason.value]})
    assert f"{reason} {reason!s} {reason:24}" == f"{reason.value} {reason.value} {reason.value:24}"
    row = sqlite3.connect(":memory:").execute("SELECT ?, typeof(?)", (reason, reason)).fetchone()
    assert row == (reason.value, "text")
    assert {reason: 1}[reason.value] == 1  # type: ignore[index]


@pytest.mark.parametrize("reason", Reason)
def test_what_is_said_is_in_sentences_that_are_short(reason: Reason) -> None:
    for text in filter(None, (reason.what, reason.why, reason.advice)):
        assert text.endswith("."), text
        assert text[0].isupper() or re.match("(?:ccache|clang|gcc|zcc)", text), text
        assert len(text) <= 100, text
    assert reason.what
    assert reason.advice
    assert reason.ccache in ("", *CCACHE_NAMES)


# ---- what people and programs are told ----


def numbers(**reasons: int) -> dict[str, Any]:
    tally = Tally()
    tally.numbers["calls"] = sum(reasons.values())
    tally.outcomes["local"] = sum(reasons.values())
    tally.local_reasons.update({name.replace("_", "-"): count for name, count in reasons.items()})
    return tally.as_dict()


@pytest.mark.parametrize("reason", Reason)
def test_the_numbers_say_what_is_the_case_and_what_to_do_at_eighty_columns(reason: Reason) -> None:
    document = numbers(**{reason.value: 3})
    lines = table(document, "all compiles", has_colour=False, columns=80)
    assert max(map(len, lines)) <= 80
    said = " ".join(" ".join(lines).split())
    assert f"{reason} 3 {reason.what}" in said
    assert (reason.advice in said) is not (reason.is_choice or reason.advice == NOTHING)


def test_an_explanation_says_why_and_what_to_do() -> None:
    reason = Reason.TIME_MACRO
    document = {
        "arguments": [],
        "compiler": "/usr/bin/gcc",
        "way": "local",
        "reason": "time-macro",
        "detail": "/p/x.c",
        "base_dir": {"directory": "", "is_used": False},
    }
    lines = list(told(document))
    assert lines[1:4] == [
        "way          local: time-macro (/p/x.c)",
        f"why          {reason.what} {reason.why}",
        f"do           {reason.advice}",
    ]
    assert max(len(each) for line in lines for each in fold(line, 80)) <= 80


def test_programs_are_told_code_kind_and_advice() -> None:
    assert about("no-nodes") == {
        "code": "no-nodes",
        "kind": "farm",
        "sentence": "No node that is here may run the job.",
        "advice": "zcc nodes says why; zcc-node serve starts one.",
    }


def test_a_code_of_another_zcc_is_told_as_it_is() -> None:
    document = numbers(from_the_future=2, objective_c=1, time_macro=1)
    assert tally_from(document).local_reasons["from-the-future"] == 2
    lines = table(document, "all compiles", has_colour=False)
    assert "  from-the-future             2" in lines
    assert about("from-the-future") is None
    assert list(told({
        "arguments": [], "compiler": "cc", "way": "local", "reason": "from-the-future", "detail": "",
        "base_dir": {"directory": "", "is_used": False},
    }))[1:] == ["way          local: from-the-future", "base_dir     none is in force"]  # fmt: skip
    text = prometheus(document)
    assert 'zcc_local_total{reason="from-the-future"} 2' in text
    assert 'zcc_local_kind_total{kind="other"} 3' in text
    assert 'zcc_local_kind_total{kind="limit"} 1' in text
    counts = dict(line.split("\t") for line in ccache(document).splitlines())
    assert counts["unsupported_source_language"] == counts["unsupported_code_directive"] == "1"
    assert counts["cache_miss"] == "2"
    assert sentences(Cause("from-the-future", "x")) == ["from-the-future: x"]


def test_each_miss_is_a_part_of_a_sentence() -> None:
    for reason in (each for each in Reason if each.kind is Kind.MISS):
        said = sentences(Cause(reason, "x"))[0]
        assert not said.endswith(".")
        assert said[0].islower(), said
