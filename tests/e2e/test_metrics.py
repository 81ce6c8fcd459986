"""A real broker's metrics while real compiles go through it: the numbers are those that members see."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Farm
from tests.support.network_farm import wait_until
from tests.support.prometheus import read_open, samples_of
from zcc import farm as membership
from zcc.cli.up import LocalFarm
from zcc.watching.recording import replayed

OPEN = "application/openmetrics-text; version=1.0.0"


class MeasuredFarm(Farm):
    @property
    def address(self) -> tuple[str, int]:
        log = Path(self.local.directory, "broker.log").read_text()
        host, port = re.findall(r"metrics at http://([\d.]+):(\d+)/metrics", log)[-1]
        return host, int(port)

    def page(self, accept: str = "") -> str:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read().decode()
        finally:
            connection.close()

    def samples(self) -> dict[str, float]:
        return samples_of(self.page())

    @contextmanager
    def events(self, kept: Path) -> Iterator[None]:
        """What happens is recorded there meanwhile."""
        key = os.path.join(self.local.directory, "monitor")
        command = [str(BIN / "zcc"), "events", "--record", str(kept), "--key", key]
        process = subprocess.Popen(
            command,
            env=self.local.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: kept.is_dir() and bool(list(kept.iterdir())), "a recording")
            yield
            wait_until(lambda: counts_in(kept)["failed"] > 0, "the last result in the recording")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)

    def wait_for(self, name: str, value: float) -> None:
        wait_until(lambda: self.samples().get(name) == value, f"{name} to be {value}")


@pytest.fixture(scope="module")
def measured() -> Iterator[MeasuredFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-measured-") as directory:
        local = LocalFarm(directory, broker_options=("--metrics", "127.0.0.1:0"))
        try:
            local.start(nodes=2, slots=2)
            at = os.path.join(directory, "monitor")
            membership.join(local.token("monitor"), at, "monitor@here", ("monitor",))
            yield MeasuredFarm(local)
        finally:
            local.stop()


def sources(at: Path, mark: str) -> list[str]:
    (at / ".git").mkdir(exist_ok=True)
    for name in ("x", "y", "z"):
        (at / f"{name}.c").write_text(f"int {mark}_{name}(int a) {{ return a * 7; }}\n")
    return ["x.c", "y.c", "z.c"]


def build(farm: Farm, at: Path, names: list[str], **more: str) -> None:
    for name in names:
        done = farm.run(
            "zcc", "gcc", "-O1", "-c", name, "-o", f"{name}.o", cwd=at, strict=True, **more
        )
        assert done.returncode == 0, done.stderr


def growth(after: dict[str, float], before: dict[str, float], name: str) -> Counter[str]:
    """By how much each sample of a metric has grown, by its label's value."""
    grown: Counter[str] = Counter()
    for sample, value in after.items():
        if sample.partition("{")[0] == name and value != before.get(sample, 0):
            grown[sample.split('"')[1] if '"' in sample else ""] = int(
                value - before.get(sample, 0)
            )
    return grown


