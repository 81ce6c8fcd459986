"""A node without room says so, takes no jobs, and takes them again when it can: nobody loses anything by it.

Played in an enclosure, where disks can be made that are too small.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from typing import Any

from tests.attacks.farm import PATIENCE_S, AttackedFarm, Client, play
from zcc import farm as farms
from zcc.cli.agent import sibling
from zcc.messages import Refused


async def _row(innocent: Client, name: str, state: str) -> dict[str, Any]:
    """The node's row once it is in this state, or the last one that it had."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        rows = [row for row in await innocent.nodes() if row["name"] == name]
        if (rows and rows[0]["state"] == state) or time.monotonic() > deadline:
            return rows[0] if rows else {}
        await asyncio.sleep(0.2)


def _alone(farm: AttackedFarm) -> None:
    """Send the two other nodes away."""
    for node in farm.local.nodes[:2]:
        node.terminate()
        node.wait()


async def short_disk(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    place = os.path.join(farm.local.directory, "small")
    os.mkdir(place)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "none", place]
    subprocess.run(mount, check=True)
    await asyncio.to_thread(farm.local.add_node, "small", 1)
    paused = await _row(innocent, "small", "paused")
    with_others = await farm.compiles(innocent)
    _alone(farm)
    refused = await innocent.outcome(await innocent.submit(farm.job(name=b"alone")))
    subprocess.run(["mount", "-o", "remount,size=4g", place], check=True)
    ready = await _row(innocent, "small", "ready")
    again = await farm.compiles(innocent)
    return {
        "paused": paused,
        "with_others": with_others["innocent"],
        "refused": refused.reason if isinstance(refused, Refused) else "",
        "ready": ready,
        "again": again["innocent"],
    }


async def small_quota(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    local, state = farm.local, os.path.join(farm.local.directory, "small")
    token = local.token("node")
    await asyncio.to_thread(farms.join, token, state, "small", ("node",))
    command = [sibling("zcc-node"), "serve", "--state", state, "--name", "small", "--user", "any"]
    local.nodes.append(local._spawn("small", [*command, "--slots", "1", "--cache-size", "1M"]))
    await _row(innocent, "small", "ready")
    _alone(farm)
    refused = await innocent.outcome(await innocent.submit(farm.job(name=b"alone")))
    limited = await _row(innocent, "small", "limited")
    with open(os.path.join(local.directory, "small.log")) as log:
        said = [line for line in log if "--cache-size" in line]
    return {
        "refused": refused.reason if isinstance(refused, Refused) else "",
        "limited": limited,
        "said": len(said),
    }


def test_a_node_whose_disk_is_short_pauses_and_comes_back() -> None:
    outcome = play(__name__, "short_disk")
    assert outcome["paused"]["state"] == "paused", outcome
    assert "MiB free" in outcome["paused"]["reason"], outcome
    assert "--state" in outcome["paused"]["reason"], outcome
    assert outcome["with_others"] == "Finished"
    assert outcome["refused"] == "no-nodes"
    assert outcome["ready"]["state"] == "ready", outcome
    assert outcome["ready"]["faults"] == 0
    assert outcome["again"] == "Finished"


def test_a_node_whose_quota_is_smaller_than_the_toolchain_names_the_size_that_would_do() -> None:
    outcome = play(__name__, "small_quota")
    assert outcome["refused"] == "no-nodes", outcome
    assert outcome["limited"]["state"] == "limited", outcome
    assert "--cache-size" in outcome["limited"]["reason"], outcome
    assert outcome["limited"]["faults"] == 0
    assert outcome["said"] == 1
