"""`docs/reference/reasons.md`, made of `zcc/reasons.py`: `make docs` writes it."""

from __future__ import annotations

from collections.abc import Iterator

from zcc.reasons import Kind, Reason

_HEAD = """\
# Why a compile ran here, or was no hit

<!-- Made by `make docs` from zcc/reasons.py: do not edit it. -->

`zcc stats` counts the reasons. `zcc explain CC ARGS...` says what it would be for one command, and
`zcc why FILE` what it was, and why it was no hit. What is special about one compile (a path, an option, a
variable) stands beside the reason, in brackets. With `--json` the reason is under `about`: `code`, `kind`,
`sentence`, `advice`. `zcc stats --format=prometheus` has the codes in `zcc_local_total` and the kinds in
`zcc_local_kind_total`; `--format=ccache` counts a reason under ccache's name.

The code that gives a reason says `Reason.` and the reason in capitals: `Reason.TIME_MACRO` is `time-macro`.
"""
_SECTIONS = {
    Kind.CHOICE: (
        "Choices",
        "No farm could take these commands, or they end sooner here. That is no fallback, and\n"
        "`ZCC_FALLBACK=never` lets them run.",
    ),
    Kind.LIMIT: (
        "Limits",
        "Only this machine is known to write the same bytes. Those with a star are mostly sent all the\n"
        "same: the compiler is asked for its inputs, which takes longer (`listed` in `zcc stats`). What is\n"
        "sent, and limits that no reason tells of, are in\n"
        "[limits of today](../design/limits.md).",
    ),
    Kind.FAULT: (
        "Faults",
        "Something was not as it should be. Nothing wrong was built: the compile ran here.",
    ),
    Kind.FARM: (
        "The farm",
        "There was no farm, or it did not take the job: the compile ran here.\n"
        "[The protocol](protocol.md#a-job) has the numbers.",
    ),
    Kind.MISS: (
        "Misses",
        "This machine's cache had no answer; the farm's may have had one. `zcc why` says these.",
    ),
}
# The compiler is asked where the scanner cannot tell.
_LISTED = (Reason.COMPUTED_INCLUDE, Reason.OUTSIDE_ROOTS, Reason.ENCODING, Reason.DISK)


def page() -> str:
    return _HEAD + "".join(f"\n{line}" for kind in Kind for line in _section(kind)) + "\n"


def _section(kind: Kind) -> Iterator[str]:
    title, text = _SECTIONS[kind]
    yield f"## {title}\n"
    yield f"{text}\n"
    has_why = any(each.why for each in Reason if each.kind is kind)
    yield _row("what", "reason", *(("why",) if has_why else ()), "what to do", "ccache's name")
    yield _row(*(("---",) * (5 if has_why else 4)))
    for each in Reason:
        if each.kind is kind:
            code = f"`{each}`{' *' if each in _LISTED else ''}"
            why = (each.why,) if has_why else ()
            yield _row(
                each.what, code, *why, each.advice, f"`{each.ccache}`" if each.ccache else ""
            )
    yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Names in code stay; what Markdown would take for its own does not."""
    return text if text.startswith("`") else text.replace("__", r"\_\_").replace("*.", r"\*.")


if __name__ == "__main__":
    print(page(), end="")
