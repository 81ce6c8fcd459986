"""A member's access to one farm: where the broker is, its key, and our own; and how it is won.

Two files in the member's directory: `farm.toml` (the broker's address, its public key, the farm's name, our
role) and `farm.key` (our key pair, 0600); `joining.key` is that of a join without an answer so far, and
`found.toml` the endpoint at which a broker that had moved has welcomed us last.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import zmq

from zcc import codec
from zcc import config as configuration
from zcc.documents import read_toml
from zcc.errors import (
    BadEndpointError,
    ConfigError,
    KeyRefusedError,
    ProtocolError,
    TokenError,
    UnheardError,
    UnknownKindError,
    UnreachableError,
    ZccError,
)
from zcc.keys import (
    KeyPair,
    Token,
    load_key_pair,
    make_key_pair,
    public_of,
    save_key_pair,
    save_private,
)
from zcc.link import DealerLink
from zcc.messages import OTHER_ROLE, Bye, Enrol, Enrolled, Leave, Message, Refused, Rejoin, Unknown
from zcc.reaching import check_address, is_service, listening_at, split_endpoint, why_unreachable

# A farm is called so whose operator gave it no name.
DEFAULT_FARM = "farm"
JOIN_TIMEOUT_S = 10.0
_AGAIN_S = 0.02
# A handshake is over within two round trips.
_GREETING_S = 3.0
# The key pair of a join that has not been answered yet, beside farm.toml.
_JOINING = "joining.key"
FOUND_FILE = "found.toml"


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that is needed to dial a farm's broker.

    `endpoint` is its address as people have named it: tcp://HOST:PORT, or a service's name in DNS. `found` is
    where it has welcomed us since, if that is elsewhere; `kept_in` the directory that remembers it, if any.
    `follows`: a broker that cannot be reached is looked for in the networks at hand.
    """

    endpoint: str
    broker_public: str
    farm: str
    role: str
    keys: KeyPair
    found: str = field(default="", compare=False)
    kept_in: str = field(default="", compare=False)
    follows: bool = field(default=True, compare=False)

    @property
    def where(self) -> str:
        """The broker's address, for people: as it was found last."""
        return self.found or self.endpoint


def spoken(name: str) -> str:
    """The farm of this name in a sentence; one without a name of its own is just `the farm`."""
    return "the farm" if name == DEFAULT_FARM else f"the farm {name}"


def first_endpoint(access: Access) -> str:
    """What to dial at first; empty where DNS has to be asked for it."""
    return access.found or ("" if is_service(access.endpoint) else access.endpoint)


def load_access(directory: str, endpoint: str = "", *, follows: bool = True) -> Access | None:
    """The access kept in this directory, None when there is none yet.

    `endpoint` overrides the address that the token named, and what was found since.

    Raises:
        ConfigError: the files are damaged.
    """
    path = os.path.join(directory, "farm.toml")
    try:
        values = read_toml(path)
        access = Access(
            endpoint=str(values["endpoint"]),
            broker_public=str(values["broker_public"]),
            farm=str(values["farm"]),
            role=str(values["role"]),
            keys=load_key_pair(os.path.join(directory, "farm.key")),
        )
        check_address(access.endpoint)
    except FileNotFoundError:
        return None
    except (KeyError, BadEndpointError) as error:
        raise ConfigError(f"{path} is damaged ({error}): remove it and join again") from error
    except ConfigError as error:
        raise ConfigError(f"{error}; mend it, or remove it and join again") from error
    if endpoint:
        return replace(access, endpoint=endpoint, follows=follows)
    found = _found_endpoint(directory, access.broker_public) if follows else ""
    return replace(access, found=found, kept_in=directory, follows=follows)


def remember_endpoint(access: Access, endpoint: str) -> None:
    """Dial this first from now on, as the broker has welcomed us there; the address that people have named is
    kept beside it.

    Raises:
        ConfigError, OSError: it cannot be written.
    """
    if not access.kept_in or is_service(access.endpoint):
        return  # DNS is asked each time
    if endpoint == access.endpoint:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(access.kept_in, FOUND_FILE))
        return
    rows = (("broker_public", access.broker_public), ("endpoint", endpoint))
    _save_rows(os.path.join(access.kept_in, FOUND_FILE), rows)


