"""A broker that cannot be reached: each way has a sentence of its own that says what to do."""

from __future__ import annotations

import errno
import socket

import pytest

from zcc.cli.doctor import _no_broker
from zcc.errors import BadEndpointError
from zcc.reaching import check_listening, why_unreachable


def test_where_something_listens_there_is_nothing_to_say() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert why_unreachable(f"tcp://127.0.0.1:{port}") == ""
        assert why_unreachable(f"tcp://localhost:{port}") == ""


def test_a_closed_port_an_unknown_name_and_no_endpoint_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert f"nothing listens on port {port} of 127.0.0.1" in why_unreachable(
        f"tcp://127.0.0.1:{port}"
    )
    assert "the name no-such.invalid is not known" in why_unreachable("tcp://no-such.invalid:1")
    assert "no endpoint" in why_unreachable("broker.example:1")
    assert "no endpoint" in why_unreachable("tcp://broker.example")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "does not answer on port 1"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "there is no way to 127.0.0.1"),
    ],
)
def test_silence_and_no_way_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    assert said in why_unreachable("tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("status", "what", "advice"),
    [
        ({"broker": "tcp://no-such.invalid:1"}, "the name no-such.invalid is not known", "VPN"),
        ({"broker": "tcp://127.0.0.1:1"}, "nothing listens on port 1", "zcc-broker serve"),
        ({"broker": "tcp://127.0.0.1:1", "refusal": "farm"}, "farm", "revoked"),
    ],
)
def test_the_doctor_says_which_way_is_closed(
    status: dict[str, object], what: str, advice: str
) -> None:
    found = _no_broker(status, "no answer")
    assert what in found.what
    assert advice in found.advice


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://127.0.0.1:0", "tcp://0.0.0.0:8317", "tcp://*:8317", "tcp://[::]:65535", "tcp://eth0:*"],
)
def test_what_can_be_listened_on_passes(endpoint: str) -> None:
    check_listening(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:99999",
        "tcp://127.0.0.1",
        "127.0.0.1:8317",
        "tcp://::1:8317",
        "ipc:///x",
        "",
    ],
)
def test_what_cannot_be_listened_on_is_said_before_libzmq_makes_something_of_it(
    endpoint: str,
) -> None:
    with pytest.raises(BadEndpointError, match="nothing to listen on: expected tcp://HOST:PORT"):
        check_listening(endpoint)
