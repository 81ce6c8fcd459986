"""ccache with the farm as its remote storage, of two ages: from an empty local cache all comes from there."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm
from zcc import farm as membership

SYSTEMS = "/usr/bin/ccache"  # Debian 12's: 4.7
PYPIS = str(BIN / "ccache")  # 4.14 or newer
LAYOUTS = ("subdirs", "flat", "bazel")
FILES = {
    "one.c": '#include "all.h"\nint one(void) { return ALL + 1; }\n',
    "two.c": '#include "all.h"\n#include <stdio.h>\nvoid two(void) { int u; puts("two"); }\n',
    "three.cc": '#include "all.h"\n#include <string>\nstd::string three() { return "3"; }\n',
    "all.h": "#define ALL 40\n",
}
SOURCES = [name for name in FILES if not name.endswith(".h")]


@dataclass
class Storage:
    """A broker of its own that serves ccache, and a member of its farm."""

    directory: Path
    listen: str = "tcp://127.0.0.1:0"
    http: str = ""
    # ccache puts the helper's socket below it, and a socket's path has at most 107 bytes.
    runtime: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="zcc-run-"))
    broker: subprocess.Popen[bytes] | None = None
    tokens: dict[str, str] = field(default_factory=dict)

    def start(self, *options: str, descriptors: int = 0) -> None:
        if not self.http:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.http = f"127.0.0.1:{probe.getsockname()[1]}"
        readable, writable = os.pipe()
        command = [str(BIN / "zcc-broker"), "serve", "--listen", self.listen, *self._state]
        command += ["--ccache-listen", self.http, "--ready-fd", str(writable), *options]
        if descriptors:
            command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        with (self.directory / "broker.log").open("ab") as log:
            self.broker = subprocess.Popen(command, pass_fds=(writable,), stdout=log, stderr=log)
        os.close(writable)
        with os.fdopen(readable) as ready:
            assert select.select([ready], [], [], 30)[0], "the broker did not start"
            self.listen = ready.readline().strip()

    def stop(self) -> None:
        if self.broker is not None:
            self.broker.send_signal(signal.SIGTERM)
            assert self.broker.wait(15) == 0
            self.broker = None

    def command(self, *words: str) -> str:
        command = [str(BIN / "zcc-broker"), *words, *self._state]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def join(self) -> None:
        token = self.command("token", "--role", "client")
        membership.join(token, str(self.directory / "member"), "test", ("client",))

    def token(self, access: str) -> str:
        if access not in self.tokens:
            made = self.command("storage-token", "--label", access, "--access", access)
            self.tokens[access] = made
        return self.tokens[access]

    def url(self, way: str, access: str = "write") -> str:
        """`zcc`, or HTTP in one of its layouts."""
        if way == "zcc":
            return "zcc://"
        token = "zccs.wrong" if access == "wrong" else self.token(access)
        return f"http://{self.http}/team|layout={way}|bearer-token={token}"

    def values(self) -> int:
        return len(list((self.directory / "broker" / "ccache").glob("??/*")))

    @property
    def _state(self) -> tuple[str, str]:
        return ("--state", str(self.directory / "broker"))


@dataclass
class Desk:
    """One user's machine: builds in one place, each with the local ccache that it names."""

    storage: Storage
    project: Path

    def environment(self, ccache: str, local: str, url: str) -> dict[str, str]:
        place = self.storage.directory
        return {
            **{name: text for name, text in os.environ.items() if "CCACHE" not in name},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "CCACHE_DIR": str(place / f"local-{Path(ccache).parent.parent.name}-{local}"),
            "CCACHE_CONFIGPATH": str(place / "none"),
            "CCACHE_REMOTE_STORAGE": url,
            "XDG_RUNTIME_DIR": self.storage.runtime,
            "ZCC_CONFIG_DIR": str(place / "member"),
            "ZCC_STATE_DIR": str(place / "member"),
            "ZCC_SOCKET": str(place / "member" / "agent.sock"),
        }

    def build(
        self, ccache: str, local: str, url: str, **variables: str
    ) -> tuple[dict[str, bytes], dict[str, int]]:
        """What was compiled and said, and what ccache counted."""
        environment = {**self.environment(ccache, local, url), **variables}
        results: dict[str, bytes] = {}
        for name in SOURCES:
            compiler = "g++" if name.endswith(".cc") else "gcc"
            (self.project / f"{name}.o").unlink(missing_ok=True)
            command = [ccache, compiler, "-g", "-Wall", "-c", name, "-o", f"{name}.o"]
            done = subprocess.run(
                command,
                cwd=self.project,
                env=environment,
                capture_output=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            results[name] = (self.project / f"{name}.o").read_bytes() + done.stderr
        listed = subprocess.run(
            [ccache, "--print-stats"], env=environment, check=True, capture_output=True, text=True
        ).stdout
        return results, {name: int(n) for name, n in map(str.split, listed.splitlines())}

    def plain(self) -> dict[str, bytes]:
        results, counted = self.build(SYSTEMS, "plain", "")
        assert counted["cache_miss"] == len(SOURCES)
        return results

    def stop_helpers(self) -> None:
        environment = self.environment(PYPIS, "stop", "zcc://")
        subprocess.run([PYPIS, "--stop-storage-helpers"], env=environment, check=True, timeout=30)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    for path in (SYSTEMS, PYPIS):
        needs(path)
    project = tmp_path / "project"
    project.mkdir()
    for name, text in FILES.items():
        (project / name).write_text(text)
        os.utime(project / name, (1_700_000_000, 1_700_000_000))
    storage = Storage(tmp_path)
    desk = Desk(storage, project)
    try:
        storage.start()
        storage.join()
        yield desk
    finally:
        desk.stop_helpers()
        storage.stop()
        shutil.rmtree(storage.runtime)


def assert_all_hit(counted: dict[str, int]) -> None:
    assert counted["remote_storage_hit"] == counted["direct_cache_hit"] == len(SOURCES), counted
    assert counted["cache_miss"] == 0


def assert_none_hit(counted: dict[str, int]) -> None:
    assert counted["remote_storage_hit"] == 0, counted
    assert counted["cache_miss"] == len(SOURCES)


@pytest.mark.parametrize(
    ("ccache", "way"),
    [(SYSTEMS, "subdirs"), (SYSTEMS, "bazel"), (PYPIS, "flat"), (PYPIS, "zcc")],
    ids=["system-subdirs", "system-bazel", "pypi-flat", "pypi-zcc"],
)
def test_an_empty_local_cache_is_filled_from_the_farm(desk: Desk, ccache: str, way: str) -> None:
    plain = desk.plain()
    url = desk.storage.url(way)
    results, counted = desk.build(ccache, "first", url)
    assert results == plain
    assert_none_hit(counted)
    assert counted["remote_storage_write"] == 2 * len(SOURCES)  # results and manifests
    results, counted = desk.build(ccache, "second", url)
    assert results == plain
    assert_all_hit(counted)
    assert counted["remote_storage_error"] == counted["remote_storage_timeout"] == 0


def test_every_way_leads_to_the_same_values(desk: Desk) -> None:
    desk.build(PYPIS, "first", desk.storage.url("zcc"))
    for way in LAYOUTS:
        assert_all_hit(desk.build(PYPIS, way, desk.storage.url(way, "read"))[1])
    desk.build(SYSTEMS, "first", desk.storage.url("bazel"))
    for way in LAYOUTS:
        assert_all_hit(desk.build(SYSTEMS, way, desk.storage.url(way, "read"))[1])


@pytest.mark.parametrize("ccache", [SYSTEMS, PYPIS], ids=["system", "pypi"])
def test_a_readers_token_reads_and_stores_nothing(desk: Desk, ccache: str) -> None:
    reading = desk.storage.url("subdirs", "read")
    results, counted = desk.build(ccache, "first", reading)
    assert_none_hit(counted)
    assert counted["remote_storage_error"] == 0  # a refusal would have made it give the storage up
    assert desk.storage.values() == 0
    desk.build(ccache, "second", desk.storage.url("subdirs"))
    again, counted = desk.build(ccache, "third", reading)
    assert again == results
    assert_all_hit(counted)


def test_what_one_writer_has_stored_can_be_taken_back(desk: Desk) -> None:
    desk.build(PYPIS, "first", desk.storage.url("zcc"))
    members = desk.storage.values()
    rows = json.loads(desk.storage.command("keys", "--json"))
    (member,) = (row["id"] for row in rows if row["role"] == "client")
    desk.build(SYSTEMS, "second", desk.storage.url("subdirs"))  # its keys are others
    both = desk.storage.values()
    assert both > members > 0
    (token,) = json.loads(desk.storage.command("storage-tokens", "--json"))
    removed = desk.storage.command("storage-purge", token["hash"][:12])
    assert removed == f"removed {both - members} of ccache's values"
    assert desk.storage.values() == members
    assert desk.storage.command("storage-purge", member) == f"removed {members} of ccache's values"
    assert_none_hit(desk.build(PYPIS, "third", desk.storage.url("zcc"))[1])


@pytest.mark.parametrize("ccache", [SYSTEMS, PYPIS], ids=["system", "pypi"])
def test_a_wrong_or_revoked_token_is_a_miss_and_no_failure(desk: Desk, ccache: str) -> None:
    plain = desk.plain()
    good = desk.storage.url("subdirs")
    desk.build(ccache, "first", good)
    results, counted = desk.build(ccache, "second", desk.storage.url("subdirs", "wrong"))
    assert results == plain
    assert_none_hit(counted)
    desk.storage.command("storage-revoke", "write")
    results, counted = desk.build(ccache, "third", good)
    assert results == plain
    assert_none_hit(counted)


@pytest.mark.parametrize(
    ("ccache", "way"),
    [(SYSTEMS, "subdirs"), (PYPIS, "subdirs"), (PYPIS, "zcc")],
    ids=["system-http", "pypi-http", "pypi-zcc"],
)
def test_a_broker_that_is_gone_fails_no_build_and_serves_when_it_is_back(
    desk: Desk, ccache: str, way: str
) -> None:
    plain = desk.plain()
    url = desk.storage.url(way)
    desk.build(ccache, "first", url)
    desk.storage.stop()
    results, counted = desk.build(ccache, "second", url)
    assert results == plain
    assert_none_hit(counted)
    desk.storage.start()
    desk.stop_helpers()  # a new one asks at once; the old one says Hello within a second
    results, counted = desk.build(ccache, "third", url)
    assert results == plain
    assert_all_hit(counted)


def test_who_has_joined_no_farm_builds_all_the_same(desk: Desk, tmp_path: Path) -> None:
    plain = desk.plain()
    results, counted = desk.build(PYPIS, "first", "zcc://", ZCC_CONFIG_DIR=str(tmp_path / "nobody"))
    assert results == plain
    assert_none_hit(counted)


def test_members_are_kept_from_writing_where_the_broker_says_so(desk: Desk) -> None:
    desk.storage.stop()
    desk.storage.start("--ccache-members", "read")
    _, counted = desk.build(PYPIS, "first", "zcc://")
    assert_none_hit(counted)
    assert counted["remote_storage_error"] == 0
    assert desk.storage.values() == 0
    desk.build(PYPIS, "second", desk.storage.url("flat"))
    assert_all_hit(desk.build(PYPIS, "third", "zcc://")[1])


def test_a_flood_of_connections_costs_the_farm_nothing(desk: Desk) -> None:
    """Strangers take every descriptor that the broker has, and hold them."""
    plain = desk.plain()
    desk.storage.stop()
    desk.storage.start(descriptors=100)
    host, _, port = desk.storage.http.rpartition(":")
    flood = [socket.create_connection((host, int(port))) for _ in range(400)]
    try:
        for number, (ccache, way) in enumerate([(SYSTEMS, "flat"), (PYPIS, "zcc")]):
            results, _ = desk.build(ccache, f"first-{number}", desk.storage.url(way))
            assert results == plain
            assert_all_hit(desk.build(ccache, f"second-{number}", desk.storage.url(way))[1])
    finally:
        for each in flood:
            each.close()


# ---- with the farm behind it ---------------------------------------------------------------------


def outcomes(farm: Farm) -> dict[str, int]:
    counted = farm.stats()["outcomes"]
    return {name: counted[name] for name in ("remote", "shared_hit", "local_hit")}


@pytest.mark.parametrize(
    ("ccache", "way"), [(SYSTEMS, "subdirs"), (PYPIS, "zcc")], ids=["system-http", "pypi-zcc"]
)
def test_ccache_in_front_of_the_farm_shares_and_stores_once(
    farm: Farm, desk: Desk, ccache: str, way: str
) -> None:
    """What ccache misses is compiled by the farm; what it stored is served remotely, and kept by it alone."""
    plain = desk.plain()
    url = desk.storage.url(way)
    own = {name: farm.local.environment[name] for name in ("ZCC_STATE_DIR", "ZCC_SOCKET")}
    prefix = {**own, "CCACHE_PREFIX": "zcc", "ZCC_FALLBACK": "never", "ZCC_CACHE": ""}
    before = outcomes(farm)
    results, counted = desk.build(ccache, "first", url, **prefix)
    assert results == plain
    assert_none_hit(counted)
    filled = outcomes(farm)
    assert filled["remote"] + filled["shared_hit"] - before["remote"] - before["shared_hit"] == 3
    results, counted = desk.build(ccache, "second", url, **prefix)
    assert results == plain
    assert_all_hit(counted)
    assert outcomes(farm) == filled  # zcc was not even asked
    # With no storage at all the farm's shared results answer, and the agent has kept none.
    results, counted = desk.build(ccache, "third", "", **prefix)
    assert results == plain
    assert counted["cache_miss"] == len(SOURCES)
    last = outcomes(farm)
    assert last["local_hit"] == before["local_hit"]
    assert last["remote"] + last["shared_hit"] - filled["remote"] - filled["shared_hit"] == 3
