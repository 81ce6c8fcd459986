"""What a broker says of itself, and what anybody may say: bounded, printable, or nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zcc.discovery.announcement import (
    MAX_ADDRESSES,
    MAX_NAME_BYTES,
    MAX_PROTOCOL_BYTES,
    Announcement,
    fingerprint_of,
    instance_of,
    read_announcement,
    texts_of,
)
from zcc.errors import BadEndpointError
from zcc.reaching import split_endpoint

PUBLIC = "k" * 40
OTHER = "o" * 40


def told(farm: str = "lab") -> dict[bytes, bytes | None]:
    return {n.encode(): v.encode() for n, v in texts_of(farm, PUBLIC, 8317).items()}


def test_what_is_written_is_read() -> None:
    found = read_announcement(told(), ["10.0.0.1", "fd00::1"], 8317)
    assert found == Announcement(
        "lab", "zcc/2", fingerprint_of(PUBLIC), ("tcp://10.0.0.1:8317", "tcp://[fd00::1]:8317")
    )
    assert told()[b"fp"] == found.short.encode()
    assert told()[b"port"] == b"8317"


def test_the_key_itself_is_not_told() -> None:
    assert PUBLIC.encode() not in b"".join(value or b"" for value in told().values())


def test_two_keys_and_two_places_have_different_names() -> None:
    names = {
        instance_of(key, [address], port)
        for key in (PUBLIC, OTHER)
        for address in ("10.0.0.1", "10.0.0.2")
        for port in (1, 2)
    }
    assert len(names) == 8
    assert instance_of(PUBLIC, ["a", "b"], 1) == instance_of(PUBLIC, ["b", "a"], 1)


def test_texts_fit_their_records_whatever_the_farm_is_called() -> None:
    for farm in ("x" * 1000, "\u00fc" * 1000, "\x1b[31m\n"):
        texts = texts_of(farm, PUBLIC, 65535)
        assert all(len(f"{name}={value}".encode()) <= 255 for name, value in texts.items())
    assert len(instance_of(PUBLIC, ["10.0.0.1"], 1)) <= 63


def test_addresses_that_nobody_reaches_are_left_out() -> None:
    useless = ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.251", "fe80::1", "no address"]
    assert read_announcement(told(), useless, 8317) is None
    found = read_announcement(told(), [*useless, "fe80::1%eth0", "10.0.0.1"], 8317)
    assert found is not None
    assert found.endpoints == ("tcp://[fe80::1%eth0]:8317", "tcp://10.0.0.1:8317")


@given(
    st.dictionaries(
        st.sampled_from([b"farm", b"proto", b"key", b"fp", b"port", b"more"]),
        st.none() | st.binary(max_size=255) | st.just(b"0" * 64) | st.text().map(str.encode),
    ),
    st.lists(st.ip_addresses().map(str) | st.text(max_size=30), max_size=40),
    st.none() | st.integers(-1, 70_000),
)
def test_whatever_is_announced_is_bounded_and_printable(
    texts: dict[bytes, bytes | None], addresses: list[str], port: int | None
) -> None:
    found = read_announcement(texts, addresses, port)
    if found is None:
        return
    assert 0 < len(found.farm.encode()) <= MAX_NAME_BYTES
    assert len(found.protocol.encode()) <= MAX_PROTOCOL_BYTES
    assert (found.farm + found.protocol).isprintable()
    assert len(found.fingerprint) == 64
    assert int(found.fingerprint, 16) >= 0
    assert 0 < len(found.endpoints) <= MAX_ADDRESSES
    for endpoint in found.endpoints:
        try:
            split_endpoint(endpoint)
        except BadEndpointError as error:
            raise AssertionError(endpoint) from error
