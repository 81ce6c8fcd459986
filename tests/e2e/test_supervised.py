"""The real broker and the real node, as a service manager starts them: what it hears, and what it may say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.network_farm import wait_until
from tests.support.notified import PATIENCE_S, Heard
from zcc import farm
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent
PERIOD_US = "600000"


@dataclass
class Supervised:
    """A process with a manager of ours. Its stderr is `log`, which it takes for the journal."""

    process: subprocess.Popen[bytes]
    heard: Heard
    log: Path

    def stop(self) -> list[dict[str, str]]:
        self.process.send_signal(signal.SIGTERM)
        said = self.heard.until("STOPPING")
        assert self.process.wait(PATIENCE_S) == 0
        return said

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zcc-supervised-") as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


@contextmanager
def supervised(place: Path, *command: str, **more: str) -> Iterator[Supervised]:
    log = place / "log"
    with Heard(str(place / "notify")) as heard, log.open("wb") as stderr:
        found = os.fstat(stderr.fileno())
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            env={
                **os.environ,
                "NOTIFY_SOCKET": heard.address,
                "WATCHDOG_USEC": PERIOD_US,
                "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}",
                "ZCC_SYSTEM_CONFIG_DIR": str(place / "etc"),
                "ZCC_CONFIG_DIR": str(place / "nobody"),
                **more,
            },
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,  # no terminal, whose end SIGHUP would tell of
        )
        try:
            yield Supervised(process, heard, log)
        finally:
            process.kill()
            process.wait()


def broker(place: Path) -> tuple[str, ...]:
    (place / "etc").mkdir(exist_ok=True)
    state = str(place / "broker")
    return "zcc-broker", "serve", "--state", state, "--listen", "tcp://127.0.0.1:0"


def settings(place: Path, name: str, text: str) -> None:
    (place / "etc" / name).write_text(text)


def test_the_broker_tells_its_manager_how_it_is(place: Path) -> None:
    with supervised(place, *broker(place)) as it:
        ready = it.heard.until("READY")[-1]
        assert re.fullmatch(
            r"the farm at tcp://127\.0\.0\.1:\d+: 0 nodes, 0 others; 0 jobs run, 0 wait",
            ready["STATUS"],
        )
        it.heard.until("WATCHDOG")
        it.heard.until("WATCHDOG")
        stopping = it.stop()[-1]
        assert stopping["STATUS"] == "says good-bye to the members"


def test_what_hangs_says_where_and_ends(place: Path) -> None:
    with supervised(place, *broker(place)) as it:
        it.heard.until("WATCHDOG")
        it.process.send_signal(signal.SIGABRT)
        assert it.process.wait(PATIENCE_S) == -signal.SIGABRT
        text = it.log.read_text()
        assert "Fatal Python error: Aborted" in text
        assert "broker/main.py" in text


def test_a_broker_that_stands_still_sends_no_ping(place: Path) -> None:
    with supervised(place, *broker(place)) as it:
        it.heard.until("WATCHDOG")
        it.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{it.process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            os.sched_yield()
        it.heard.drain()
        assert it.heard.drain() == []
        it.process.send_signal(signal.SIGCONT)
        it.heard.until("WATCHDOG")
        it.stop()


def test_a_reload_takes_what_it_can_and_names_the_rest(place: Path) -> None:
    with supervised(place, *broker(place)) as it:
        it.heard.until("READY")
        settings(place, "broker.toml", 'quota = "1G"\nlog_level = "debug"\nfarm = "hill"\n')
        it.process.send_signal(signal.SIGHUP)
        said = it.heard.until("READY")
        assert [name for each in said for name in each if name in ("RELOADING", "READY")] == [
            "RELOADING",
            "READY",
        ]
        settings(place, "broker.toml", 'quotta = "1G"\n')
        it.process.send_signal(signal.SIGHUP)
        it.heard.until("READY")
        it.stop()
        lines = it.lines()
        assert "<6>zcc.cli.serving: quota is 1G from now on" in lines
        assert "<6>zcc.cli.serving: log_level is debug from now on" in lines
        assert "<4>zcc.cli.serving: farm is hill after a restart" in lines
        wrong = f"{place}/etc/broker.toml: unknown setting 'quotta'; is quota meant?"
        assert f"<3>zcc.cli.serving: the settings stay as they are: {wrong}" in lines


def test_lines_of_the_journal_begin_with_a_priority_and_no_time(place: Path) -> None:
    with supervised(place, *broker(place)) as it:
        it.heard.until("READY")
        it.stop()
        assert it.lines()
        assert all(re.match(r"<[2-7]>[a-z]", line) for line in it.lines())


def test_elsewhere_lines_begin_with_the_time(place: Path) -> None:
    with supervised(place, *broker(place), JOURNAL_STREAM="8:1") as it:
        it.heard.until("READY")
        it.stop()
        assert it.lines()
        assert all(re.match(r"20\d\d-\d\d-\d\d .* INFO ", line) for line in it.lines())


def test_a_wrong_setting_is_an_error_in_the_journal(place: Path) -> None:
    command = broker(place)
    settings(place, "broker.toml", 'cache_size = "much"\n')
    with supervised(place, *command) as it:
        assert it.process.wait(PATIENCE_S) == 1
        (line,) = it.lines()
        assert re.fullmatch(r"<3>zcc-broker: .*broker\.toml: cache_size = 'much': .*", line)


def test_an_option_goes_before_the_users_file_and_that_before_the_machines(place: Path) -> None:
    command = broker(place)
    (place / "own").mkdir()
    settings(place, "broker.toml", 'farm = "machine"\nlisten = "tcp://127.0.0.1:1"\n')
    (place / "own" / "broker.toml").write_text('farm = "mine"\n')
    with supervised(place, *command, ZCC_CONFIG_DIR=str(place / "own")) as it:
        ready = it.heard.until("READY")[-1]
        assert ready["STATUS"].startswith("the farm mine at tcp://127.0.0.1:")
        assert "127.0.0.1:1:" not in ready["STATUS"]
        it.stop()


@pytest.fixture(scope="module")
def around() -> Iterator[LocalFarm]:
    """A farm whose broker a supervised node can dial."""
    with tempfile.TemporaryDirectory(prefix="zcc-supervised-") as directory:
        local = LocalFarm(directory)
        try:
            local.start(nodes=0, slots=1)
            yield local
        finally:
            local.stop()


def node(place: Path, *more: str) -> tuple[str, ...]:
    (place / "etc").mkdir(exist_ok=True)
    state = str(place / "node")
    return ("zcc-node", "serve", "--state", state, "--user", "any", "--slots", "1", *more)


@pytest.mark.needs("bwrap")
def test_the_node_tells_its_manager_how_it_is(place: Path, around: LocalFarm) -> None:
    farm.join(around.token("node"), str(place / "node"), "n", ("node",))
    with supervised(place, *node(place)) as it:
        assert it.heard.until("READY")[-1]["STATUS"] == f"dials the farm at {around.endpoint}"
        said = it.heard.next()
        while "1 slots lent, 0 jobs" not in said.get("STATUS", ""):
            said = it.heard.next()
        it.heard.until("WATCHDOG")
        settings(place, "node.toml", 'grace = "5m"\nslots = 7\nidle_after = "9m"\n')
        it.process.send_signal(signal.SIGHUP)
        reloaded = it.heard.until("READY")
        assert any("RELOADING" in each for each in reloaded)
        stopping = next(each for each in it.stop() if "STOPPING" in each)
        # The grace that was read again, and what a node takes beyond it.
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) >= 300_000_000
        assert any(line.endswith("grace is 5m from now on") for line in it.lines())
        assert not [line for line in it.lines() if "slots is 7" in line]  # an option goes before


@pytest.mark.needs("bwrap")
def test_a_node_joins_with_the_token_that_its_manager_hands_over(
    place: Path, around: LocalFarm
) -> None:
    credentials = place / "credentials"
    credentials.mkdir()
    (credentials / "zcc-node.token").write_text(around.token("node") + "\n")
    with supervised(place, *node(place), CREDENTIALS_DIRECTORY=str(credentials)) as it:
        it.heard.until("READY")
        it.stop()
    shutil.rmtree(credentials)
    with supervised(place, *node(place)) as it:  # it has a key by now
        it.heard.until("READY")
        it.stop()


# Too long to compile for any test to wait until its end.
_SLOW = "int f{0}(int a, int b) {{ int s = 0; for (int i = 0; i < a; i++) s += b * i ^ {0}; return s; }}\n"


@pytest.mark.needs("bwrap", "cc")
def test_a_job_that_a_stop_cuts_off_is_no_error_of_the_nodes(
    place: Path, around: LocalFarm
) -> None:
    farm.join(around.token("node"), str(place / "node"), "n", ("node",))
    (place / "slow.c").write_text("".join(_SLOW.format(number) for number in range(30_000)))
    with supervised(place, *node(place)) as it:
        it.heard.until("READY")
        client = subprocess.Popen(
            [str(BIN / "zcc"), "cc", "-O3", "-c", "slow.c"], cwd=place, start_new_session=True,
            env={**around.environment, "ZCC_CACHE": "off"},
        )  # fmt: skip
        try:
            wait_until(lambda: running(it.process.pid), "the job to run")
            for _ in range(2):  # the second says: at once
                it.process.send_signal(signal.SIGTERM)
                it.heard.until("STOPPING")
            assert it.process.wait(PATIENCE_S) == 0
        finally:
            os.killpg(client.pid, signal.SIGKILL)
            client.wait()
        assert not [line for line in it.lines() if "Traceback" in line or line.startswith("<3>")]


def running(node: int) -> bool:
    """Whether a compiler runs below this process."""
    below, found = [node], []
    while below:
        pid = below.pop()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            below += map(int, task.read_text().split())
        found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return "cc1" in found
