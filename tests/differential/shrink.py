"""Makes a failing case small: takes away, one at a time, whatever the failure does not need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.differential.case import Case, Kind, Stdin, Streams


def shrink(case: Case, still_fails: Callable[[Case], bool], max_attempts: int = 250) -> Case:
    """The smallest case found within so many attempts."""
    attempts = 0
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for simpler in _simpler(case):
            attempts += 1
            if attempts > max_attempts:
                return case
            if still_fails(simpler):
                case, is_smaller = simpler, True
                break
    return case


def _simpler(case: Case) -> Iterator[Case]:
    """Cases with less in them, the big cuts first. Restarted after each success."""
    if case.edits:
        yield replace(case, edits=())
        yield replace(case, project=case.edited(), edits=())
    if case.settles:
        yield replace(case, settles=False)
    if case.streams is not Streams.APART:
        yield replace(case, streams=Streams.APART)
    if case.stdin is not Stdin.NOTHING:
        yield replace(case, stdin=Stdin.NOTHING)
    half = len(case.options) // 2
    if half > 1:
        yield replace(case, options=case.options[:half])
        yield replace(case, options=case.options[half:])
    for at in range(len(case.options)):
        yield replace(case, options=case.options[:at] + case.options[at + 1 :])
    for path in case.project:
        yield replace(case, project={k: v for k, v in case.project.items() if k != path})
    for name in case.environment:
        kept = {k: v for k, v in case.environment.items() if k != name}
        yield replace(case, environment=kept)
    if case.umask != 0o022:
        yield replace(case, umask=0o022)
    if len(case.edits) > 1:
        for at in range(len(case.edits)):
            yield replace(case, edits=case.edits[:at] + case.edits[at + 1 :])
    yield from _fewer_lines(case)


def _fewer_lines(case: Case) -> Iterator[Case]:
    for path, entry in case.project.items():
        if entry.kind is not Kind.FILE:
            continue
        lines = entry.data.splitlines(keepends=True)
        spans = [len(lines) // 2] if len(lines) > 3 else []
        for span in (*spans, 1):
            for at in range(0, len(lines), span):
                data = "".join(lines[:at] + lines[at + span :])
                yield replace(case, project={**case.project, path: replace(entry, data=data)})
