"""What an operator asks to have audited, and the report: two files between `zcc-broker audit` and the broker.

    STATE/audit/inquiry.json    written by the command
    STATE/audit/report.json     written by the broker, as it goes on

Who can write to the broker's state directory is its operator: no key and no message are needed.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict, dataclass, field

from broker.state import read_document
from zcc.keys import save_private

_INQUIRY, _REPORT = "inquiry.json", "report.json"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """`share` of the results that can be run again; by `node` (a name or key) alone, if that is given."""

    id: str
    share: float
    node: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A result that another node does not confirm. `odd` is the node at fault, where that is known."""

    key: str
    verdict: str
    node: str
    other: str
    what: tuple[str, ...]
    odd: str
    odd_key: str

    def sentence(self) -> str:
        said = f"job {self.key[:12]}: {self.node} and {self.other} differ in {', '.join(self.what)}"
        if self.odd_key:
            purge = f"zcc-broker cache purge --node={shlex.quote(self.odd_key)}"
            return (
                f"{said}; two nodes agree, and again each time: {self.odd} is at fault, and gets none of this"
                f" member's jobs for a day, nor others' when theirs say so too; forget its results by {purge}"
            )
        if self.verdict == "unstable":
            return f"{said}; the job does not repeat itself, so nobody is at fault"
        return f"{said}; there is no third node to say which is wrong: the result is forgotten"


@dataclass(slots=True)
class Report:
    """`left` are still to come; `skipped` are by reason."""

    id: str
    results: int = 0
    jobs_kept: int = 0
    asked: int = 0
    left: int = 0
    is_over: bool = False
    verdicts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def write_inquiry(directory: str, inquiry: Inquiry) -> None:
    """
    Raises:
        OSError: it cannot be written.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    save_private(os.path.join(directory, _INQUIRY), json.dumps(asdict(inquiry)))


def read_inquiry(directory: str) -> Inquiry | None:
    """The last inquiry; None where there is none that can be read."""
    document = read_document(os.path.join(directory, _INQUIRY))
    if document is None:
        return None
    try:
        share = float(document["share"])
        return Inquiry(str(document["id"]), min(1.0, max(0.0, share)), str(document["node"]))
    except (KeyError, TypeError, ValueError):
        return None


def write_report(directory: str, report: Report) -> None:
    """A disk that refuses costs the report."""
    try:
        save_private(os.path.join(directory, _REPORT), json.dumps(asdict(report)))
    except OSError:
        return


def read_report(directory: str, inquiry_id: str) -> Report | None:
    """The report on this inquiry, as far as it is; None before the broker has seen it."""
    document = read_document(os.path.join(directory, _REPORT))
    if document is None or document.get("id") != inquiry_id:
        return None
    findings = [Finding(**{**each, "what": tuple(each["what"])}) for each in document["findings"]]
    return Report(**{**document, "findings": findings})
