"""Whose fault an error on the node is: one table, for whatever may be raised while a lease is held."""

from __future__ import annotations

import errno
import logging

from cache.errors import CacheError
from node.errors import (
    BadToolchainError,
    InputError,
    MissingInputError,
    NodeError,
    QuotaError,
    SandboxError,
    ToolchainError,
)
from node.sandbox.collect import OutputTooLargeError
from node.toolchains.unpack import RottenPackError
from zcc.errors import JobFormatError, ProtocolError
from zcc.messages import Fault

logger = logging.getLogger(__name__)

# What a file system says to a name, a target or a command that it does not take: the job named it.
_NAMED_WRONGLY = frozenset(
    (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ, errno.E2BIG)
)
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))

# The first that fits.
_FAULTS: tuple[tuple[type[Exception], Fault], ...] = (
    (InputError, Fault.REFUSED),
    (RottenPackError, Fault.TOOLCHAIN),
    (BadToolchainError, Fault.REFUSED),
    (QuotaError, Fault.UNFIT),
    (MissingInputError, Fault.INPUT),
    (ToolchainError, Fault.TOOLCHAIN),
    (SandboxError, Fault.SANDBOX),
    (OutputTooLargeError, Fault.RESOURCES),
    (MemoryError, Fault.RESOURCES),
    (JobFormatError, Fault.UNFIT),  # of a later release: another node may know it
    (ProtocolError, Fault.INPUT),
    (CacheError, Fault.INPUT),
)


def fault_of(error: BaseException) -> Fault:
    """The fault that this error is, whatever it is."""
    if isinstance(error, OSError):
        if error.errno in _NO_ROOM:
            return Fault.PAUSED
        return Fault.REFUSED if error.errno in _NAMED_WRONGLY else Fault.INTERNAL
    return next((fault for kind, fault in _FAULTS if isinstance(error, kind)), Fault.INTERNAL)


def noted(error: BaseException, what: str) -> tuple[Fault, str]:
    """The fault that an error is, and its words, which are in the log then.

    What has no meaning here is a bug, or a machine that breaks: it is there with its traceback.
    """
    is_foreseen = isinstance(error, (OSError, *(kind for kind, _ in _FAULTS)))
    logger.warning("%s: %s", what, error, exc_info=None if is_foreseen else error)
    fault = fault_of(error)
    name = "" if isinstance(error, NodeError) else f"{type(error).__name__}: "
    return fault, f"{name}{error}"
