"""What can go wrong, by who is at fault and what follows from it."""

from __future__ import annotations


class ZccError(Exception):
    """The root of this folder's errors. The message says what to do."""


class ProtocolError(ZccError):
    """A peer sent what no correct peer sends: it is dropped and counted."""


class OtherProtocolError(ProtocolError):
    """The peer speaks another major version of the protocol: the message says which, for its user."""


class UnknownKindError(ProtocolError):
    """A message of a kind that this release does not know: nobody is at fault, it is passed over."""

    def __init__(self, kind: bytes) -> None:
        super().__init__(f"unknown message kind {kind!r}")
        self.kind = kind


class UnsendableError(ZccError):
    """A message of ours is longer than any peer takes: a mistake of ours, the peer is not at fault."""


class JobError(ProtocolError):
    """Bytes that are not a canonical job or result."""


class JobFormatError(JobError):
    """A job or result of a format that this release does not know: another may."""


class ConfigError(ZccError):
    """The user's configuration is wrong: tell the user, and say where."""


class BadEndpointError(ConfigError):
    """What is to be dialled is no tcp://HOST:PORT."""


class TokenError(ZccError):
    """A join token that cannot be used: tell the user."""


class UnreachableError(ZccError):
    """Nobody listens at the broker's endpoint: tell the user what is in the way."""


class UnheardError(ZccError):
    """The broker does not answer to this key."""


class KeyRefusedError(UnheardError):
    """The broker has turned this key away: it was revoked, or the broker never knew it."""


class NoMulticastError(ZccError):
    """Nothing can be announced or looked for in the networks at hand: tell the user why."""


class CompilerError(ZccError):
    """The compiler could not be understood: compile locally and count the reason."""


class NoRoomError(CompilerError):
    """The disk does not take the compiler's toolchain: compile locally, and tell the user where room lacks."""


def told(error: Exception) -> str:
    """What the user reads of an error that ends a command; of the system's own, the file (if any) and why."""
    if isinstance(error, OSError) and error.strerror:
        # Of two the first is the temporary name of what was to be the second.
        name = error.filename2 or error.filename
        return error.strerror if name is None else f"{name}: {error.strerror}"
    return str(error)
