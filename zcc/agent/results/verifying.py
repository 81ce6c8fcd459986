"""Compiling a share of what comes from elsewhere here too, and comparing: trust is checked by the way.

Owns which calls are checked, and the comparison. The check is the plain local compile itself: the launcher
runs the compiler as it does for any compile that stays here, so what the user gets is his own compiler's work,
and its outputs are written as they always are. When it has ended, the files on the disk are compared with what
would have been placed. What the compiler said cannot be compared: it went to the user's terminal.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from cache.digest import Digest
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.core.discrepancy import CLOCK_GRAIN_NS
from zcc.agent.history.builds import Build
from zcc.agent.history.recorder import Account
from zcc.agent.results.local_cache import Recall
from zcc.agent.results.part import Part
from zcc.agent.results.restore import Files
from zcc.compiler.disk.disk import Disk
from zcc.config import parse_share
from zcc.errors import ConfigError
from zcc.job import Result

logger = logging.getLogger(__name__)

VARIABLE = b"ZCC_VERIFY"
# What two plain runs of one compiler write differently: sections and stamps with a random number (unless it is
# given: -frandom-seed), times, names of temporary files, addresses.
_UNEQUAL = re.compile(
    rb"-f(no-)?lto|-flto|-ffat-lto|--?coverage|-ftest-coverage|-f(cs-)?profile-|-ftime-|-fsave-optimization"
    rb"|-fopt-info|-fmem-report|-fdump|-d[a-zA-Z]$|-MJ|-save-|--save-|-fcompare-debug|-gtoggle"
    rb"|-no-integrated-cpp|-fno-integrated-as|-Wa,"
)
_SEED = b"-frandom-seed="


class CheckOutcome(Enum):
    """`UNSURE`: the compile here left nothing to compare, or somebody has changed it since."""

    EQUAL = "equal"
    DIFFERS = "differs"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Comparison:
    outcome: CheckOutcome
    detail: str = ""


@dataclass(slots=True)
class Check:
    """A call whose result is compared with a compile here; `came` is kept if they are equal.

    `is_disputed`: an earlier comparison has found its job's result wrong.
    """

    is_disputed: bool = False
    came: list[tuple[Prepared, Result, Mapping[Digest, bytes]]] = field(default_factory=list)


class Checker:
    """`share` is checked where the environment does not say otherwise.

    A job whose result was wrong once is checked each time that something comes for it from the farm, which is
    asked to compile it anew: what was wrong is then never placed, and kept only what was compared since.
    """

    def __init__(self, share: float, account: Account, recall: Recall, disk: Disk) -> None:
        self._share = share
        self._stats = account.stats
        self._disputed = account.disputed
        self._recall = recall
        self._disk = disk

    def choose(self, environment: Mapping[bytes, bytes], parts: Sequence[Part]) -> Check | None:
        """Whether this call is one of the share, or is to be checked because its result was wrong before."""
        if any(not part.result and part.prepared.key in self._disputed for part in parts):
            return Check(is_disputed=True)
        share = share_of(environment, self._share)
        if share <= 0 or random.random() >= share or not is_comparable(parts):
            return None
        return Check()

    def conclude(
        self,
        check: Check,
        parts: Sequence[Part],
        build: Build,
        begun_ns: int,
        keeps: bool,
        other_input: str,
    ) -> None:
        """The compile here, begun at that wall clock, is over. What had come is remembered (if the call
        `keeps`) where it is the same, and said to be wrong, and forgotten, where it is not. Where there is an
        `other_input`, that compile may have read something else, and nothing follows."""
        files = [each for part in parts for each in part.files]
        if not files:
            return  # nothing came
        found = compare(files, begun_ns, time.time_ns())
        if other_input:
            found = Comparison(CheckOutcome.UNSURE, f"{other_input} was changed meanwhile")
        source = os.fsdecode(parts[0].prepared.source)
        match found.outcome:
            case CheckOutcome.UNSURE:
                self._stats.add("verify_unsure", build)
                logger.info("not compared: %s: %s", source, found.detail)
            case CheckOutcome.DIFFERS:
                self._stats.add("verify_differs", build)
                nodes = ", ".join(sorted({part.result.node for part in parts if part.result}))
                text = f"not what this machine compiles, from {nodes}: {source}: {found.detail}"
                self._stats.note(text)
                logger.error("%s", text)
                self._disputed.add(part.prepared.key for part in parts)
                for part in parts:
                    self._recall.forget(part.prepared.key)
            case CheckOutcome.EQUAL:
                self._stats.add("verified", build)
                if keeps:
                    self._disk.begin(time.monotonic(), None)
                    for prepared, came, frames in check.came:
                        self._recall.remember(prepared, came, frames, self._disk)


def share_of(environment: Mapping[bytes, bytes], default: float) -> float:
    """The share of compiles to check, from 0 to 1; a word that is no share changes nothing."""
    word = environment.get(VARIABLE)
    if word is None:
        return default
    try:
        return parse_share(word.decode(errors="replace"))
    except ConfigError:
        return default


def is_comparable(parts: Sequence[Part]) -> bool:
    """Whether a plain compile here writes the same bytes: one below a base directory does not, nor does one
    that writes down random numbers, times or addresses."""
    for part in parts:
        if part.prepared.base:
            return False
        argv = part.prepared.job_in_place.argv
        if any(_UNEQUAL.match(word) for word in argv) and not any(
            word.startswith(_SEED) for word in argv
        ):
            return False
    return True


def compare(files: Files, begun_ns: int, ended_ns: int) -> Comparison:
    """The outputs that came against those on this disk; both times are the wall clock's, of the run here."""
    for path, _, came in reversed(files):  # the main output first
        name = os.fsdecode(path)
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                here = file.read()
        except OSError as error:
            return Comparison(CheckOutcome.UNSURE, f"{name}: {error.strerror}")
        if status.st_mtime_ns < begun_ns - CLOCK_GRAIN_NS:
            return Comparison(CheckOutcome.UNSURE, f"{name} was not written by the compile here")
        if here == came:
            continue
        if status.st_mtime_ns > ended_ns:
            return Comparison(CheckOutcome.UNSURE, f"{name} was changed after the compile")
        return Comparison(CheckOutcome.DIFFERS, f"{name}: {_where(here, came)}")
    return Comparison(CheckOutcome.EQUAL)


def _where(here: bytes, came: bytes) -> str:
    if len(here) != len(came):
        return f"{len(came)} bytes came, {len(here)} were written here"
    at = next(at for at, (a, b) in enumerate(zip(here, came, strict=True)) if a != b)
    return f"the first other byte is at {at} of {len(here)}"
