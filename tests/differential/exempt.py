"""What may differ between two runs of one command, each with its reason. Whatever is not here is a bug.

A row does not silence a difference. It says that the *plain* compiler does not repeat itself there; the tester
runs it again, and only where two plain runs differ in the same artefact does the row apply. What is left to
compare (that the file is there, with its mode) is compared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.differential.observe import STATUS, STDERR, STDOUT, Difference


@dataclass(frozen=True)
class Exemption:
    """`words` has to match one of the command's words or a line of its sources, `unless` none."""

    artefact: re.Pattern[str]
    words: re.Pattern[str]
    why: str
    unless: re.Pattern[str] | None = None


def _row(artefact: str, words: str, why: str, unless: str = "") -> Exemption:
    excluded = re.compile(unless) if unless else None
    return Exemption(re.compile(artefact), re.compile(words), why, excluded)


_ANY_FILE = r".*"
EXEMPTIONS = (
    _row(_ANY_FILE, r"-flto|-ffat-lto", "gcc names LTO sections by a random number",
         unless=r"-frandom-seed="),
    _row(_ANY_FILE, r"-coverage|-ftest-coverage|-fprofile-(arcs|generate)|-fcs-profile-generate",
         "gcc stamps notes and profiles with a random number unless -frandom-seed is given",
         unless=r"-frandom-seed="),
    _row(r".*\.json$", r"-ftime-trace", "times, process ids"),
    _row(r".*\.json(\.gz)?$|.*record.*", r"-fsave-optimization-record|-fopt-info", "times"),
    _row(_ANY_FILE, r"__TIME__|__TI\b|__DATE__|__DA\b", "the clock"),
    _row(STDERR, r"-ftime-report|-Q|-v|-###|-fproc-stat-report|-time|-fmem-report",
         "times, names of temporary files"),
    _row(STDOUT, r"-ftime-report|-Q|-v|-###|-fproc-stat-report|-time|-fmem-report",
         "times, names of temporary files"),
    _row(r".*\.json|c\.json", r"-MJ", "names of temporary files"),
    _row(_ANY_FILE, r"-save-stats", "heuristics count what addresses they meet"),
    _row(_ANY_FILE, r"-fdump|-da$|-ast-dump", "dumps print addresses and unique numbers"),
    _row(_ANY_FILE, r"-fcompare-debug|GCC_COMPARE_DEBUG|-g$", "gcc's second compile has a random file name"),
    _row(_ANY_FILE, r"-Wa,--?g",
         "debug information that the assembler makes names its source, gcc's temporary file"),
    _row(r".*\.d$", r"-Wa,--MD", "the assembler names its source, gcc's temporary file"),
    _row(_ANY_FILE, r"-gtoggle|-no-integrated-cpp", "names of temporary files"),
    _row(_ANY_FILE, r"-gz|-fno-integrated-as|-Wa,-a", "names of temporary files"),
)  # fmt: skip


def exemption_for(difference: Difference, texts: Sequence[str]) -> Exemption | None:
    """Why the plain compiler may differ from itself here; None where nobody has stated a reason."""
    if difference.name == STATUS:
        return None
    for row in EXEMPTIONS:
        is_meant = row.artefact.fullmatch(difference.name) and _is_in(row.words, texts)
        if is_meant and not (row.unless and _is_in(row.unless, texts)):
            return row
    return None


def _is_in(pattern: re.Pattern[str], texts: Sequence[str]) -> bool:
    return any(map(pattern.search, texts))
