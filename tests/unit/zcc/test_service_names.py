"""A farm whose address is a service of DNS: how it is written, and in which order its targets are tried."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from zcc.config import expected_of
from zcc.discovery import srv
from zcc.discovery.srv import SrvTarget, ordered, targets_of
from zcc.errors import BadEndpointError, TokenError, UnreachableError
from zcc.farm import Access, first_endpoint, load_access, remember_endpoint, save_access
from zcc.keys import Token, new_key_pair
from zcc.reaching import check_address, dialled, is_service, split_interface, why_unreachable

SERVICE = "_zcc._tcp.example.org"


@pytest.mark.parametrize("address", [SERVICE, f"{SERVICE}.", "_zcc._tcp.a-b.c", "tcp://a:1"])
def test_addresses_that_may_be(address: str) -> None:
    check_address(address)
    assert expected_of("broker", address) == ""
    token = Token(address, "b" * 40, new_key_pair().secret, "ours", "client", 0.0)
    assert Token.decode(token.encode()).endpoint == address


@pytest.mark.parametrize(
    "address",
    ["_zcc._tcp", "_zcc._tcp.", "_zcc._udp.example.org", "_zcc._tcp.a..b", "_zcc._tcp.-a", "x",
     "_zcc._tcp.a b", f"_zcc._tcp.{'a.' * 130}b"],
)  # fmt: skip
def test_addresses_that_may_not_be(address: str) -> None:
    assert not is_service(address)
    with pytest.raises(BadEndpointError, match=r"_zcc\._tcp\.DOMAIN"):
        check_address(address)
    assert expected_of("broker", address) == "tcp://HOST:PORT or _zcc._tcp.DOMAIN"
    with pytest.raises(TokenError, match="leads nowhere"):
        Token.decode(Token(address, "b" * 40, "s" * 40, "ours", "client", 0.0).encode())


def test_priority_goes_first_and_weight_is_a_share() -> None:
    chance = random.Random(3).random
    first, often, seldom = (
        SrvTarget(1, 0, "first", 1),
        SrvTarget(2, 3, "often", 1),
        SrvTarget(2, 1, "seldom", 1),
    )
    never = SrvTarget(2, 0, "never", 1)
    orders = [ordered([never, seldom, often, first], chance) for _ in range(2000)]
    assert {each[0] for each in orders} == {first}
    assert {each[-1] for each in orders} == {never}
    counts = Counter(each[1].host for each in orders)
    assert 0.7 < counts["often"] / 2000 < 0.8


def test_a_service_without_records_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(service: str) -> list[str]:
        raise UnreachableError(f"DNS has no SRV record of {service}")

    monkeypatch.setattr(srv, "targets_of", unknown)
    assert why_unreachable(SERVICE) == f"DNS has no SRV record of {SERVICE}"


def test_hosts_that_have_no_address_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    class Target:
        priority = weight = port = 1

        class target:
            @staticmethod
            def to_text(omit_final_dot: bool) -> str:
                return "gone.example.org" if omit_final_dot else ""

    monkeypatch.setattr(dns.resolver.Resolver, "resolve", lambda *_, **__: [Target()])
    monkeypatch.setattr(srv, "_addresses", lambda _: [])
    with pytest.raises(UnreachableError, match=r"no address for what .* names: gone\.example\.org"):
        targets_of(SERVICE)
    monkeypatch.setattr(srv, "_addresses", lambda _: ["10.0.0.1", "fd00::1"])
    assert dialled(SERVICE) == ["tcp://10.0.0.1:1", "tcp://[fd00::1]:1"]
    assert dialled("tcp://a:1") == ["tcp://a:1"]


def test_what_was_found_is_dialled_first_and_forgotten_at_home(tmp_path: Path) -> None:
    keys = new_key_pair()
    save_access(str(tmp_path), Access("tcp://a:1", keys.public, "farm", "client", keys))
    access = load_access(str(tmp_path))
    assert access is not None
    remember_endpoint(access, "tcp://10.0.0.2:1")
    found = load_access(str(tmp_path))
    assert found is not None
    assert (found.endpoint, found.where) == ("tcp://a:1", "tcp://10.0.0.2:1")
    assert first_endpoint(found) == "tcp://10.0.0.2:1"
    # Whoever has said where the broker is, or will not follow, is not led elsewhere.
    for kept in (
        load_access(str(tmp_path), "tcp://b:1"),
        load_access(str(tmp_path), follows=False),
    ):
        assert kept is not None
        assert kept.where == kept.endpoint
    # Another farm's is not this one's.
    other = new_key_pair()
    save_access(str(tmp_path), Access("tcp://c:1", other.public, "farm", "client", keys))
    moved = load_access(str(tmp_path))
    assert moved is not None
    assert moved.where == "tcp://c:1"
    (tmp_path / "found.toml").write_bytes(b"\0\xff")
    assert load_access(str(tmp_path)) is not None
    remember_endpoint(access, "tcp://a:1")
    assert not (tmp_path / "found.toml").exists()


def test_a_service_is_asked_each_time_and_not_remembered(tmp_path: Path) -> None:
    keys = new_key_pair()
    save_access(str(tmp_path), Access(SERVICE, keys.public, "farm", "client", keys))
    access = load_access(str(tmp_path))
    assert access is not None
    assert first_endpoint(access) == ""
    remember_endpoint(access, "tcp://10.0.0.2:1")
    assert not (tmp_path / "found.toml").exists()


@pytest.mark.parametrize(
    ("listen", "found"),
    [
        ("wg0:8317", ("wg0", 8317)), ("tailscale0", ("tailscale0", None)), ("eth0.5:1", ("eth0.5", 1)),
        ("10.0.0.1:8317", None), ("::1", None), ("tcp://wg0:1", None), ("wg0:0", None),
        ("wg0:70000", None), ("wg0:", None), ("an-interface-too-long:1", None), ("", None),
    ],
)  # fmt: skip
def test_interfaces_to_listen_on(listen: str, found: tuple[str, int | None] | None) -> None:
    assert split_interface(listen) == found


@pytest.mark.outside
@pytest.mark.parametrize(
    "module", ["zcc.agent.main", "node.main", "broker.main", "zcc.storage.helper", "zcc.cli.farm"]
)
def test_no_program_pays_for_what_only_finds_a_farm(module: str) -> None:
    """They take a fifth of a second to import."""
    code = (
        f"import sys, {module}; "
        "print([name for name in ('zeroconf', 'dns', 'ifaddr') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
