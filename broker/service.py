"""The broker as a service: what it says of itself in one line, and which settings it takes while it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from broker.results.auditor import Auditor
from broker.shell import Shell
from cache.stores import DiskStore
from zcc.config import parse_share, parse_size
from zcc.farm import spoken


def status_of(shell: Shell) -> str:
    """For `systemctl status`."""
    farm = shell.machine.farm
    members, nodes = len(farm.sessions), len(farm.nodes)
    leased = len(farm.leases) - len(farm.hedged)
    return (
        f"{spoken(farm.name)} at {shell.endpoint or 'no address yet'}: {nodes} nodes, {members - nodes} others;"
        f" {leased} jobs run, {max(0, len(farm.executions) - leased)} wait"
    )


def reloadable(store: DiskStore, auditor: Auditor) -> Mapping[str, Callable[[Any], None]]:
    """What takes a new value of a setting, by its name."""

    def limit(text: str) -> None:
        store.limit_bytes = parse_size(text)  # the next round of eviction goes by it

    def quota(text: str) -> None:
        store.quota_bytes = parse_size(text)

    def audit(text: str) -> None:
        auditor.share = parse_share(text)

    return {"cache_size": limit, "quota": quota, "audit": audit}
