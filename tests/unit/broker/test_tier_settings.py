"""What tiers.toml may say of tiers, and what is said to who has it say something else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from broker.errors import StartError
from broker.tiers.opening import SECRET_FILE, tier_secret
from broker.tiers.settings import TierSettings, open_engine, read_tiers
from zcc.errors import ConfigError

REDIS = 'url = "redis://h:6379/0"'


def read(state: Path, *lines: str) -> list[TierSettings]:
    (state / "tiers.toml").write_text("\n".join(("[[tier]]", *lines)))
    return read_tiers(str(state))


def test_without_a_file_there_are_no_tiers(tmp_path: Path) -> None:
    assert read_tiers(str(tmp_path)) == []
    (tmp_path / "tiers.toml").write_text("")
    assert read_tiers(str(tmp_path)) == []
    with pytest.raises(ConfigError, match="there is no file"):
        read_tiers(str(tmp_path), str(tmp_path / "mistyped.toml"))


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    (redis,) = read(tmp_path, REDIS)
    assert redis == TierSettings("redis://h:6379/0", "redis")
    (bucket,) = read(tmp_path, 'url = "s3://b/p"')
    assert (bucket.name, bucket.max_value_bytes) == ("s3", 64 << 20)


def test_all_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('username = "zcc"\npassword = "hush"\n')
    (tmp_path / "secret").chmod(0o600)
    lines = (REDIS, 'name = "near"', "read_only = true", 'max_age = "30d"', 'max_value = "1M"')
    (tier,) = read(tmp_path, *lines, 'timeout = "2s"', 'credentials = "secret"')
    expected = TierSettings(
        "redis://h:6379/0", "near", True, 30 * 86_400, 1 << 20, 2, {}, tier.secrets
    )
    assert tier == expected
    assert tier.secrets == {"username": "zcc", "password": "hush"}
    assert "hush" not in repr(tier)
    (bucket,) = read(tmp_path, 'url = "s3://b"', 'options = {region = "eu", skip_signature = true}')
    assert bucket.options == {"region": "eu", "skip_signature": "true"}


def test_credentials_may_be_the_service_manager_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "secret").write_text('password = "hush"')
    (tmp_path / "given" / "secret").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "given"))
    (tier,) = read(tmp_path, REDIS, 'credentials = "secret"')
    assert tier.secrets == {"password": "hush"}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((), "`url` is redis"),
        (('url = "memcached://h"',), "`url` is redis"),
        (('url = "redis://:hush@h/0"',), "take the user and the password out of the URL"),
        ((REDIS, "max_ages = 3"), "'max_ages' is none of url"),
        ((REDIS, "url2 = 3"), "is none of"),
        ((REDIS, 'name = "a b"'), "`name` is up to"),
        ((REDIS, 'read_only = "yes"'), "`read_only` is true or false"),
        ((REDIS, "max_age = 3"), "write `max_age` in quotes"),
        ((REDIS, 'max_age = "3 weeks"'), "is not a duration"),
        ((REDIS, 'timeout = "1h"'), "`timeout` is from 1s"),
        ((REDIS, 'max_value = "much"'), "is not a size"),
        ((REDIS, 'credentials = "none"'), "there is no file none"),
        ((REDIS, 'options = {region = "eu"}'), "`options` are for buckets"),
        (('url = "s3://b"', 'max_age = "30d"'), "lifecycle rule"),
        ((REDIS, "[[tier]]", REDIS), "two tiers are called redis"),
        ((REDIS, "[[tier]]") * 5, "6 tiers, where 4 are the most"),
        ((REDIS, "[serve]"), "'serve' is no setting here"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        read(tmp_path, *lines)
    assert "hush" not in str(raised.value)


def test_credentials_that_others_can_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('password = "hush"')
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read(tmp_path, REDIS, 'credentials = "secret"')


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("redis://h", "redis", "redis"),
        ("s3://b", "obstore", "s3"),
        ("https://h/p", "obstore", "s3"),
    ],
)
def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("cache.remote.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StartError, match=rf"pip install 'zcc-farm\[{extra}\]'"):
        open_engine(TierSettings(url, "near"))


def test_an_option_that_a_bucket_does_not_know_is_said() -> None:
    with pytest.raises(StartError, match="the tier near: an option or credential"):
        open_engine(TierSettings("s3://b", "near", options={"colour": "red"}))


def test_the_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    secret = tier_secret(str(tmp_path))
    assert len(secret) == 32
    assert tier_secret(str(tmp_path)) == secret
    path = tmp_path / SECRET_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    for damage in ("xyz", secret.hex()[2:]):
        path.write_text(damage)
        with pytest.raises(ConfigError, match="remove it"):
            tier_secret(str(tmp_path))
