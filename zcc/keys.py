"""CURVE key pairs on disk and join tokens.

A join token carries the *secret* key of a one-time joiner: the broker admits that key for enrolment
only, so a stranger's key is never admitted for anything. Format: `zcc1.` and the base64url of a msgpack array
`[endpoint, broker public key, joiner secret key, farm, role, expiry (Unix seconds), CRC-32]`. The last is
that of the others as an array; tokens of earlier brokers lack it. The endpoint may be a service's name in DNS.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import msgpack
import zmq

from zcc.documents import read_text
from zcc.errors import BadEndpointError, ConfigError, TokenError
from zcc.reaching import check_address

TOKEN_PREFIX = "zcc1."
_KEY_LENGTH = 40  # Z85 of 32 bytes
_MAX_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, both halves in Z85."""

    public: str
    secret: str


@dataclass(frozen=True, slots=True)
class Token:
    """What `zcc-broker token` prints and `zcc join` takes. A secret until it is used or expires."""

    endpoint: str
    broker_public: str
    secret: str
    farm: str
    role: str
    expires_at: float

    def encode(self) -> str:
        fields = astuple(self)
        packed = msgpack.packb((*fields, zlib.crc32(msgpack.packb(fields))))
        return TOKEN_PREFIX + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    @staticmethod
    def decode(text: str) -> Token:
        """Raises TokenError when this is not a token."""
        text = text.strip()
        if not text.startswith(TOKEN_PREFIX) or len(text) > _MAX_TOKEN:
            raise TokenError("this is not a join token: it begins with 'zcc1.'; paste it whole")
        raw = text[len(TOKEN_PREFIX) :]
        try:
            packed = base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))
            endpoint, public, secret, farm, role, expires_at, *check = msgpack.unpackb(packed)
            fields = (endpoint, public, secret, farm, role, expires_at)
            if check and check != [zlib.crc32(msgpack.packb(fields))]:
                raise ValueError("checksum")
        except (ValueError, TypeError, binascii.Error, msgpack.UnpackException) as error:
            raise TokenError("this join token is damaged: paste it whole, on one line") from error
        texts = (endpoint, public, secret, farm, role)
        if not all(isinstance(field, str) for field in texts) or len(public) != _KEY_LENGTH:
            raise TokenError("this join token is damaged: ask for a new one")
        try:
            check_address(endpoint)
        except BadEndpointError as error:
            raise TokenError(
                f"this join token leads nowhere: {error}; ask for a new one"
            ) from error
        return Token(endpoint, public, secret, farm, role, float(expires_at))


def new_key_pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def public_of(secret: str) -> str:
    """The public half that belongs to a secret key."""
    try:
        return zmq.curve_public(secret.encode()).decode()
    except (zmq.ZMQError, ValueError) as error:
        raise TokenError("this is not a CURVE secret key") from error


def save_private(path: str, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    with _written(path, text) as temporary:
        os.rename(temporary, path)


@contextlib.contextmanager
def _written(path: str, text: str) -> Iterator[str]:
    """The text in a file beside `path`, which is gone afterwards."""
    directory, name = os.path.split(os.path.abspath(path))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f"{name}.", dir=directory)  # 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def save_key_pair(path: str, pair: KeyPair) -> None:
    save_private(path, f"{pair.public}\n{pair.secret}\n")


def make_key_pair(path: str) -> None:
    """A new key pair in this file, unless there is one; of several that try at once one succeeds."""
    pair = new_key_pair()
    text = f"{pair.public}\n{pair.secret}\n"
    with _written(path, text) as temporary, contextlib.suppress(FileExistsError):
        os.link(temporary, path)


def load_key_pair(path: str) -> KeyPair:
    """The key pair in a file that `save_key_pair` wrote.

    Raises:
        ConfigError: missing, unreadable, damaged, or readable by others.
    """
    try:
        lines = read_text(path, is_secret=True).split("\n")
    except FileNotFoundError as error:
        raise ConfigError(f"cannot read the key in {path}: {error.strerror}") from error
    if len(lines) < 2 or len(lines[0]) != _KEY_LENGTH or len(lines[1]) != _KEY_LENGTH:
        raise ConfigError(f"{path} does not hold a key pair: remove it and join again")
    return KeyPair(lines[0], lines[1])
