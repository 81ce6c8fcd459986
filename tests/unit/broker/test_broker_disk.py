"""A broker's own files on a disk that is full, torn in a line, or damaged: words, and nobody is revived."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from broker.audit import AuditLog
from broker.errors import StateError
from broker.membership.lines import add_lines, open_lines
from broker.membership.registry import FILE_NAME, Registry
from broker.membership.requests import LEFT, UNWRITTEN, Membership
from broker.membership.revocations import FILE_NAME as REVOKED
from broker.membership.revocations import Revocations
from broker.state import TOOLCHAINS_FILE, add_toolchain, known_toolchains
from broker.storage.tokens import StorageAccess, StorageTokens
from tests.support.broker_world import blob
from zcc.keys import new_key_pair
from zcc.messages import Bye, Enrol, Leave, PeerRole, Refused

NOW = 1_000_000.0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that can be filled."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "zcc-small", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be made here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with suppress(OSError), open(filler, "wb", 0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def put_back(state: Path, backup: bytes) -> None:
    for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
        (state / name).unlink(missing_ok=True)
    (state / FILE_NAME).write_bytes(backup)


def test_a_line_after_a_torn_one_stands_alone(tmp_path: Path) -> None:
    state = str(tmp_path)
    (tmp_path / REVOKED).write_bytes(b"first 1.0\nsec")
    (tmp_path / TOOLCHAINS_FILE).write_bytes(blob("torn").hex().encode()[:9])
    (tmp_path / "audit.log").write_bytes(b'{"at": 1, "ev')
    assert Revocations(state).add({"third": 3.0})
    add_toolchain(state, blob("whole"), "k")
    with closing(AuditLog(state)) as log:
        log.write("start", ())
    assert Revocations(state).read() == {"first": 1.0, "third": 3.0}
    assert known_toolchains(state) == [(blob("whole"), "k")]
    assert (tmp_path / "audit.log").read_bytes().splitlines()[1].endswith(b'"event": "start"}')


def test_lines_that_the_disk_does_not_take_whole_are_not_there(small: Path) -> None:
    handle = open_lines(str(small / "lines"))
    add_lines(handle, b"first\n")
    filler = fill(small)
    with pytest.raises(OSError, match="No space"):
        add_lines(handle, b"x" * 8_000 + b"\n")
    filler.unlink()
    add_lines(handle, b"last\n")
    os.close(handle)
    assert (small / "lines").read_bytes() == b"first\nlast\n"


def test_what_one_opening_adds_the_others_read(tmp_path: Path) -> None:
    one, two = (Revocations(str(tmp_path)) for _ in range(2))
    for number in range(20):
        (one, two)[number % 2].add({f"k{number}": float(number)})
        (two, one)[number % 3 % 2].add_uses({"t": 20 - number}, NOW)
    assert one.read() == two.read() == {f"k{number}": float(number) for number in range(20)}
    assert one.uses_left() == two.uses_left() == {"t": 1}


def test_a_key_is_revoked_on_a_full_disk_and_stays_so_after_a_restore(small: Path) -> None:
    keys = [new_key_pair().public for _ in range(200)]
    with closing(Registry(str(small))) as registry, closing(Registry(str(small))) as broker:
        for number, key in enumerate(keys):
            registry.add(key, PeerRole.CLIENT, f"m{number}", NOW)
        registry._table.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        backup = (small / FILE_NAME).read_bytes()
        broker.reserve()
        filler = fill(small)
        broker.has_changed()
        for number in range(150):
            registry.revoke(f"m{number}", NOW)
        assert broker.has_changed()
        assert [broker.role_of(key, NOW) for key in keys[:150]] == [None] * 150
        filler.unlink()
        registry.revoke("m150", NOW)
    put_back(small, backup)
    with closing(Registry(str(small))) as registry:
        valid = [key for key in keys if registry.role_of(key, NOW)]
    assert valid == keys[151:]


def test_a_full_disk_is_told_in_words_and_nothing_has_changed(small: Path) -> None:
    token = new_key_pair().public
    with closing(Registry(str(small))) as registry, closing(StorageTokens(str(small))) as tokens:
        registry.add_joiner(token, PeerRole.CLIENT, NOW, time.time() + 60, 1)
        registry.reserve()
        registry._table.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        filler = fill(small)
        with pytest.raises(StateError, match="the disk is full: make room"):
            registry.add_joiner(new_key_pair().public, PeerRole.CLIENT, NOW, NOW + 60, 1)
        with pytest.raises(StateError, match="nothing has changed"):
            tokens.add("ci" * 90, StorageAccess.READ, NOW, None)
        registry.note_seen([(token, NOW, "127.0.0.1")])
        with closing(AuditLog(str(small))) as audit:
            membership = Membership("farm", registry, audit)
            own = new_key_pair().public
            assert membership.answer(token, Enrol(own, "me")) == (Refused(0, UNWRITTEN), "")
            assert [row.uses_left for row in registry.rows()] == [1]
            filler.unlink()
            registry.enrol(token, own, "me", time.time())
            fill(small)
            assert membership.answer(own, Leave()) == (Bye(LEFT), own)
            assert registry.role_of(own, NOW) is None


def test_a_damaged_registry_is_told_in_words(tmp_path: Path) -> None:
    made, rng = tmp_path / "made", random.Random(7)
    with closing(Registry(str(made))) as registry:
        for number in range(60):
            registry.add(new_key_pair().public, PeerRole.CLIENT, f"m{number}", NOW)
    whole, said = (made / FILE_NAME).read_bytes(), list[str]()
    for number in range(150):
        state = tmp_path / str(number)
        state.mkdir()
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 20, 2_000))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (state / FILE_NAME).write_bytes(damaged)
        try:
            with closing(Registry(str(state))) as registry:
                registry.add(new_key_pair().public, PeerRole.CLIENT, "new", NOW)
                registry.revoke(registry.rows()[-1].public_key, NOW)
        except StateError as error:
            said.append(str(error))
        shutil.rmtree(state)
    assert len(said) > 20
    assert [each for each in said if "put back a backup" not in each] == []
