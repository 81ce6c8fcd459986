"""Two developers on machines of their own: what one has compiled, the other does not compile again."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import machines
from tests.support.network_farm import Member, NetworkFarm, ready_farm

pytestmark = [
    pytest.mark.needs("ip"),
    pytest.mark.skipif(bool(machines.why_not()), reason=machines.why_not()),
]

FILES = 40
LEAST_SHARED = 0.99


@pytest.fixture(scope="module")
def farm() -> Iterator[NetworkFarm]:
    with ready_farm(clients=2) as made:
        yield made


def write_project(at: Path) -> None:
    """As CMake would write its Makefiles: absolute paths, debug information, dependency files."""
    for name in ("include", "src", "build", ".git"):
        (at / name).mkdir(parents=True)
    (at / "include" / "all.h").write_text(
        "#include <stdio.h>\n#include <string.h>\nextern int n;\n"
    )
    for number in range(FILES):
        text = f'#include "all.h"\nint f{number}(void) {{ puts(__FILE__); return n + {number}; }}\n'
        (at / "src" / f"f{number}.c").write_text(text)
    objects = " ".join(f"f{number}.o" for number in range(FILES))
    rule = f"%.o: {at}/src/%.c\n\t@$(CC) -g -O1 -I{at}/include -MD -MF $@.d -o $@ -c $<\n"
    (at / "build" / "Makefile").write_text(f"all: {objects}\n{rule}")


def build(farm: NetworkFarm, client: Member, at: Path, **more: str) -> Counter[str]:
    before = farm.stats(client)["outcomes"]
    command = ("make", "-s", "-j4", "-C", str(at / "build"), "CC=zcc gcc")
    environment = farm.environment(client, cache="on") | {"ZCC_FALLBACK": "never"} | more
    farm.run(client.machine, *command, env=environment)
    after = farm.stats(client)["outcomes"]
    return Counter({name: count for name in after if (count := after[name] - before[name])})


def objects(at: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (at / "build").glob("*.o")}


def test_the_second_developer_s_first_build_is_all_shared_hits(
    farm: NetworkFarm, tmp_path: Path
) -> None:
    one, two = farm.clients
    at = tmp_path / "project"
    write_project(at)
    assert build(farm, one, at) == {"remote": FILES}
    first = objects(at)
    shutil.rmtree(at)
    write_project(at)  # checked out anew, with other times and inodes
    outcomes = build(farm, two, at)
    assert outcomes["shared_hit"] >= LEAST_SHARED * FILES, outcomes
    assert objects(at) == first


def test_a_checkout_elsewhere_hits_too_with_a_base_directory(
    farm: NetworkFarm, tmp_path: Path
) -> None:
    one, two = farm.clients
    here, there = tmp_path / "home" / "a" / "p", tmp_path / "srv" / "checkouts" / "nightly"
    write_project(here)
    write_project(there)
    assert build(farm, one, here, ZCC_BASE_DIR="auto") == {"remote": FILES}
    outcomes = build(farm, two, there, ZCC_BASE_DIR="auto")
    assert outcomes["shared_hit"] >= LEAST_SHARED * FILES, outcomes
    assert objects(there) == objects(here)
    assert os.fsencode(there / "include" / "all.h") in (there / "build" / "f1.o.d").read_bytes()
