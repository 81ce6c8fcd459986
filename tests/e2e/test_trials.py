"""A bad node is out, and comes back only when it is mended: known jobs are put to it before anybody's."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BIN, Farm
from tests.support.network_farm import wait_until
from zcc import farm as membership
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

TESTS = Path(__file__).parent.parent / "support"
AT_ONCE = 3


class DoubledFarm(LocalFarm):
    """With a broker in a hurry, and a node that is as bad as the file `word` says."""

    def _spawn(
        self, name: str, command: list[str], pass_fds: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        double = {"broker": ["hasty_broker.py"], "bad": ["bad_node.py", self.word]}.get(name)
        if double is not None:
            program, *words = double
            command = [sys.executable, str(TESTS / program), *words, *command[1:]]
        return super()._spawn(name, command, pass_fds)

    @property
    def word(self) -> str:
        return f"{self.directory}/word"

    def say(self, word: str) -> None:
        Path(self.word).write_text(word)


@dataclass
class Builders:
    """Two members, who compile what nobody has compiled before."""

    local: DoubledFarm
    project: Path
    members: list[Farm] = field(default_factory=list)
    number: int = 0

    def join(self) -> None:
        """A second member beside the farm's own, with an agent of its own."""
        own = f"{self.local.directory}/second"
        membership.join(self.local.token("client"), own, "second", ("client",))
        second = LocalFarm(own)
        second.environment = self.local.environment | {
            "ZCC_CONFIG_DIR": own,
            "ZCC_STATE_DIR": own,
            "ZCC_SOCKET": f"{own}/agent.sock",
        }
        self.members = [Farm(self.local), Farm(second)]

    def build(self) -> None:
        """One round: each member compiles some sources at a time, and has the plain compiler's objects."""
        with ThreadPoolExecutor(2 * AT_ONCE) as pool:
            todo = [(member, self._source()) for member in self.members for _ in range(AT_ONCE)]
            list(pool.map(lambda each: self._compile(*each), todo))

    def _source(self) -> str:
        self.number += 1
        name = f"f{self.number}"
        (self.project / f"{name}.c").write_text(f"int f{self.number}(void) {{ return 1; }}\n")
        return name

    def _compile(self, member: Farm, name: str) -> None:
        command = ("gcc", "-g", "-O1", "-c", f"{name}.c", "-o", f"{name}.o")
        done = member.run("zcc", *command, cwd=self.project, ZCC_CACHE="refresh")
        assert done.returncode == 0, done.stderr
        made = (self.project / f"{name}.o").read_bytes()
        subprocess.run(command, cwd=self.project, check=True)
        assert (self.project / f"{name}.o").read_bytes() == made, "a wrong object"


@pytest.fixture
def builders(tmp_path: Path) -> Iterator[Builders]:
    with tempfile.TemporaryDirectory(prefix="zcc-trials-") as directory:
        local = DoubledFarm(directory)
        made = Builders(local, tmp_path)
        try:
            local.start(nodes=0, slots=1)
            made.join()
            yield made
        finally:
            for member in made.members[1:]:
                control.ask(member.local.environment["ZCC_SOCKET"], {"op": "stop"}, 3.0)
            local.stop()


def row_of(builders: Builders, name: str) -> dict[str, Any]:
    done = builders.members[0].run(str(BIN / "zcc"), "nodes", "--json", cwd=builders.project)
    rows = json.loads(done.stdout or b"[]")
    return next((row for row in rows if row["name"] == name), {"state": "gone"})


def is_ready(builders: Builders, name: str) -> bool:
    return bool(row_of(builders, name)["state"] == "ready")


def outcomes(builders: Builders) -> list[str]:
    """What trials came to, as the audit log has them."""
    log = Path(builders.local.directory) / "broker" / "audit.log"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line["outcome"] for line in lines if line["event"] == "trial"]


def add_bad_node(builders: Builders) -> None:
    """It is well at first, and has the compiler before others come, so that it is given jobs beside them."""
    builders.local.say("is well")
    for name in ("bad", "good", "third"):
        builders.local.add_node(name, 1)
        wait_until(partial(is_ready, builders, name), f"{name} to come")
        if name == "bad":
            builders.build()


@pytest.mark.timeout(300)
def test_a_bad_node_comes_back_only_when_it_is_mended(builders: Builders) -> None:
    local = builders.local
    add_bad_node(builders)
    local.say("fails")
    while row_of(builders, "bad")["state"] == "ready":
        builders.build()
    local.say("flips")
    wait_until(lambda: "failed" in outcomes(builders), "the bad node to be found bad")
    row = row_of(builders, "bad")
    assert row["state"] in ("quarantined", "on-trial")
    assert "did known jobs wrong" in row["reason"]
    builders.build()
    local.restart_broker()
    builders.build()
    wait_until(lambda: outcomes(builders).count("failed") >= 2, "it to be so for a new broker")
    assert not {"passed", "nothing-known", "probed"} & set(outcomes(builders))
    assert row_of(builders, "bad")["finished"] == 0, "of the new broker's jobs"
    local.say("is well")
    wait_until(lambda: row_of(builders, "bad")["state"] == "ready", "the mended node to be back")
    assert outcomes(builders)[-1] == "passed"
    while not row_of(builders, "bad")["finished"]:
        builders.build()