def test_the_counters_are_what_zcc_stats_and_the_events_have(
    measured: MeasuredFarm, tmp_path: Path
) -> None:
    farm, names, kept = measured, sources(tmp_path, "counted"), tmp_path / "kept"
    farm.wait_for('zcc_farm_nodes{state="ready"}', 2)
    before, known = farm.samples(), farm.ran()
    with farm.events(kept):
        build(farm, tmp_path, names, ZCC_CACHE="off")  # three runs
        build(farm, tmp_path, names, ZCC_CACHE="on")  # three from the farm
        (tmp_path / "bad.c").write_text("int f( {\n")
        farm.run("zcc", "gcc", "-c", "bad.c", cwd=tmp_path, strict=False)
        # An agent learns of the metrics with the next beat. What it did before, nobody counts.
        wait_until(lambda: counts_local(farm, tmp_path, names), "a local hit that is counted")
        (tmp_path / "m.c").write_text("int main(void) { return 0; }\n")
        told = farm.samples()
        done = farm.run("zcc", "gcc", "m.c", "-o", "m", cwd=tmp_path, strict=False)
        assert done.returncode == 0
        link = 'zcc_farm_local_runs_total{kind="choice"}'
        farm.wait_for(link, told[link] + 1)
    after, ended = farm.samples(), farm.ran() - known

    assert ended["remote"] == 3
    assert ended["shared_hit"] == 3
    assert growth(after, before, "zcc_farm_requests_total") == {"compiled": 4, "hit": 3}
    hits = growth(after, before, "zcc_farm_hits_total")
    assert hits["shared"] == ended["shared_hit"]
    assert 0 < hits["local"] <= ended["local_hit"]
    assert hits["twin"] == 0
    assert growth(after, before, "zcc_farm_runs_total") == {"ok": 3, "failed": 1}
    assert growth(after, before, "zcc_farm_results_kept_total") == {"": 3}
    assert growth(after, before, "zcc_farm_run_seconds_count") == {"": 4}
    assert growth(after, before, "zcc_farm_queue_seconds_count") == {"": 4}
    leases = growth(after, before, "zcc_farm_leases_total").total()
    lost = growth(after, before, "zcc_farm_leases_lost_total").total()
    assert leases - lost == 4
    assert after["zcc_farm_run_cpu_seconds_total"] > before["zcc_farm_run_cpu_seconds_total"]

    seen = counts_in(kept)
    assert (seen["ok"], seen["failed"], seen["hit"]) == (3, 1, 3)


def counts_in(kept: Path) -> Counter[str]:
    """What came of all requests, by what events say."""
    seen: Counter[str] = Counter()
    for each in replayed(str(kept)).known_builds.values():
        seen += each.counts
    return seen


def counts_local(farm: MeasuredFarm, at: Path, names: list[str]) -> bool:
    build(farm, at, names[:1])
    return farm.samples()['zcc_farm_hits_total{tier="local"}'] > 0


def test_the_gauges_are_those_of_the_farm_and_both_forms_are_read(measured: MeasuredFarm) -> None:
    found = read_open(measured.page(OPEN))
    values = {name: family.samples for name, family in found.items()}
    assert [each.value for each in values["zcc_farm_slots_lent"]] == [4]
    sessions = {each.labels["role"]: each.value for each in values["zcc_farm_sessions"]}
    assert (sessions["node"], sessions["client"]) == (2, 1)
    (connections,) = values["zcc_broker_connections"]
    assert connections.value >= 3
    (received,), (sent,) = values["zcc_broker_received_bytes"], values["zcc_broker_sent_bytes"]
    # The toolchain came once, and went to both nodes.
    assert sent.value > received.value > 1 << 20
    (store,), (limit,) = values["zcc_broker_store_bytes"], values["zcc_broker_store_limit_bytes"]
    assert 1 << 20 < store.value < limit.value == 10 << 30
    (joins, _) = values["zcc_broker_joins"]
    assert joins.value == 4  # client, two nodes, monitor
    (memory,) = values["zcc_broker_resident_memory_bytes"]
    assert 10 << 20 < memory.value < 1 << 30
    (cpu,) = values["zcc_broker_cpu_seconds"]
    assert cpu.value > 0.1
    assert str(measured.local.directory) not in measured.page()
    assert "node1" not in measured.page()


def test_a_crowd_at_the_door_keeps_neither_builds_nor_prometheus_waiting(
    measured: MeasuredFarm, tmp_path: Path
) -> None:
    names = sources(tmp_path, "crowded")
    with ExitStack() as open_ones:

        def come(first: bytes) -> None:
            client = open_ones.enter_context(socket.create_connection(measured.address))
            client.sendall(first)

        for number in range(200):
            come((b"", b"GET /met", b"\x16\x03\x01", b"GET /metrics HTTP/1.1\r\nX: ")[number % 4])
        before = measured.ran()
        build(measured, tmp_path, names, ZCC_CACHE="off")
        assert (measured.ran() - before)["remote"] == 3
        for _ in range(3):
            assert measured.samples()['zcc_farm_nodes{state="ready"}'] == 2
            assert measured.samples()["zcc_broker_mistakes_total"] == 0


def test_without_the_option_nobody_listens_and_nothing_is_counted(farm: Farm) -> None:
    assert "metrics" not in Path(farm.local.directory, "broker.log").read_text()
