"""Where a service's files lie: of the whole machine for root, of the user's own manager for others."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import platformdirs

from zcc.errors import ConfigError
from zcc.service.units import Service, system_unit, sysusers, user_unit

_PRIVATE = ("/home", "/root", "/run/user")  # ProtectHome=


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """Where one service is installed. `files` are what `install-service` writes, by path; the unit is first."""

    service: Service
    is_system: bool
    files: Mapping[str, str]

    @property
    def unit(self) -> str:
        return f"{self.service.name}.service"

    def has_user(self) -> bool:
        """Whether the service's own user is there."""
        try:
            pwd.getpwnam(self.service.name)
        except KeyError:
            return False
        return True

    @property
    def manager(self) -> tuple[str, ...]:
        """What `systemctl` is called with."""
        return ("systemctl",) if self.is_system else ("systemctl", "--user")


def place_of(service: Service, *, is_system: bool, words: tuple[str, ...] = ()) -> ServicePlace:
    """Where this service goes, and what is written there. `words` stand behind `serve`.

    Raises:
        ConfigError: the service's user could not run the program.
    """
    program = program_of(service)
    if not is_system:
        directory = os.path.join(platformdirs.user_config_dir("systemd", False), "user")
        path = os.path.join(directory, f"{service.name}.service")
        return ServicePlace(service, False, {path: user_unit(service, program, words)})
    return ServicePlace(
        service,
        True,
        {
            f"/etc/systemd/system/{service.name}.service": system_unit(service, program, words),
            f"/etc/sysusers.d/{service.name}.conf": sysusers(service),
        },
    )


def program_of(service: Service) -> str:
    """The program of this installation: it lies beside the interpreter, or on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), service.name)
    found = beside if os.access(beside, os.X_OK) else shutil.which(service.name)
    if found is None:
        raise ConfigError(f"there is no {service.name} beside {sys.executable}, nor on PATH")
    return os.path.abspath(found)


def why_unreachable_for_others(program: str) -> str:
    """Why a user of the service's own cannot run this program; empty: he can."""
    for path in (os.path.realpath(program), os.path.realpath(sys.executable), os.__file__):
        if path.startswith(tuple(f"{place}/" for place in _PRIVATE)):
            return f"{path} is in a home directory"
        if closed := _first_closed(os.path.dirname(path)):
            return f"only its owner may enter {closed}"
    return ""


def _first_closed(path: str) -> str:
    while True:
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return path
        above = os.path.dirname(path)
        if above == path:
            return ""
        path = above
