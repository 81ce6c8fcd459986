"""How much sooner does a build end where the broker counts what a toolchain's way takes over a node's line?

    python bench/lines.py [NAME ...] [--seeds N]

The machine that runs in production, on a virtual clock, among nodes with lines of 10 Mbit/s to 1 Gbit/s and a
toolchain of 60 MB (tests/sim/lines.py). Three builds, one after the other; of each the time over its lower
bound, and the longest that a job waited, each the median of the seeds: `flat` where every toolchain's way is
taken for two seconds, `measured` by the line.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

from tests.sim.lines import FARMS, Times, run

RULES = {"flat": {"is_flat": True}, "measured": {}, "without": {"has_cold": False}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="farms whose names have this in them"
    )
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for farm in FARMS:
        if options.names and not any(name in farm.name for name in options.names):
            continue
        print(farm.name)
        for name, options_of in RULES.items():
            if not (farm.warm or options_of.get("has_cold", True)):
                continue
            runs = [run(farm, seed, **options_of)[1] for seed in range(1, options.seeds + 1)]
            told = ", ".join(_told(builds) for builds in zip(*runs, strict=True))
            print(f"  {name:>8}  {told}", flush=True)


def _told(builds: Sequence[Times]) -> str:
    took_s = statistics.median(each.took_s for each in builds)
    ratio = statistics.median(each.ratio for each in builds)
    waited_s = statistics.median(each.waited_s for each in builds)
    return f"{took_s:5.1f} s ({ratio:.2f}, {waited_s:4.1f} s)"


if __name__ == "__main__":
    main()
