"""`make -j$(zcc slots)`: what it prints on a farm, without one, and with one that is silent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_farm import wait_until
from zcc.capacity import processors

ZCC = str(BIN / "zcc")


def test_it_is_this_machines_slots_and_the_farms(farm: Farm) -> None:
    def counted() -> dict[str, int]:
        done = farm.run(ZCC, "slots", "--json", cwd=Path("/"))
        counts: dict[str, int] = json.loads(done.stdout)
        return counts

    wait_until(lambda: counted()["farm"] == 4)
    expected = {"local": processors(), "farm": 4, "slots": processors() + 4}
    assert counted() == expected
    assert farm.run(ZCC, "slots", cwd=Path("/")).stdout == b"%d\n" % expected["slots"]


@pytest.mark.parametrize("setting", ["", "slots = 5\n", "no TOML"])
def test_without_a_farm_it_is_this_machines_slots(setting: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(setting)
    environment = {
        **os.environ,
        "ZCC_CONFIG_DIR": str(tmp_path),
        "ZCC_STATE_DIR": str(tmp_path),
        "ZCC_SERVICE_MANAGER": "off",
    }
    done = subprocess.run([ZCC, "slots"], env=environment, capture_output=True, check=False)
    subprocess.run([ZCC, "agent", "stop"], env=environment, capture_output=True, check=False)
    if setting == "no TOML":
        assert done.returncode != 0
        assert done.stdout == b""
    else:
        assert done.stdout == b"%d\n" % (5 if setting else processors())


def test_a_farm_that_is_silent_is_not_counted(remembering: Farm) -> None:
    assert remembering.local.broker is not None
    remembering.local.broker.send_signal(signal.SIGSTOP)
    try:
        remembering.run(ZCC, "agent", "stop", cwd=Path("/"))
        done = remembering.run(ZCC, "slots", cwd=Path("/"))
    finally:
        remembering.local.broker.send_signal(signal.SIGCONT)
    assert done.stdout == b"%d\n" % processors()
