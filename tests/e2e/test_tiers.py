"""A farm whose broker has Redis, or a bucket, behind its disk: whatever that does costs misses at most."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.results.tombstones import Tombstones
from broker.tiers.opening import tier_secret
from cache.digest import Digest
from cache.frame import compress
from cache.remote.engine import MemoryEngine
from cache.remote.store import RemoteStore, Sealing
from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_memory import compile_, lose_own
from tests.support.engines import RedisServer, S3Server, running
from zcc.cli.up import LocalFarm
from zcc.farm import DEFAULT_FARM

PATIENCE_S = 100.0
FILES = 8
pytestmark = pytest.mark.timeout(400)  # a farm's start alone takes half a minute on a busy machine
COUNTED = re.compile(r"^(zcc_broker_tier_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


class TieredFarm(Farm):
    """One node, and a broker with the settings in this directory."""

    def __init__(self, directory: str, settings: Path) -> None:
        local = LocalFarm(directory)
        local.broker_options = ("--tiers", str(settings), "--metrics", "127.0.0.1:0")
        super().__init__(local)

    @property
    def state(self) -> Path:
        return Path(self.local.directory) / "broker"

    @property
    def log(self) -> str:
        return (Path(self.local.directory) / "broker.log").read_text()

    def count(self, metric: str, *labels: str) -> float:
        """What the broker has counted, of the samples with all these labels."""
        address = re.findall(r"metrics at (\S+)", self.log)[-1]
        page = urllib.request.urlopen(address, timeout=PATIENCE_S).read().decode()
        return sum(
            float(value)
            for name, found, value in COUNTED.findall(page)
            if name == f"zcc_broker_tier_{metric}" and all(label in found for label in labels)
        )

    def wait_for(self, metric: str, least: float, *labels: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.count(metric, *labels) < least:
            assert time.monotonic() < deadline, f"{metric} of {labels} stays below {least}"
            time.sleep(0.2)

    def wait_until_in_tier(self, results: float) -> None:
        self.wait_for("results_total", results, 'outcome="written"')

    def forget_near(self) -> None:
        """What the broker's disk and the agent's own cache have of results, inputs and toolchains goes."""
        command = [str(BIN / "zcc-broker"), "cache", "trim", "0", "--state", str(self.state)]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            done = subprocess.run([*command, "--json"], check=True, capture_output=True)
            if b'"forgotten": 0' not in done.stdout:
                break  # the broker writes down what it has every two seconds
            assert time.monotonic() < deadline, "the broker has written nothing down"
            time.sleep(0.2)
        lose_own(self)


@contextmanager
def tiered_farm(settings: Path) -> Iterator[TieredFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-tiers-") as directory:
        farm = TieredFarm(directory, settings)
        try:
            farm.local.start(nodes=1, slots=2)
            yield farm
        finally:
            farm.local.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with running(server):
        yield server


@pytest.fixture(scope="module")
def farm(server: RedisServer) -> Iterator[TieredFarm]:
    with tiered_farm(server.settings_for(server.directory)) as farm:
        yield farm


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """C sources that take a moment each, and the plain compiler's objects in `plain/`."""
    place = tmp_path_factory.mktemp("project")
    names = [f"f{number}" for number in range(FILES)]
    for name in names:
        text = f"/* {place} */\n#include <stdio.h>\nint {name}(void) {{ return puts(__FILE__); }}\n"
        (place / f"{name}.c").write_text(text)
    objects = " ".join(f"$(OUT)/{name}.o" for name in names)
    rule = "$(OUT)/%.o: %.c\n\t@mkdir -p $(@D)\n\t@$(CC) -g -O1 -c -o $@ $<\n"
    (place / "Makefile").write_text(f"all: {objects}\n{rule}")
    subprocess.run(["make", "-s", "CC=gcc", "OUT=plain"], cwd=place, check=True)
    return place


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Of one file, which no other test compiles."""
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
    (tmp_path / "late" / "a.h").write_text(f"/* {tmp_path} */\n#define A 1\n")
    text = '#include <stdio.h>\n#include "a.h"\nint say(void) { printf("%d", A); return A; }\n'
    (tmp_path / "x.c").write_text(text)
    return tmp_path


def build(farm: TieredFarm, project: Path, disturb: Callable[[], object] = lambda: None) -> None:
    """Build all of it, disturbed when the first object is there; each is the plain build's, and none was
    compiled here."""
    out = project / "farm"
    shutil.rmtree(out, ignore_errors=True)
    environment = {**farm.local.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}
    environment["ZCC_FALLBACK"] = "never"
    command = ["make", "-s", "-j2", "CC=zcc gcc", "OUT=farm"]
    with subprocess.Popen(command, cwd=project, env=environment) as make:
        while make.poll() is None and not list(out.glob("*.o")):
            time.sleep(0.01)
        disturb()
        assert make.wait(PATIENCE_S) == 0
    for plain in (project / "plain").iterdir():
        assert (out / plain.name).read_bytes() == plain.read_bytes(), plain.name


def comes_back(farm: TieredFarm, source: Path) -> None:
    """Compile until the tier has the result in time, which it may not have on a busy machine."""
    deadline = time.monotonic() + PATIENCE_S
    while (outcome := compile_(farm, source)) != {"shared_hit": 1}:
        assert outcome == {"remote": 1}
        assert time.monotonic() < deadline, "the tier is always late"
        farm.forget_near()
    assert farm.count("lookups_total", 'outcome="hit"') >= 1


def test_what_the_broker_s_disk_has_lost_comes_back(farm: TieredFarm, source: Path) -> None:
    before = farm.count("results_total", 'outcome="written"')
    assert compile_(farm, source) == {"remote": 1}
    farm.wait_until_in_tier(before + 1)
    farm.forget_near()
    comes_back(farm, source)
    # From its own disk now, whatever the tier says.
    hits = farm.count("lookups_total")
    lose_own(farm)
    assert compile_(farm, source) == {"shared_hit": 1}
    assert farm.count("lookups_total") == hits


def test_it_outlives_the_broker_and_its_disk(
    farm: TieredFarm, server: RedisServer, source: Path
) -> None:
    others = set(server.client().scan_iter("zcc1/*/r/*"))
    before = farm.count("results_total", 'outcome="written"')
    assert compile_(farm, source) == {"remote": 1}
    farm.wait_until_in_tier(before + 1)
    assert farm.local.broker is not None
    farm.local.broker.send_signal(signal.SIGTERM)
    farm.local.broker.wait()
    for name in ("results.sqlite", "results.sqlite-wal", "results.sqlite-shm"):
        (farm.state / name).unlink(missing_ok=True)
    shutil.rmtree(farm.state / "blobs")
    farm.local.restart_broker()
    lose_own(farm)
    # Its inputs have to be sent once more, and the node to come back: then it is found, in time or not.
    assert compile_(farm, source) in ({"shared_hit": 1}, {"remote": 1})
    assert not farm.count("bad_values_total")
    secret, tombstones = tier_secret(str(farm.state)), Tombstones(str(farm.state))
    tombstones.look()
    sealing = Sealing(secret, DEFAULT_FARM, tombstones.stamp, tombstones.is_void)
    (name,) = set(server.client().scan_iter("zcc1/*/r/*")) - others
    remote = RemoteStore(MemoryEngine(), sealing, 1 << 20)
    value = server.client().get(name)
    assert isinstance(value, bytes)
    assert remote._unsealed(Digest(bytes.fromhex(name[-64:].decode())), value) is not None


def purge(farm: TieredFarm, *which: str) -> None:
    command = [str(BIN / "zcc-broker"), "cache", "purge", *which, "--state", str(farm.state)]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("which", ["--node=node1", "--all"])
def test_what_was_purged_does_not_come_back(farm: TieredFarm, source: Path, which: str) -> None:
    before = farm.count("results_total", 'outcome="written"')
    assert compile_(farm, source) == {"remote": 1}
    farm.wait_until_in_tier(before + 1)
    farm.forget_near()
    # Nothing near is by that node any more: it is what tiers hold that is meant.
    purge(farm, which)
    assert compile_(farm, source) == {"remote": 1}
    assert farm.count("bad_values_total", 'reason="stale"') >= 1


def forge_all(server: RedisServer, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the values of all records, or of all blobs."""
    client = server.client()
    for kind in ("r", "b"):
        names = sorted(client.scan_iter(f"zcc1/*/{kind}/*"))
        found: list[Any] = client.mget(names)
        values: list[bytes] = list(found)
        client.mset(dict(zip(names, change(values), strict=True)))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda values: values[1:] + values[:1], "forged"),
        (lambda values: [value[:-1] for value in values], "damaged"),
        (lambda values: [value[:-1] + bytes((value[-1] ^ 1,)) for value in values], "forged"),
        (lambda values: [compress(b"another object")] * len(values), "damaged"),
    ],
    ids=["swapped", "cut", "edited", "replaced"],
)
def test_a_tier_that_lies_makes_no_wrong_object(
    farm: TieredFarm,
    server: RedisServer,
    project: Path,
    change: Callable[[list[bytes]], list[bytes]],
    what: str,
) -> None:
    bad = farm.count("bad_values_total", f'reason="{what}"')
    deadline = time.monotonic() + PATIENCE_S
    # Each object is right, whether the tier's lie came in time or not, which it may not on a busy machine.
    while farm.count("bad_values_total", f'reason="{what}"') == bad:
        assert time.monotonic() < deadline, "the tier is always late"
        before = farm.count("results_total", 'outcome="written"')
        purge(farm, "--all")
        lose_own(farm)
        build(farm, project)
        farm.wait_until_in_tier(before + FILES)
        farm.forget_near()
        forge_all(server, change)
        build(farm, project)


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_tier_that_goes_away_in_a_build_costs_misses(
    server: RedisServer, project: Path, how: str
) -> None:
    with tiered_farm(server.settings_for(server.directory)) as farm:
        build(farm, project)
        farm.wait_until_in_tier(FILES)
        farm.forget_near()
        try:
            build(farm, project, server.kill if how == "kill" else server.freeze)
            farm.forget_near()
            build(farm, project)
            assert farm.count("errors_total") > 0
        finally:
            if how == "kill":
                server.start()
            else:
                server.thaw()
        # It is asked again when it is back.
        deadline = time.monotonic() + PATIENCE_S
        while farm.count("resting", 'kind="read"') and time.monotonic() < deadline:
            farm.forget_near()
            build(farm, project)
        assert not farm.count("resting", 'kind="read"')


