"""`python -m tests.differential`: run random cases for a while, and print each that differs as a script."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time

from tests.differential.tester import Differ, Report, with_farm
from tests.differential.ways import WAYS


def main() -> int:
    options = _options()
    # A shell starts what runs behind it deaf to Ctrl-C; the farm has to end with us either way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    way = WAYS[options.way]

    def work(differ: Differ) -> Report:
        deadline_s: float = time.monotonic() + 60 * options.minutes
        start = options.case or 0

        def is_over() -> bool:
            if options.case is not None:
                return differ.report.cases > 0
            if options.cases is not None:
                return bool(differ.report.cases >= options.cases)
            return time.monotonic() > deadline_s

        return differ.session(options.seed, is_over, start, not options.no_shrink, options.further)

    print(f"seed {options.seed}, way {way.name}: {way.why}", flush=True)
    report = with_farm(way, work)
    print(report.summary())
    return 1 if report.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 30))
    parser.add_argument("--cases", type=int, help="stop after so many, whatever the time")
    parser.add_argument("--case", type=int, help="only this case of the seed")
    parser.add_argument("--way", choices=sorted(WAYS), default="farm")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--further", action="store_true", help="cross and newer compilers as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
