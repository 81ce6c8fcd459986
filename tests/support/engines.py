"""Real engines for tests of tiers: a redis-server and a server that speaks S3, each in a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.conftest import needs

START_S = 60.0
PASSWORD = "a secret of the tests"


@dataclass
class RedisServer:
    """One on a Unix socket in this directory, started with these settings. It can be killed and frozen."""

    directory: Path
    settings: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/redis.sock?db=0"

    def start(self) -> None:
        program = needs("redis-server")
        words = [program, "--port", "0", "--unixsocket", f"{self.directory}/redis.sock"]
        words += ["--save", "", "--requirepass", PASSWORD, "--dir", str(self.directory)]
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([*words, *self.settings], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.client().ping()
                return
            except redis.RedisError:
                assert self.process.poll() is None, (self.directory / "redis.log").read_text()
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.05)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, password=PASSWORD)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def settings_for(self, directory: Path, *lines: str) -> Path:
        """A tiers.toml in this directory that names it as the tier `near`."""
        secret = directory / "redis.secret"
        secret.write_text(f'password = "{PASSWORD}"\n')
        secret.chmod(0o600)
        text = f'[[tier]]\nname = "near"\nurl = "{self.url}"\ncredentials = "redis.secret"\n'
        path = directory / "tiers.toml"
        path.write_text("\n".join((text, *lines)) + "\n")
        return path


@dataclass
class S3Server:
    """moto's, with one bucket, `results`."""

    directory: Path
    port: int = 0
    options: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    url: str = "s3://results/farm"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with (self.directory / "s3.log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        self.options = {
            "endpoint": f"http://127.0.0.1:{self.port}",
            "region": "us-east-1",
            "access_key_id": "key",
            "secret_access_key": "secret",
        }
        deadline = time.monotonic() + START_S
        while not _listens(self.port):
            assert self.process.poll() is None, (self.directory / "s3.log").read_text()
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.1)
        made = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/results", method="PUT", headers={"Host": "127.0.0.1"}
        )
        urllib.request.urlopen(made, timeout=START_S).close()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return not trying.connect_ex(("127.0.0.1", port))


@contextmanager
def running(server: RedisServer | S3Server) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.stop()
