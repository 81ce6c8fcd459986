"""What can go wrong on a node, by who is at fault."""

from __future__ import annotations

from cache.digest import Digest


class NodeError(Exception):
    """The root of this folder's errors."""


class SandboxError(NodeError):
    """This machine cannot sandbox: no jobs from others; the message says what to change."""


class ToolchainError(NodeError):
    """The toolchain cannot be used; whoever uploaded it is at fault."""


class InputError(NodeError):
    """The job's manifest contradicts itself or names a path that the sandbox keeps for itself."""


class MissingInputError(NodeError):
    """An input's blob is not in the store (any more): fetch it and try again."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"blob {digest.hex()} is not in the store")
        self.digest = digest


class CgroupError(NodeError):
    """No control group is ours: limits are watched instead; the message says what would help."""
