"""Who may send what to the broker: one table, default deny. Pure."""

from __future__ import annotations

from zcc.messages import (
    Absent,
    AskNodes,
    Beat,
    Bye,
    Cancel,
    Chunk,
    Credit,
    Done,
    Enrol,
    Failed,
    Hello,
    Message,
    Role,
    Started,
    StorageGet,
    StoragePut,
    StorageRemove,
    Submit,
    Want,
)

_SESSION: tuple[type[Message], ...] = (Hello, Beat, Bye)
_BULK: tuple[type[Message], ...] = (Chunk, Credit, Absent)
_STORAGE: tuple[type[Message], ...] = (StorageGet, StoragePut, StorageRemove)

ALLOWED: dict[Role, frozenset[type[Message]]] = {
    Role.JOINER: frozenset((Enrol,)),
    Role.CLIENT: frozenset((*_SESSION, *_BULK, *_STORAGE, Submit, Cancel, AskNodes)),
    Role.NODE: frozenset((*_SESSION, *_BULK, Want, Started, Done, Failed)),
    Role.ADMIN: frozenset((*_SESSION, AskNodes)),
    Role.MONITOR: frozenset((*_SESSION, AskNodes)),
}

_KINDS = {
    role: frozenset(message.KIND for message in messages) for role, messages in ALLOWED.items()
}


def may_send(role: Role, kind: bytes) -> bool:
    """Whether a peer of this role may send a message of this kind; unknown means no."""
    return kind in _KINDS.get(role, frozenset())
