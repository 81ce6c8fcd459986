"""`zcc farms`: what brokers announce in the networks at hand, and what cannot be seen from here."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

import typer

from zcc import config, farm
from zcc.cli import layout, terminal
from zcc.cli.terminal import say
from zcc.discovery import multicast
from zcc.discovery.announcement import Announcement, fingerprint_of
from zcc.discovery.interfaces import InterfaceAddress, addresses_to_reach
from zcc.discovery.multicast import LOOK_S, SeenFarms
from zcc.errors import ConfigError, TokenError

MAX_WAIT_S = 60.0
_COLUMNS = ("farm", "address", "protocol", "fingerprint", "joined")
# Made by Docker and by podman.
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


def farms(
    as_json: bool = typer.Option(
        False, "--json", help="One JSON object: `farms`, and `looked_at`, the interfaces."
    ),
    wait_s: float = typer.Option(
        LOOK_S, "--wait", metavar="S", min=0.5, max=MAX_WAIT_S, help="For how many seconds to look."
    ),
) -> None:
    """The farms that are announced in the networks of this machine (`zcc-broker serve --announce`).

    An announcement is what somebody says: the fingerprint tells farms apart, and only a token joins one.
    """
    seen = _look(wait_s)
    ours = _own_fingerprint()
    if as_json:
        rows = [
            asdict(each) | {"short": each.short, "is_member": each.fingerprint == ours}
            for each in seen.announcements
        ]
        typer.echo(json.dumps({"farms": rows, "looked_at": [asdict(e) for e in seen.looked_at]}))
        return
    if not seen.announcements:
        say(_none(seen.looked_at))
        return
    for line in table(seen.announcements, ours, terminal.width()):
        print(line)
    for line in doubles(seen.announcements):
        say(line)


def table(announcements: Iterable[Announcement], ours: str, columns: int) -> list[str]:
    """A row for each broker; `ours` is the fingerprint of the farm that is joined, empty for none."""
    cells = [
        (
            each.farm,
            _place(each),
            each.protocol,
            each.short,
            "yes" if each.fingerprint == ours else "no",
        )
        for each in announcements
    ]
    return layout.table(_COLUMNS, cells, columns)


def doubles(announcements: Iterable[Announcement]) -> list[str]:
    """A sentence for each name that brokers of different keys have."""
    keys = {(each.farm, each.fingerprint) for each in announcements}
    counts = Counter(name for name, _ in keys)
    return [
        f"{count} farms with different keys call themselves {name}: the fingerprint tells them apart"
        for name, count in sorted(counts.items())
        if count > 1
    ]


def announced(name: str) -> tuple[Announcement, ...]:
    """What is announced by this name, by any where it is empty.

    Raises:
        TokenError: nothing is.
    """
    seen = _look(LOOK_S)
    found = tuple(each for each in seen.announcements if name in ("", each.farm))
    if found:
        return found
    if not seen.announcements:
        raise TokenError(_none(seen.looked_at))
    others = ", ".join(dict.fromkeys(each.farm for each in seen.announcements))
    raise TokenError(f"no farm {name} is announced here, only: {others}")


def fingerprints(announcements: Iterable[Announcement]) -> list[str]:
    """A line for each, with the full fingerprint."""
    return [
        f"announced: {each.farm} at {_place(each)}, fingerprint {each.fingerprint}"
        for each in announcements
    ]


def _look(wait_s: float) -> SeenFarms:
    where = ", ".join(map(str, addresses_to_reach())) or "no interface"
    print(f"looking for farms on {where} for {wait_s:g} s ...", file=sys.stderr, flush=True)
    return asyncio.run(multicast.look(wait_s))


def _own_fingerprint() -> str:
    """Of the farm that this user has joined; empty for none."""
    try:
        access = farm.load_access(config.config_dir(os.environ))
    except ConfigError:
        return ""  # zcc doctor says what is wrong with it
    return "" if access is None else fingerprint_of(access.broker_public)


def _place(announcement: Announcement) -> str:
    first, *more = (each.removeprefix("tcp://") for each in announcement.endpoints)
    return f"{first} (+{len(more)})" if more else first


def _none(looked_at: Iterable[InterfaceAddress]) -> str:
    where = ", ".join(map(str, looked_at))
    lines = [
        f"no farm is announced on {where}. A broker announces itself only with zcc-broker serve --announce,"
        " and is not seen across a router, a NAT, most VPNs, or the bridge of a container."
    ]
    if any(map(os.path.exists, _CONTAINER_MARKS)):
        lines.append(
            "This is a container: with its host's network (docker run --network host) it sees what that sees."
        )
    lines.append(
        "A join token needs none of that, as it carries the broker's address: zcc-broker token prints one."
    )
    return "\n".join(lines)
