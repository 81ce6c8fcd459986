"""The tiers of one `serve`: settings, secret and the list of what is void, made into what the loop asks."""

from __future__ import annotations

import os

from broker.errors import StartError
from broker.results.tombstones import Tombstones
from broker.tiers.service import TierService
from broker.tiers.settings import TierSettings, open_engine
from cache.remote.seal import SECRET_BYTES
from cache.stores import DiskStore
from zcc.documents import read_text
from zcc.errors import ConfigError
from zcc.keys import save_private

SECRET_FILE = "tier.key"


def open_tiers(
    state_dir: str, tiers: list[TierSettings], store: DiskStore, tombstones: Tombstones
) -> TierService | None:
    """The service of these tiers, behind this store; None where there are none. To be called in a running loop.

    Raises:
        StartError: a library is missing, or the state directory cannot be written.
        ConfigError: the secret is damaged.
    """
    if not tiers:
        return None
    engines = [(tier, open_engine(tier)) for tier in tiers]
    secret = tier_secret(state_dir)
    try:
        tombstones.begin_use()
    except OSError as error:
        raise StartError(
            f"cannot write down in {state_dir} what tiers may not give back: {error.strerror}"
        ) from error
    return TierService(engines, store.blobs, secret, store.space, tombstones)


def tier_secret(state_dir: str) -> bytes:
    """What this farm's results are sealed with; made by the first `serve` with tiers. Without it all that tiers
    hold is void, and with it whoever can write to a tier can make results.

    Raises:
        StartError: it cannot be written.
        ConfigError: it is damaged, or others can read it.
    """
    path = os.path.join(state_dir, SECRET_FILE)
    try:
        secret = bytes.fromhex(read_text(path, is_secret=True).strip())
    except FileNotFoundError:
        secret = os.urandom(SECRET_BYTES)
        try:
            save_private(path, secret.hex() + "\n")
        except OSError as error:
            raise StartError(f"cannot write {path}: {error.strerror}") from error
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigError(
            f"{path} holds no secret of {SECRET_BYTES} bytes: remove it, and what tiers hold is void"
        )
    return secret