def _found_endpoint(directory: str, broker_public: str) -> str:
    """What was remembered of this broker; what cannot be read is looked for again."""
    try:
        values = read_toml(os.path.join(directory, FOUND_FILE))
        endpoint = str(values["endpoint"])
        split_endpoint(endpoint)
        return endpoint if values["broker_public"] == broker_public else ""
    except (FileNotFoundError, KeyError, ConfigError):
        return ""


def publisher_access(environment: Mapping[str, str]) -> Access:
    """This user's access, which has to be a publisher's.

    Raises:
        ConfigError: it is none; the message says what to do.
    """
    config = configuration.load(environment)
    access = load_access(
        configuration.config_dir(environment), config.broker, follows=config.follow == "on"
    )
    if access is None or access.role != "publisher":
        found = (
            "this user has joined no farm" if access is None else f"this key is a {access.role}'s"
        )
        raise ConfigError(
            f"{found}: to publish, join with a token of zcc-broker token --role publisher"
        )
    return access


def save_access(directory: str, access: Access) -> None:
    save_key_pair(os.path.join(directory, "farm.key"), access.keys)
    rows = (
        ("endpoint", access.endpoint),
        ("broker_public", access.broker_public),
        ("farm", access.farm),
        ("role", access.role),
    )
    _save_rows(os.path.join(directory, "farm.toml"), rows)


def _save_rows(path: str, rows: Iterable[tuple[str, str]]) -> None:
    # A JSON string of printable characters is a TOML basic string.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in rows)
    save_private(path, text)


def join(
    token_text: str,
    directory: str,
    label: str,
    roles: tuple[str, ...],
    endpoints: Sequence[str] = (),
) -> Access:
    """Use a join token: register the public half of the key pair that is kept here, or of a new one.

    `endpoints` are dialled in place of the token's own, one after the other: one at which no broker with the
    token's key answers has cost a try.

    Raises:
        TokenError: not a token, expired, of another role, or refused by the broker.
    """
    token = Token.decode(token_text)
    if token.expires_at and token.expires_at < time.time():
        raise TokenError("this join token has expired: ask for a new one (zcc-broker token)")
    if token.role not in roles:
        raise TokenError(
            f"this join token is for a {token.role}: here one for a {roles[0]} is needed"
        )
    # The key is kept before it is registered: a disk that refuses costs no token, and who tries again after an
    # answer that got lost comes with the key that the broker knows by now. Who has one keeps it.
    kept = _own_key_file(directory)
    own = load_key_pair(kept)
    token, enrolled = _enrol_at(token, own, label, endpoints)
    access = Access(token.endpoint, token.broker_public, enrolled.farm, enrolled.role, own)
    save_access(directory, access)
    if os.path.basename(kept) == _JOINING:
        os.unlink(kept)
    return access


def leave(access: Access) -> None:
    """Have the broker revoke our key.

    Raises:
        ConfigError: the broker does not answer, or does not know the key any more.
    """
    asyncio.run(_leave(access))


def is_admitted(access: Access) -> bool | None:
    """Whether the broker admits our key now; None: it does not say."""
    return asyncio.run(_is_admitted(access))


async def _is_admitted(access: Access) -> bool | None:
    try:
        endpoint = await asyncio.to_thread(_reached, access)
    except UnreachableError:
        return None
    context = zmq.Context[zmq.Socket[bytes]]()
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def greeted(is_member: bool) -> None:
        if not answer.done():
            answer.set_result(is_member)

    link = DealerLink(context, endpoint, access.broker_public, access.keys, lambda _: None, greeted)
    try:
        async with asyncio.timeout(_GREETING_S):
            return await answer
    except TimeoutError:
        return None
    finally:
        link.close()
        context.term()


def forget_access(directory: str) -> None:
    """Remove what `join` has kept."""
    for name in ("farm.toml", "farm.key", _JOINING, FOUND_FILE):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))


def _own_key_file(directory: str) -> str:
    """The file with the key to join with, which is made if there is none.

    Raises:
        TokenError: it cannot be made.
    """
    own, joining = os.path.join(directory, "farm.key"), os.path.join(directory, _JOINING)
    if os.path.exists(own):
        return own
    try:
        make_key_pair(joining)
    except OSError as error:
        raise TokenError(
            f"cannot keep a key in {directory}: {error.strerror}; the token is not used up"
        ) from error
    return joining


