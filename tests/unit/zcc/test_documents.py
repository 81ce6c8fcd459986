"""What zcc keeps in small files, with anything in it: a sentence names the file, and no traceback comes."""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.audit import AuditLog
from broker.errors import BrokerError, StartError
from broker.state import broker_keys, last_serving, read_document, record_serving
from cache.database import open_database
from node.errors import NodeError
from node.naming import settled_name
from zcc import config
from zcc.cli.agent import sibling
from zcc.documents import read_json, read_text, read_toml
from zcc.errors import ZccError, told
from zcc.farm import Access, load_access, save_access
from zcc.keys import load_key_pair, new_key_pair, save_private

JUNK = (
    bytes(range(256)),
    random.Random(5).randbytes(9_000),
    b"",
    b"\0" * 100,
    b"[" * 100_000,
    b"a=" + b"[" * 100_000,
    "\ud800".encode("utf-8", "surrogatepass"),
)


def _as(directory: Path, name: str) -> str:
    """The directory, once its damaged file has the name that a reader looks for."""
    os.replace(directory / "damaged", directory / name)
    return str(directory)


def _farm(directory: Path, name: str) -> None:
    keys = new_key_pair()
    save_access(str(directory), Access("tcp://a:1", keys.public, "farm", "client", keys))
    load_access(_as(directory, name))


READERS: dict[str, Callable[[Path], object]] = {
    "text": lambda at: read_text(str(at / "damaged")),
    "toml": lambda at: read_toml(str(at / "damaged")),
    "json": lambda at: read_json(str(at / "damaged")),
    "key": lambda at: load_key_pair(str(at / "damaged")),
    "farm.toml": lambda at: _farm(at, "farm.toml"),
    "farm.key": lambda at: _farm(at, "farm.key"),
    "config": lambda at: config.load({"ZCC_CONFIG_DIR": _as(at, "config.toml")}),
    "broker.key": lambda at: broker_keys(_as(at, "broker.key")),
    "serving": lambda at: last_serving(_as(at, "serving.json")),
    "document": lambda at: read_document(str(at / "damaged")),
    "name": lambda at: settled_name(_as(at, "name"), ""),
}


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("reader", READERS)
def test_junk_is_told_in_words(tmp_path: Path, reader: str, junk: bytes) -> None:
    (tmp_path / "damaged").write_bytes(junk)
    (tmp_path / "damaged").chmod(0o600)
    try:
        READERS[reader](tmp_path)
    except (ZccError, BrokerError, NodeError) as error:
        said = str(error)
        assert str(tmp_path) in said


@pytest.mark.parametrize("name", ["config.toml", "farm.toml", "farm.key"])
def test_doctor_says_which_file_is_damaged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(JUNK[0])
    environment = os.environ | {"ZCC_CONFIG_DIR": str(tmp_path), "ZCC_STATE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sibling("zcc"), "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    if name != "farm.key":  # without farm.toml nobody looks at it
        assert (done.returncode, str(tmp_path / name) in done.stdout) == (1, True)


def test_a_directory_in_a_files_place_is_named_as_that_file(tmp_path: Path) -> None:
    for name in ("serving.json", "audit.log"):
        (tmp_path / name / "something").mkdir(parents=True)
    with pytest.raises(StartError, match=r"serving.json: Is a directory; make way for it"):
        record_serving(str(tmp_path), "tcp://a:1", "farm")
    with pytest.raises(StartError, match=r"audit.log: Is a directory; make way for it"):
        AuditLog(str(tmp_path))
    with pytest.raises(OSError, match="directory") as failed:
        save_private(str(tmp_path / "serving.json"), "")
    assert told(failed.value) == f"{tmp_path / 'serving.json'}: Is a directory"


def _serve(tmp_path: Path, *options: str) -> str:
    command = [sys.executable, "-m", "broker.main", "serve", "--state", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode
    assert "Traceback" not in done.stderr
    assert "the farm listens" not in done.stderr
    return done.stderr


def test_a_broker_that_cannot_serve_lets_nobody_in_before(tmp_path: Path) -> None:
    own = ("--listen", "tcp://127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in _serve(tmp_path, *own, "--ccache-listen", f"127.0.0.1:{port}")
    assert "'foo' is not an address" in _serve(tmp_path, *own, "--ccache-listen", "foo")
    assert "--ready-fd 77: no such descriptor" in _serve(tmp_path, *own, "--ready-fd", "77")
    assert "'tcp://127.0.0.1:99999'" in _serve(tmp_path, "--listen", "tcp://127.0.0.1:99999")


def test_what_a_broker_makes_is_its_users_alone_in_any_directory(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o755)
    with (tmp_path / "log").open("w+") as log:
        command = [sibling("zcc-broker"), "serve", "--state", str(state)]
        command += ["--listen", "tcp://127.0.0.1:0", "--ccache-listen", "127.0.0.1:0"]
        broker = subprocess.Popen(command, stderr=log, umask=0o022)
        deadline_s = time.monotonic() + 30
        while "the farm listens" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        made = list(state.rglob("*"))
        modes = {str(each.relative_to(state)): each.stat().st_mode & 0o077 for each in made}
        broker.terminate()
        broker.wait(30)
    assert len(modes) > 10
    assert {name: mode for name, mode in modes.items() if mode} == {}


def test_a_database_is_its_owners_alone_wherever_it_lies(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path, before = str(tmp_path / "results.sqlite"), os.umask(0o022)
    try:
        sqlite3.connect(path).close()
        os.chmod(path, 0o644)  # of an older zcc
        for name in (path, str(tmp_path / "new.sqlite")):
            database = open_database(
                name, "CREATE TABLE t (a) STRICT;".replace(" STRICT", ""), 1, 1.0
            )
            database.execute("INSERT INTO t VALUES ('a secret')")
            database.commit()
            modes = {each.name: each.stat().st_mode & 0o077 for each in tmp_path.iterdir()}
            database.close()
            assert len(modes) >= 3
            assert set(modes.values()) == {0}
    finally:
        os.umask(before)
