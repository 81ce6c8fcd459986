"""Random projects and command lines, each run plain and through zcc: whatever differs is a bug.

    python -m tests.differential --minutes 60 --seed 1

`sources`, `commands` and their data (`words`, `surroundings`) make up a `Case`; `observe` runs it and tells
what can be seen of a run; `exempt` says what may differ, and why; `shrink` makes a failing case small and
`script` prints it; `tester` is the loop.
"""