def _enrol_at(
    token: Token, own: KeyPair, label: str, endpoints: Sequence[str]
) -> tuple[Token, Enrolled]:
    """Register at the first of these endpoints that is the token's broker; without any at the token's own.

    Returns the token with the endpoint that was it.
    """
    if not endpoints:
        return token, asyncio.run(_enrol(token, own, label))
    problem: ZccError | None = None
    for endpoint in endpoints:
        there = replace(token, endpoint=endpoint)
        try:
            return there, asyncio.run(_enrol(there, own, label))
        except (TokenError, UnreachableError) as error:
            problem = error
    raise TokenError(
        f"what is announced with this token's fingerprint, at {', '.join(endpoints)}, is not the farm's broker"
        f" or does not take the token: {problem}. Nothing was joined. Without --discover the token leads to its"
        f" own address, {token.endpoint}"
    ) from problem


async def _enrol(token: Token, own: KeyPair, label: str) -> Enrolled:
    """Register the key; where it is a member's already, change what it may do."""
    joiner = KeyPair(public_of(token.secret), token.secret)
    try:
        reply = await _ask(token.endpoint, token.broker_public, joiner, Enrol(own.public, label))
    except KeyRefusedError as error:
        raise TokenError(
            "the broker does not take this token: it is used up, expired or revoked;"
            " ask for a new one (zcc-broker token)"
        ) from error
    except UnheardError as error:
        raise TokenError(
            f"{error}: the token is used up, expired or revoked, or another broker than its own listens there;"
            " ask for a new one (zcc-broker token)"
        ) from error
    if isinstance(reply, Refused) and reply.reason.startswith(OTHER_ROLE):
        again = Rejoin(token.secret, label)
        reply = await _ask(token.endpoint, token.broker_public, own, again)
    if isinstance(reply, Refused):
        raise TokenError(f"the broker refused this token: {reply.reason}")
    if not isinstance(reply, Enrolled):
        raise TokenError(f"the broker at {token.endpoint} gave an unexpected answer")
    return reply


def _reached(access: Access) -> str:
    """The first endpoint of the broker's at which something listens.

    Raises:
        UnreachableError: there is none.
    """
    if access.found and not why_unreachable(access.found):
        return access.found
    return listening_at(access.endpoint)


async def _leave(access: Access) -> None:
    try:
        endpoint = await asyncio.to_thread(_reached, access)
        reply = await _ask(endpoint, access.broker_public, access.keys, Leave())
    except KeyRefusedError as error:
        raise ConfigError(
            f"the broker at {access.endpoint} does not admit this key any more: it was revoked"
        ) from error
    except UnheardError as error:
        raise ConfigError(
            f"the broker at {access.endpoint} does not know this key: it was revoked, or another broker"
            " is there"
        ) from error
    if isinstance(reply, Refused):
        raise ConfigError(f"this key is a member's still: {reply.reason}")
    if not isinstance(reply, Bye):
        raise ConfigError(f"the broker at {access.endpoint} gave an unexpected answer")


async def _ask(address: str, broker_public: str, keys: KeyPair, request: Message) -> Message:
    """The broker's first answer to one message, on a connection of its own.

    Raises:
        UnreachableError: nobody listens at the address.
        KeyRefusedError: the broker turns this key away.
        ConfigError: the broker does not know such a request.
        UnheardError: what listens there says nothing to this key.
        ProtocolError: it does not speak this protocol.
    """
    endpoint = await asyncio.to_thread(listening_at, address)
    context = zmq.Context[zmq.Socket[bytes]]()
    answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def take(frames: list[bytes]) -> None:
        if not answer.done():
            try:
                answer.set_result(codec.decode(frames))
            except UnknownKindError:
                pass  # of a later release: no answer to this
            except ProtocolError as error:
                answer.set_exception(error)

    def greeted(is_member: bool) -> None:
        if not is_member and not answer.done():
            answer.set_exception(KeyRefusedError(f"the broker at {endpoint} turns this key away"))

    link = DealerLink(context, endpoint, broker_public, keys, take, greeted)
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            # The link refuses to queue before the connection stands, so offer until it takes.
            while not answer.done() and not link.send(codec.encode(request)):
                await asyncio.sleep(_AGAIN_S)
            reply = await answer
    except TimeoutError as error:
        raise UnheardError(f"no answer from {endpoint} within {JOIN_TIMEOUT_S:.0f} s") from error
    except ProtocolError as error:
        raise ProtocolError(f"{endpoint} does not speak this protocol: {error}") from error
    finally:
        link.close()
        context.term()
    if isinstance(reply, Unknown):
        raise ConfigError(f"the broker at {endpoint} is older than this zcc, and cannot do that")
    return reply
