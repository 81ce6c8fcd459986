"""What can go wrong in a broker, by who is at fault and what follows."""

from __future__ import annotations


class BrokerError(Exception):
    """The root of this folder's errors. The message says what to do."""


class RegistryError(BrokerError):
    """The operator asked for what the registry cannot do: tell them."""


class StateError(RegistryError):
    """A file of the broker's own cannot be read or written now: tell whoever asked, and go on."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}; nothing has changed")
        self.path = path
        self.reason = reason


class EnrolError(BrokerError):
    """A joiner may not enrol (token used up, expired or revoked): refuse it."""


class WorkerLostError(BrokerError):
    """Our worker process cannot read a message: refuse the job."""


class ReaderFullError(BrokerError):
    """More waits to be read than there is room for: refuse the job, or give it to another node."""

    def __init__(self) -> None:
        super().__init__("more results at a time than there is room for")


class StartError(BrokerError):
    """The broker cannot start: tell the operator and stop."""
