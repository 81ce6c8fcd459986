"""The broker's state directory: what lies in the wrong place there keeps no broker from starting."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.state import put_aside
from tests.unit.broker.test_broker_wire import Broker, run
from zcc.messages import PeerRole


async def is_served(broker: Broker) -> None:
    await broker.dial(broker.member(PeerRole.CLIENT)).hello("client")


@pytest.mark.parametrize("place", ["audit", "audit/jobs"])
def test_a_file_in_the_place_of_a_directory_is_put_aside(tmp_path: Path, place: str) -> None:
    file = tmp_path / "broker" / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("somebody's")
    run(is_served, tmp_path)
    assert file.is_dir()
    assert file.with_name(f"{file.name}.damaged").read_text() == "somebody's"


@pytest.mark.parametrize("place", ["ccache/tmp", "blobs/tmp", "audit/jobs/tmp", "spool"])
def test_a_directory_among_files_is_passed_over(tmp_path: Path, place: str) -> None:
    (tmp_path / "broker" / place / "somebodys").mkdir(parents=True)
    run(is_served, tmp_path)


def test_a_link_is_not_put_aside_whose_disk_is_not_there_yet(tmp_path: Path) -> None:
    link = tmp_path / "audit"
    link.symlink_to(tmp_path / "disk")
    put_aside(str(link))
    assert link.is_symlink()