def test_a_tier_that_is_full_is_read_and_costs_nothing(
    farm: TieredFarm, server: RedisServer, source: Path, project: Path
) -> None:
    before = farm.count("results_total", 'outcome="written"')
    assert compile_(farm, source) == {"remote": 1}
    farm.wait_until_in_tier(before + 1)
    server.client().config_set("maxmemory", 1)
    try:
        lost = farm.count("results_total", 'outcome="lost"')
        purge(farm, "--all")
        lose_own(farm)
        build(farm, project)
        farm.wait_for("results_total", lost + 1, 'outcome="lost"')
        assert "it is full" in farm.log
        assert not farm.count("resting", 'kind="read"')
    finally:
        server.client().config_set("maxmemory", 0)


def test_a_bucket_is_a_tier_too_and_may_be_gone(tmp_path: Path, source: Path) -> None:
    server = S3Server(tmp_path)
    with running(server):
        secret = tmp_path / "s3.secret"
        secret.write_text('access_key_id = "key"\nsecret_access_key = "secret"\n')
        secret.chmod(0o600)
        settings = tmp_path / "tiers.toml"
        settings.write_text(
            f'[[tier]]\nurl = "{server.url}"\ntimeout = "5s"\ncredentials = "s3.secret"\n'
            f'options = {{endpoint = "http://127.0.0.1:{server.port}", region = "us-east-1"}}\n'
        )
        with tiered_farm(settings) as farm:
            assert compile_(farm, source) == {"remote": 1}
            farm.wait_until_in_tier(1)
            farm.forget_near()
            comes_back(farm, source)
            assert not farm.count("bad_values_total")
            server.kill()
            farm.forget_near()
            assert compile_(farm, source) == {"remote": 1}
            assert farm.count("errors_total") > 0


def test_check_tiers_says_which_works(server: RedisServer, tmp_path: Path) -> None:
    command = [str(BIN / "zcc-broker"), "check-tiers", "--state", str(tmp_path)]
    server.settings_for(tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = " ".join(done.stdout.split())
    assert re.match(r"near: unix://\S+: works: [\d.]+ ms to write, [\d.]+ ms to read$", told)
    server.settings_for(tmp_path, "read_only = true")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "read-only, answers in" in " ".join(done.stdout.split())
    (tmp_path / "redis.secret").write_text('password = "wrong"\n')
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "see the credentials file" in " ".join(done.stdout.split())
