"""Settings and variables: what cannot be obeyed is told in words, with what is allowed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zcc import config
from zcc.agent.analysis.projects import base_dir_of
from zcc.agent.results.verifying import share_of
from zcc.errors import BadEndpointError, ConfigError
from zcc.reaching import split_endpoint
from zcc.variables import KNOWN, priority_of, wrong_in, wrong_in_call

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
WRONG = {
    "ZCC_FALLBACK": "nevr",
    "ZCC_CACHE": "foo",
    "ZCC_VERIFY": "foo",
    "ZCC_DEADLINE_MS": "5s",
    "ZCC_PRIORITY": "high",
    "ZCC_BASE_DIR": "nonsense",
}
RIGHT = {
    "ZCC_FALLBACK": "always",
    "ZCC_CACHE": "read",
    "ZCC_VERIFY": "1%",
    "ZCC_DEADLINE_MS": "100",
    "ZCC_PRIORITY": "-5",
    "ZCC_BASE_DIR": "/p",
}


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_variable_that_cannot_be_obeyed_is_told_with_what_is_allowed(name: str) -> None:
    (told,) = wrong_in({name: WRONG[name]})
    assert told.startswith(f"{name}={WRONG[name]} is not obeyed: expected ")
    assert wrong_in_call({name.encode(): WRONG[name].encode()}) == [told]
    assert wrong_in({name: RIGHT[name]}) == wrong_in({name: ""}) == wrong_in({}) == []
    assert not wrong_in_call({name.encode(): RIGHT[name].encode()})


def test_a_misspelt_variable_is_told_and_other_people_s_are_not() -> None:
    (told,) = wrong_in({"ZCC_FALBACK": "never", "ZCC_PROPERTY_EXAMPLES": "7", "ZCC_GUARD": "1"})
    assert told == "ZCC_FALBACK is no variable of zcc's: is ZCC_FALLBACK meant?"


def test_each_documented_variable_is_known() -> None:
    documented = set(
        re.findall(
            r"ZCC_[A-Z_]+",
            " ".join(
                page.read_text()
                for page in [
                    *(ROOT / "docs" / "guide").glob("*.md"),
                    ROOT / "docs" / "reference" / "environment.md",
                ]
            ),
        )
    )
    assert documented <= KNOWN
    assert documented >= KNOWN


def test_what_cannot_be_obeyed_is_as_if_it_were_not_set() -> None:
    assert base_dir_of({b"ZCC_BASE_DIR": b"rel"}, b"/p") == b"/p"
    assert base_dir_of({b"ZCC_BASE_DIR": b""}, b"/p") == b""
    assert share_of({b"ZCC_VERIFY": b"foo"}, 0.25) == 0.25


def test_zcc_config_shows_what_is_in_force_and_what_is_wrong(tmp_path: Path) -> None:
    done = run(str(BIN / "zcc"), "config", "--json", ZCC_CONFIG_DIR=str(tmp_path), **WRONG)
    found = json.loads(done.stdout)
    assert (found["cache"], found["verify"], found["base_dir"]) == ("on", 0.0, "")
    assert len(found["wrong"]) == len(WRONG)
    said = run(str(BIN / "zcc"), "config", ZCC_CONFIG_DIR=str(tmp_path), ZCC_CACHE="foo").stdout
    assert (
        "wrong              ZCC_CACHE=foo is not obeyed: expected on, off, refresh or read" in said
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('base_dir = "rel"', "base_dir = 'rel': expected auto, or the absolute path"),
        ('broker = "tcp://x"', "broker = 'tcp://x': expected tcp://HOST:PORT"),
        ('broker = "tcp://x:99999"', "expected tcp://HOST:PORT"),
        ('cache = "foo"', "expected on, off, refresh or read"),
        ('log = "loud"', "expected debug, info, warning or error"),
        ('memory = "1M"', "expected a size from 16M on"),
        ('cache_size = "much"', "expected a size"),
        ("verify = 2", "expected a share"),
        ("verify = nan", "expected a share"),
        ('slots = "4"', "slots must be a whole number, found '4'"),
        ('verify = "1%"', "verify must be a number"),
        ("cc = 1", "cc must be a text in quotes"),
    ],
)
def test_a_setting_that_cannot_be_is_told_with_what_is_allowed(
    tmp_path: Path, line: str, told: str
) -> None:
    (tmp_path / "config.toml").write_text(line)
    with pytest.raises(ConfigError, match=re.escape(told)):
        config.load({"ZCC_CONFIG_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    "endpoint",
    ["foo", "tcp://x", "tcp://x:", "tcp://:1", "tcp://x:0", "tcp://x:99999", "tcp://x:1/", "x:1",
     "tcp://a b:1", "tcp://::1:8317", "ipc://x", "tcp://*:1", ""],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused_wherever_it_comes_in(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(BadEndpointError, match="expected tcp://HOST:PORT"):
        split_endpoint(endpoint)
    if endpoint:
        with pytest.raises(ConfigError, match=r"ZCC_BROKER=.*: expected tcp://HOST:PORT"):
            config.load({"ZCC_CONFIG_DIR": str(tmp_path), "ZCC_BROKER": endpoint})


def test_endpoints_are_names_and_addresses_with_a_port() -> None:
    assert split_endpoint("tcp://broker.example:8317") == ("broker.example", 8317)
    assert split_endpoint("tcp://10.0.0.1:1") == ("10.0.0.1", 1)
    assert split_endpoint("tcp://[fe80::1%eth0]:65535") == ("fe80::1%eth0", 65535)


def test_an_agent_that_cannot_start_says_why_to_whoever_asks(tmp_path: Path) -> None:
    own = {"ZCC_CONFIG_DIR": str(tmp_path), "ZCC_STATE_DIR": str(tmp_path), "ZCC_BROKER": "foo"}
    started = run(str(BIN / "zcc"), "agent", "start", **own)
    assert started.returncode == 1
    assert "ZCC_BROKER=foo: expected tcp://HOST:PORT" in started.stderr
    examined = run(str(BIN / "zcc"), "doctor", **own)
    assert examined.returncode == 1
    assert examined.stdout.startswith("FAIL  configuration: ZCC_BROKER=foo: expected tcp://HOST")


@pytest.mark.parametrize(
    ("value", "nice"),
    [
        ("0", 0),
        ("-20", -20),
        ("19", 19),
        ("20", None),
        ("-21", None),
        ("", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_a_priority_is_a_niceness(value: str, nice: int | None) -> None:
    assert priority_of(value) == nice
