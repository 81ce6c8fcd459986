"""What can go wrong in a broker, by who is at fault and what follows."""

from __future__ import annotations


class BrokerError(Exception):
    """The root of this folder's errors. The message says what to do."""


class RegistryError(BrokerError):
    """The operator asked for what the registry cannot do: tell them."""


class EnrolError(BrokerError):
    """A joiner may not enrol (token used up, expired or revoked): refuse it."""


class WorkerLostError(BrokerError):
    """Our worker process cannot read a message: refuse the job."""


class StartError(BrokerError):
    """The broker cannot start: tell the operator and stop."""
