"""`zcc leave` and `zcc-node leave`."""

from __future__ import annotations

import sys

import typer

from zcc import farm
from zcc.cli.terminal import say
from zcc.errors import ConfigError, ZccError
from zcc.member_id import member_id

YES = typer.Option(False, "--yes", "-y", help="Do not ask.")
LOCAL = typer.Option(
    False,
    "--local",
    help="Remove the key here only: the broker cannot be reached, or has revoked it.",
)

PURGE = typer.Option(
    False,
    "--purge",
    help="Remove all else that zcc keeps here, too: settings, state, cache, sockets, services.",
)


def told_first(directory: str) -> list[str]:
    """What a purge says of the farm before it asks."""
    try:
        access = farm.load_access(directory)
    except ConfigError:
        return []
    return [f"leaves {farm.spoken(access.farm)} at {access.endpoint}"] if access else []


def leave_if_member(directory: str, again: str, is_local: bool) -> None:
    """Leave the farm of this directory if there is one; a key that is damaged is no reason to stay."""
    if told_first(directory):
        leave(directory, again, True, is_local)


def leave(directory: str, again: str, is_sure: bool, is_local: bool) -> None:
    """Leave the farm of this directory for good; `again` is what joins one.

    Raises:
        ConfigError: there is no farm, nobody to ask, or no broker that takes notice.
    """
    access = farm.load_access(directory)
    if access is None:
        raise ConfigError(f"no farm is joined in {directory}")
    called = member_id(access.keys.public)
    what = f"{farm.spoken(access.farm)} at {access.where}"
    if not is_sure:
        if not sys.stdin.isatty():
            raise ConfigError(f"this leaves {what} and removes its key {called}: say --yes")
        typer.confirm(f"Leave {what}, and remove the key {called}?", abort=True)
    is_admitted = farm.is_admitted(access) if is_local else False
    if not is_local:
        _tell(access)
    farm.forget_access(directory)
    say(f"left {what}; {again} joins again, with a new key")
    if is_admitted:
        say(f"the broker still admits the key until somebody says: zcc-broker revoke {called}")
    elif is_admitted is None:
        say(
            f"the broker does not answer: it may still admit the key; zcc-broker revoke {called} ends that"
        )


def _tell(access: farm.Access) -> None:
    try:
        farm.leave(access)
    except ZccError as error:
        raise ConfigError(f"{error} (--local removes the key here only)") from error
