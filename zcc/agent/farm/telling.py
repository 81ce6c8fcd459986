"""What this user's agent tells the farm's watchers: what a job is called, and what never reaches the broker.

Nothing of it tells on a compile. With `events = "off"` none of it is said.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zcc.agent.analysis.outcome import Prepared
from zcc.agent.core.effects import CountOutcome
from zcc.agent.history.builds import Build
from zcc.messages import MAX_COUNTED_BUILDS, LocalCounts
from zcc.printable import printable
from zcc.subject import MAX_COUNTED, MAX_FILES, BuildCounts, BuildName, LocalFile, Subject

# Of a long path the end says more.
MAX_SHOWN = 200
# Builds whose names are remembered.
MAX_BUILDS = 256
_RELEASE = re.compile(r"version (\S+)")
_LANGUAGES = {b".m": "objective-c", b".mm": "objective-c++", b".s": "assembler", b".S": "assembler"}


@dataclass(slots=True)
class _Counts:
    """Of one build, since they were told last."""

    local_hits: int = 0
    saved_s: float = 0.0
    local: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    files: list[LocalFile] = field(default_factory=list)


class Telling:
    """`is_on`: the user has nothing against it."""

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on
        self._names: dict[int, BuildName] = {}
        self._counts: dict[int, _Counts] = {}
        self.is_watched = False

    def subject(
        self,
        build: Build,
        environment: Mapping[bytes, bytes],
        prepared: Prepared,
        scan_s: float,
    ) -> Subject | None:
        """What a job is called; None: that is not told."""
        if not self._is_on:
            return None
        return Subject(
            build=self._name_of(build, environment),
            file=shown_path(prepared.source, build.project),
            language=language_of(prepared),
            toolchain=compiler_of(prepared),
            scan_ms=max(0, int(scan_s * 1000)),
        )

    def counted(
        self,
        build: Build,
        environment: Mapping[bytes, bytes],
        outcome: CountOutcome,
        sources: Sequence[bytes],
        missed: Sequence[str],
        times_s: tuple[float, float],
    ) -> None:
        """What became of a call: `sources` are its files, `missed` why this machine's cache had no answer,
        `times_s` from its arrival until now, and what hits had cost."""
        if not (self._is_on and self.is_watched):
            return
        if build.number not in self._counts and len(self._counts) >= MAX_COUNTED_BUILDS:
            return
        self._name_of(build, environment)
        counts = self._counts.setdefault(build.number, _Counts())
        waited_s, saved_s = times_s
        counts.saved_s += saved_s
        if outcome.outcome == "local_hit":
            counts.local_hits += 1
            return
        _add(counts.missed, missed)
        if outcome.outcome == "local":
            reason = str(outcome.reason)
            _add(counts.local, (reason,))
            for source in sources[: MAX_FILES - len(counts.files)]:
                file = shown_path(source, build.project)
                counts.files.append(LocalFile(reason, file, max(0, int(waited_s * 1000))))

    def take(self) -> LocalCounts | None:
        """What has been counted since the last time; None: nothing."""
        counts, self._counts = self._counts, {}
        if not counts:
            return None
        return LocalCounts(
            tuple(
                BuildCounts(
                    self._names[number],
                    each.local_hits,
                    int(each.saved_s * 1000),
                    tuple(each.local.items()),
                    tuple(each.missed.items()),
                    tuple(each.files),
                )
                for number, each in counts.items()
            )
        )

    def _name_of(self, build: Build, environment: Mapping[bytes, bytes]) -> BuildName:
        known = self._names.get(build.number)
        if known is None:
            if len(self._names) >= MAX_BUILDS:
                kept = list(self._names.items())[MAX_BUILDS // 2 :]
                self._names = dict(kept) | {
                    number: self._names[number] for number in self._counts if number in self._names
                }
            known = BuildName(build.number, name_of(build, environment))
            self._names[build.number] = known
        return known


def _add(counter: Counter[str], names: Sequence[str]) -> None:
    for name in names:
        if name in counter or len(counter) < MAX_COUNTED:
            counter[name] += 1


def name_of(build: Build, environment: Mapping[bytes, bytes]) -> str:
    """What a build is called: ZCC_BUILD, else the project's directory and when it began there."""
    said = environment.get(b"ZCC_BUILD", b"")
    if said:
        return printable(os.fsdecode(said))[:MAX_SHOWN]
    directory = printable(os.fsdecode(os.path.basename(build.project) or build.project))
    began = time.strftime("%H:%M:%S", time.localtime(build.begun_s))
    return f"{directory[: MAX_SHOWN - 10]} {began}"


def shown_path(path: bytes, project: bytes) -> str:
    """A file by its place in the project; one that lies elsewhere by its name alone."""
    top = project.rstrip(b"/") + b"/"
    short = path[len(top) :] if path.startswith(top) else os.path.basename(path)
    return printable(os.fsdecode(short))[-MAX_SHOWN:]


def language_of(prepared: Prepared) -> str:
    """What the source is written in, as far as its suffix and the command say."""
    suffix = os.path.splitext(prepared.source)[1]
    by_traits = prepared.traits is not None and prepared.traits.is_cxx
    return _LANGUAGES.get(suffix) or ("c++" if by_traits else "c")


def compiler_of(prepared: Prepared) -> str:
    """The compiler's family and release."""
    toolchain = prepared.toolchain
    found = _RELEASE.search(toolchain.version)
    return f"{toolchain.family.value} {found[1]}" if found else toolchain.family.value
