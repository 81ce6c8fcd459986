"""The table of live connections: whose a route is, and what is under way."""

from __future__ import annotations

from broker.transport.connections import Connections, bytes_on_the_wire

LOCAL = ("127.0.0.1", 1)


def table() -> Connections[tuple[str, int]]:
    made = Connections[tuple[str, int]]()
    made.accepted(7, LOCAL, 0.0)
    return made


def test_a_route_is_the_connections_that_spoke_on_it_until_that_ends() -> None:
    connections = table()
    assert connections.on_route(b"r") is None
    spoke = connections.heard(7, b"r", "user")
    assert spoke is not None
    assert connections.on_route(b"r") is spoke
    connections.disconnected(7)
    assert connections.on_route(b"r") is None
    assert not spoke.is_live
    assert not len(connections)


def test_a_route_that_another_key_takes_is_no_longer_the_first_ones() -> None:
    connections = table()
    connections.heard(7, b"r", "user")
    connections.accepted(8, LOCAL, 1.0)
    taken = connections.heard(8, b"r", "another")
    connections.disconnected(7)  # word of it comes late
    assert connections.on_route(b"r") is taken
    assert taken is not None
    assert taken.user == "another"


def test_what_an_ended_connection_has_said_gives_its_route_to_nobody() -> None:
    connections = table()
    connections.heard(7, b"r", "user")
    connections.accepted(7, LOCAL, 1.0)  # the descriptor is used again
    assert connections.heard(7, b"r", "user") is None
    assert connections.on_route(b"r") is None
    assert connections.heard(7, b"next", "another") is connections.on_route(b"next")


def test_a_last_message_that_is_taken_for_the_next_connections_first_does_no_harm() -> None:
    connections = table()  # ended before anything of it was read, and its descriptor is used again
    connections.accepted(7, LOCAL, 1.0)
    assert connections.heard(7, b"r", "user") is not None
    mine = connections.heard(7, b"next", "another")
    assert mine is connections.on_route(b"next")
    assert connections.on_route(b"r") is None
    assert connections.heard(7, b"r", "user") is None
    assert connections.on_route(b"next") is mine


def test_a_message_by_an_unknown_descriptor_is_nobodys() -> None:
    assert table().heard(9, b"r", "user") is None


def test_what_libzmq_says_of_itself_is_not_taken_for_what_was_sent() -> None:
    connections = table()
    connection = connections.heard(7, b"r", "user")
    assert connection is not None
    connection.note_acked(300)  # a handshake
    connection.handed_bytes += 1000
    assert connection.unsent_bytes == 1000
    connection.note_acked(800)
    assert connection.unsent_bytes == 500
    connection.note_acked(2000)  # heartbeats
    assert connection.unsent_bytes == 0


def test_bytes_on_the_wire_count_what_curve_and_zmtp_add() -> None:
    assert bytes_on_the_wire([b""]) == 35
    assert bytes_on_the_wire([bytes(222), bytes(223)]) == 222 + 35 + 223 + 42
