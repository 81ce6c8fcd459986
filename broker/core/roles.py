"""Who may send what to the broker: one table, default deny. Pure."""

from __future__ import annotations

from zcc.messages import (
    Absent,
    Announce,
    AskNodes,
    AskPlaced,
    AskVoided,
    Beat,
    Bye,
    Cancel,
    Chunk,
    Credit,
    Done,
    Drain,
    Enrol,
    Failed,
    Hello,
    Leave,
    LocalCounts,
    Message,
    PeerRole,
    Rejoin,
    Started,
    StorageGet,
    StoragePut,
    StorageRemove,
    Submit,
    Want,
    Watch,
)

_SESSION: tuple[type[Message], ...] = (Hello, Beat, Bye, Rejoin, Leave)
_BULK: tuple[type[Message], ...] = (Chunk, Credit, Absent)
_STORAGE: tuple[type[Message], ...] = (StorageGet, StoragePut, StorageRemove)

_ASKING: tuple[type[Message], ...] = (AskNodes, AskPlaced)

_AGENT: tuple[type[Message], ...] = (
    *_SESSION,
    *_BULK,
    *_STORAGE,
    *_ASKING,
    AskVoided,
    Submit,
    Cancel,
    LocalCounts,
)
_NODE: tuple[type[Message], ...] = (*_SESSION, *_BULK, Want, Started, Announce, Done, Failed)

ALLOWED: dict[PeerRole, frozenset[type[Message]]] = {
    PeerRole.JOINER: frozenset((Enrol,)),
    PeerRole.CLIENT: frozenset(_AGENT),
    PeerRole.NODE: frozenset(_NODE),
    # Either, in one session each: what a session may say is then its own role's affair.
    PeerRole.PUBLISHER: frozenset((*_AGENT, *_NODE)),
    PeerRole.ADMIN: frozenset((*_SESSION, *_ASKING, Watch, Drain)),
    PeerRole.MONITOR: frozenset((*_SESSION, AskNodes, Watch)),
}

_KINDS = {
    role: frozenset(message.KIND for message in messages) for role, messages in ALLOWED.items()
}


# What a key's sessions may say they are in Hello, and what they are then.
SESSION_ROLES: dict[PeerRole, dict[str, PeerRole]] = {
    **{
        role: {role.value: role}
        for role in (PeerRole.CLIENT, PeerRole.NODE, PeerRole.ADMIN, PeerRole.MONITOR)
    },
    PeerRole.PUBLISHER: {
        PeerRole.PUBLISHER.value: PeerRole.CLIENT,
        PeerRole.NODE.value: PeerRole.NODE,
    },
    PeerRole.JOINER: {},
}


def may_send(role: PeerRole, kind: bytes) -> bool:
    """Whether a peer of this role may send a message of this kind; unknown means no."""
    return kind in _KINDS.get(role, frozenset())
