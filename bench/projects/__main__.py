"""Are whole real builds, by their own build systems, the same through the farm?

    python bench/projects [NAME...] [--compiler gcc] [--json] [--keep DIRECTORY]

Each project is built in one place twice, plain and through a farm of two nodes whose sandboxes hold no compiler
of the host's, and then tested by its own suite. Every file that either build wrote, and what each single
command said and returned, is compared. The exit status is 1 if anything differs, or if fewer than 95% of the
compiles ran on the farm.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from builds import Build, Workplace
from catalogue import PROJECTS, Project
from comparison import Comparison, compare
from sources import Shelf, SourcesError

from zcc.cli.up import LocalFarm

STORE = Path(__file__).resolve().parents[2] / ".demo" / "projects"
COMPILERS = {"gcc": "g++", "clang": "clang++"}
MIN_REMOTE = 0.95


def main() -> int:
    options = read_options()
    chosen = [project for project in PROJECTS if not options.names or project.name in options.names]
    compilers = [options.compiler] if options.compiler else list(COMPILERS)
    shelf = Shelf(STORE)
    rows = []
    with tempfile.TemporaryDirectory(prefix="zcc-projects-") as scratch:
        farm = LocalFarm(scratch)
        try:
            farm.start(nodes=2, slots=1)
            for project in chosen:
                for compiler in (each for each in compilers if each in project.compilers):
                    row = one(project, compiler, shelf, Path(scratch), farm)
                    rows.append(row)
                    print(json.dumps(row) if options.json else describe(row), flush=True)
        except SourcesError as error:
            sys.exit(f"bench/projects: {error}")
        finally:
            farm.stop()
    return int(not all(row["sound"] for row in rows))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of projects; none: all")
    parser.add_argument("--compiler", choices=COMPILERS, help="only this one")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    unknown = set(options.names) - {project.name for project in PROJECTS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def one(
    project: Project, compiler: str, shelf: Shelf, scratch: Path, farm: LocalFarm
) -> dict[str, object]:
    """Both builds of one project, compared."""
    place = Workplace(scratch / f"{project.name}-{compiler}", shelf.fetch(project.package))
    words = {"cc": compiler, "cxx": COMPILERS[compiler]}
    plain = Build(project, words, place, None).run()
    distributed = Build(project, words, place, farm).run()
    tests = Build(project, words, place, farm).test()
    verdict = compare(plain, distributed)
    return report(project, compiler, plain, distributed, verdict, tests)


def report(
    project: Project,
    compiler: str,
    plain: Build,
    distributed: Build,
    verdict: Comparison,
    tests: int,
) -> dict[str, object]:
    counts = distributed.counts
    share = counts.remote / max(1, counts.compiles)
    is_sound = (
        not verdict.differences
        and share >= MIN_REMOTE
        and counts.discrepancies == counts.proof_failures == tests == 0
        and counts.compiles > 0
    )
    return {
        "project": project.name,
        "kind": project.kind,
        "compiler": compiler,
        "compiles": counts.compiles,
        "remote": counts.remote,
        "listed": counts.listed,
        "local": counts.local,
        "passed_through": counts.passed,
        "files": verdict.files,
        "commands": verdict.commands,
        "differences": verdict.differences,
        "discrepancies": counts.discrepancies,
        "proof_failures": counts.proof_failures,
        "notes": counts.notes,
        "tests": tests,
        "plain_s": round(plain.build_s, 1),
        "farm_s": round(distributed.build_s, 1),
        "sound": is_sound,
    }


def describe(row: dict[str, object]) -> str:
    lines = [
        f"{row['project']} with {row['compiler']} ({row['kind']}):"
        f" {row['remote']} of {row['compiles']} compiles remote ({row['listed']} listed),"
        f" {row['passed_through']} other calls",
        f"  local by reason: {row['local'] or 'none'}",
        f"  equal: {row['files']} files, {row['commands']} commands' messages;"
        f" discrepancies {row['discrepancies']}, proof failures {row['proof_failures']},"
        f" own tests exit {row['tests']}; plain {row['plain_s']} s, farm {row['farm_s']} s",
    ]
    for name in ("differences", "notes"):
        listed = row[name]
        assert isinstance(listed, list)
        lines += [f"  {name}: {each}" for each in listed[:20]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
