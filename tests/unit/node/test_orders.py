"""What a running node is told by files in its state directory."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node import main
from node.core.lending import LendingMode
from node.errors import NodeError
from node.orders import (
    LOCK_FILE,
    MODE_FILE,
    Orders,
    ask_to_drain,
    is_serving,
    keep_mode,
    kept_mode,
    parse_mode,
)


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path)


def test_a_node_that_was_told_nothing_is_dedicated(state: str) -> None:
    assert kept_mode(state) is LendingMode.DEDICATED
    assert Orders(state).changed_mode() is None


def test_a_mode_is_taken_once_and_kept_for_the_next_node(state: str) -> None:
    orders = Orders(state)
    keep_mode(state, LendingMode.IDLE)
    assert orders.changed_mode() is LendingMode.IDLE
    assert orders.changed_mode() is None
    keep_mode(state, LendingMode.OFF)
    assert orders.changed_mode() is LendingMode.OFF
    assert kept_mode(state) is LendingMode.OFF


def test_what_is_no_mode_is_told_and_changes_nothing(
    state: str, caplog: pytest.LogCaptureFixture
) -> None:
    orders = Orders(state)
    Path(state, MODE_FILE).write_text("sometimes\n")
    assert orders.changed_mode() is None
    assert orders.changed_mode() is None
    (said,) = [record.getMessage() for record in caplog.records]
    assert "'sometimes': expected dedicated, proportional, idle or off" in said
    with pytest.raises(NodeError, match="expected dedicated"):
        kept_mode(state)


def test_the_files_of_roots_commands_belong_to_the_directorys_owner(state: str) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(state, 12345, 12345)
    keep_mode(state, LendingMode.OFF)
    found = os.stat(os.path.join(state, MODE_FILE))
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12345, 0o600)


def test_a_link_in_the_place_of_the_mode_leads_nowhere(state: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("off\n")
    (tmp_path / MODE_FILE).symlink_to(secret)
    with pytest.raises(NodeError, match="cannot read this node's mode"):
        kept_mode(state)
    keep_mode(state, LendingMode.IDLE)
    assert secret.read_text() == "off\n"
    assert kept_mode(state) is LendingMode.IDLE


def test_only_one_node_serves_with_a_state(state: str) -> None:
    assert not is_serving(state)
    first = Orders(state)
    assert is_serving(state)
    with pytest.raises(NodeError, match="another node serves"):
        Orders(state)
    first.close()
    assert not is_serving(state)
    Orders(state).close()


def test_a_drain_is_taken_once_and_not_left_to_the_next_node(state: str) -> None:
    first = Orders(state)
    ask_to_drain(state, waits=False)
    assert first.take_drain()
    assert not first.take_drain()
    ask_to_drain(state, waits=False)
    first.close()
    assert not Orders(state).take_drain()


def test_nobody_can_be_drained_where_nobody_serves(state: str) -> None:
    with pytest.raises(NodeError, match="no node serves"):
        ask_to_drain(state, waits=False)
    Orders(state).close()
    with pytest.raises(NodeError, match="no node serves"):
        ask_to_drain(state, waits=True)


def test_a_drain_that_waits_returns_when_the_node_has_left(state: str) -> None:
    orders = Orders(state)
    waiting = threading.Thread(target=ask_to_drain, args=(state,), kwargs={"waits": True})
    waiting.start()
    while not orders.take_drain():
        pass
    waiting.join(0.2)
    assert waiting.is_alive()
    orders.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_bad_words_and_places_are_told_with_what_would_do(state: str) -> None:
    with pytest.raises(
        NodeError, match=r"--mode 'on': expected dedicated, proportional, idle or off"
    ):
        parse_mode("on", "--mode")
    with pytest.raises(NodeError, match=r"no node's state in .*/none: say --state DIR"):
        keep_mode(state + "/none", LendingMode.OFF)
    handle = os.open(os.path.join(state, LOCK_FILE), os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert is_serving(state)
    os.close(handle)


def test_the_commands_say_what_they_have_done(state: str) -> None:
    def said(*words: str) -> str:
        return CliRunner().invoke(main.app, [*words, "--state", state]).output.strip()

    assert said("mode") == "dedicated"
    assert said("mode", "idle") == "the mode is idle; no node serves now"
    assert said("mode") == "idle"
    orders = Orders(state)
    assert said("mode", "off") == "the mode is off"
    assert said("drain") == "the node takes no more jobs, and leaves"
    assert orders.take_drain()
    orders.close()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("mode", "sometimes"), "expected dedicated"),
        (("drain",), "no node serves"),
        (("serve", "--nice", "20"), "less than or equal to 19"),
        (("serve", "--nice", "-1"), "greater than or equal to 0"),
    ],
)
def test_bad_input_is_an_error(state: str, words: tuple[str, ...], complaint: str) -> None:
    done = CliRunner().invoke(main.app, [*words, "--state", state])
    assert done.exit_code
    assert complaint in done.output + str(done.exception)
