"""What can go wrong on a node, by who is at fault."""

from __future__ import annotations

from cache.digest import Digest


class NodeError(Exception):
    """The root of this folder's errors."""


class SandboxError(NodeError):
    """This machine cannot sandbox: no jobs from others; the message says what to change."""


class ToolchainError(NodeError):
    """The toolchain cannot be used; whoever uploaded it is at fault."""


class BadToolchainError(ToolchainError):
    """What was packed is no toolchain, as its digest says that it should be: its packer is at fault."""


class QuotaError(NodeError):
    """The toolchain is larger than all that this node keeps of them; the message names the cure."""


class InputError(NodeError):
    """The job's manifest contradicts itself or names a path that the sandbox keeps for itself, or one that the
    file system does not take: whoever submitted it is at fault."""


class WornTreeError(NodeError):
    """An input tree that cannot be made to fit this job: try a new one."""


class SpoiledError(NodeError):
    """A job has read what is not what it was: run it again when that came anew. `is_toolchain`: so must the
    toolchain."""

    def __init__(self, detail: str, is_toolchain: bool) -> None:
        super().__init__(detail)
        self.is_toolchain = is_toolchain


class MissingInputError(NodeError):
    """An input's blob is not in the store (any more): fetch it and try again."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"blob {digest.hex()} is not in the store")
        self.digest = digest


class CgroupError(NodeError):
    """No control group is ours: limits are watched instead; the message says what would help."""


class HoldsTooMuchError(NodeError):
    """A job's processes have more files open, or mapped, than can be looked at in time: it is stopped."""
