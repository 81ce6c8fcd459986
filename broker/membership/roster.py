"""Which role each key has now: the registry's word, remembered until it may have changed."""

from __future__ import annotations

import time

from broker.membership.registry import Registry
from zcc.messages import PeerRole

# An expiry is not a change of the registry: all live keys are looked up again this often.
EXPIRY_S = 30.0


class KeyRoles:
    def __init__(self, registry: Registry, now: float) -> None:
        self._registry = registry
        self._roles: dict[str, PeerRole] = {}
        self._next_expiry = now

    def role_of(self, user: str) -> PeerRole | None:
        """None: this key may do nothing here."""
        role = self._roles.get(user)
        if role is None:
            role = self._registry.role_of(user, time.time())
            if role is not None:  # strangers must not fill our memory
                self._roles[user] = role
        return role

    def has_changed(self, user: str) -> bool:
        """Look this key up again; whether what was known of it is no longer so."""
        known = self._roles.pop(user, None)
        return known is not None and self.role_of(user) is not known

    def changed(self, now: float) -> list[str]:
        """Keys whose role is another by now, or none, if anything may have changed."""
        if not self._registry.has_changed() and now < self._next_expiry:
            return []
        self._next_expiry = now + EXPIRY_S
        return [user for user in list(self._roles) if self.has_changed(user)]
