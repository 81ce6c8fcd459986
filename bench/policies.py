"""Is there a build on which a simpler rule than the broker's own ends sooner?

    python bench/policies.py [--scenarios NAME,...] [--policies NAME,...] [--seeds N]

Each rule stands in the place of the broker's own in the machine that runs in production
(tests/sim/policies.py), and all of them have the same jobs (tests/sim/scenarios.py) on a virtual clock. A
figure is the time of the build over a lower bound: the median of the seeds. `best` says by how much the
production rule is behind the best of the others, where it is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # not installed: the tests' world

from tests.sim.policies import POLICIES
from tests.sim.scenarios import SCENARIOS, Run, Scenario


def ratio(scenario: Scenario, policy: str, seeds: int) -> float:
    return statistics.median(Run(scenario, policy, seed).ratio() for seed in range(1, seeds + 1))


def main() -> None:
    assert __doc__ is not None
    first, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(scenario.name for scenario in SCENARIOS).replace("%", "%%")
    parser.add_argument(
        "--scenarios", default="", help=f"beginnings of their names, by ';': {names}"
    )
    parser.add_argument("--policies", default="", help=f"by commas: {', '.join(POLICIES)}")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    wanted = tuple(filter(None, options.scenarios.split(";"))) or ("",)
    policies = options.policies.split(",") if options.policies else list(POLICIES)
    print(f"{'':24}" + "".join(f"{policy:>15}" for policy in policies))
    for scenario in SCENARIOS:
        if not scenario.name.startswith(wanted):
            continue
        found = {policy: ratio(scenario, policy, options.seeds) for policy in policies}
        figures = "".join(f"{found[policy]:15.3f}" for policy in policies)
        behind = found.get("production", 0.0) / min(found.values()) - 1.0
        best = f"  best + {behind:.1%}" if behind > 0 else "  best"
        print(f"{scenario.name:24}{figures}{best}", flush=True)


if __name__ == "__main__":
    main()
