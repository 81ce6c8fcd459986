"""Whether a Hello is welcome, and the session that it opens. Pure."""

from __future__ import annotations

from broker.core.events import Origin
from broker.core.farm import Farm
from broker.core.limits import MAX_MACHINE_CLASSES, MAX_SLOTS
from broker.core.roles import SESSION_ROLES
from broker.core.sessions import SESSION_ID_BYTES, Session
from zcc.messages import Hello, PeerRole
from zcc.printable import printable


def reason_against(farm: Farm, origin: Origin, hello: Hello) -> str:
    """Why this peer gets no session; empty: it gets one."""
    sessions = farm.sessions
    known = sessions.get(hello.session)
    role = SESSION_ROLES[origin.role].get(hello.role)
    if role is None or (known is not None and known.role is not role):
        return f"role: this key is enrolled as {origin.role.value}, not as {hello.role}"
    if hello.farm and hello.farm != farm.name:
        return f"farm: this is {farm.name}, not {hello.farm}"
    if len(hello.session) != SESSION_ID_BYTES or (known and known.user != origin.user):
        return "session: choose 16 random bytes"
    if hello.slots > MAX_SLOTS or len(hello.machine_classes) > MAX_MACHINE_CLASSES:
        return f"slots: at most {MAX_SLOTS}, and {MAX_MACHINE_CLASSES} machine classes"
    if known is None and not sessions.has_room_for(origin.user):
        return "sessions: too many from this key, or on this farm"
    return ""


def open_session(farm: Farm, origin: Origin, hello: Hello, now: float) -> Session:
    """The session that such a Hello asks for, of a role that its key may have."""
    role, is_own = SESSION_ROLES[origin.role][hello.role], origin.role is PeerRole.PUBLISHER
    name = printable(hello.name)  # it stands in tables, logs and answers
    version = printable(hello.version)
    session = Session(hello.session, origin.route, origin.user, role, name, now, is_own, version)
    farm.sessions.open(session)
    farm.audit("open", user=origin.user, role=hello.role, name=name, version=version)
    return session
