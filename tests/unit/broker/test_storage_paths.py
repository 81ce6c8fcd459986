"""ccache's keys in URL paths: each spelling is the same key, anything else is none."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.storage.paths import KEY_BYTES, key_of

# What ccache 4.7 and 4.14 asked for when they compiled one file with each layout.
KEY = bytes.fromhex("5652ec8584df4d793a5c5f070a158d22d612ea0a")
SPELLINGS = [
    "/pre/56/52ti2o9nqdf4t5ono718aoq8mm2bl0k",
    "/pre/5652ti2o9nqdf4t5ono718aoq8mm2bl0k",
    "/pre/ac/5652ec8584df4d793a5c5f070a158d22d612ea0a5652ec8584df4d793a5c5f07",
    "/56/52ec8584df4d793a5c5f070a158d22d612ea0a",
    "/a/long/er/prefix/5652ec8584df4d793a5c5f070a158d22d612ea0a?query",
]


@pytest.mark.parametrize("path", SPELLINGS)
def test_every_layout_names_one_key(path: str) -> None:
    assert key_of(path.encode()) == KEY


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_every_key_is_found_in_every_layout(key: bytes) -> None:
    digits = key.hex()
    mixed = digits[:4] + base64.b32hexencode(key[2:]).decode().rstrip("=").lower()
    for name in (digits, mixed, f"{digits[:2]}/{digits[2:]}", f"{mixed[:2]}/{mixed[2:]}"):
        assert key_of(f"/{name}".encode()) == key
    assert key_of(f"/ac/{digits}{digits[:24]}".encode()) == key


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/56",
        "/ac/" + "0" * 63,
        "/ac/5652ec8584df4d793a5c5f070a158d22d612ea0a0000ec8584df4d793a5c5f07",
        "/5652EC8584DF4D793A5C5F070A158D22D612EA0A",
        "/56/../52ec8584df4d793a5c5f070a158d22d612ea0a",
        "/5652ti2o9nqdf4t5ono718aoq8mm2bl0l",  # a bit that no key has
        "/%35652ec8584df4d793a5c5f070a158d22d612ea0a",
        "/cas/5652ec8584df4d793a5c5f070a158d22d612ea0a5652ec8584df4d793a5c5f07",
    ],
)
def test_what_is_no_key_is_none(path: str) -> None:
    assert key_of(path.encode()) is None


@given(st.binary() | st.text("0123456789abcdefv/.?%").map(str.encode))
def test_any_path_is_a_key_or_none(path: bytes) -> None:
    key = key_of(path)
    assert key is None or len(key) == KEY_BYTES
