"""`install-service` and `uninstall-service`, of the broker and of the node."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Annotated

import platformdirs
import typer

from zcc.cli.terminal import say
from zcc.errors import ConfigError
from zcc.service import purge
from zcc.service.places import ServicePlace, place_of, program_of, why_unreachable_for_others
from zcc.service.units import Service
from zcc.settings.layers import system_dir, user_dir

UserManager = Annotated[
    bool,
    typer.Option(
        "--user",
        help="For this user's own manager. Without root it is so anyway.",
    ),
]


PurgeState = Annotated[
    bool,
    typer.Option(
        "--purge",
        help="Remove what the service has kept, too: its state, its file of settings, its user.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer, service: Service, state_names: tuple[str, ...] = ()) -> None:
    """Give the program both commands. Where `state_names` say what is the service's own in its state directory,
    `uninstall-service` can purge it.
    """
    names = f"{service.name}.service"

    def install_service(
        *,
        show: Annotated[
            bool, typer.Option("--print", help="Print the unit, and write nothing.")
        ] = False,
        enable: Annotated[
            bool, typer.Option("--enable", help="Start it with the machine from now on.")
        ] = False,
        now: Annotated[bool, typer.Option("--now", help="Enable it, and start it now.")] = False,
        user: UserManager = False,
    ) -> None:
        install(service, is_system=_is_system(user), show=show, enable=enable or now, now=now)

    def uninstall_service(*, user: UserManager = False) -> None:
        uninstall(service, is_system=_is_system(user))

    def uninstall_or_purge(
        *, user: UserManager = False, with_all: PurgeState = False, yes: Yes = False
    ) -> None:
        is_system = _is_system(user)
        if not with_all:
            uninstall(service, is_system=is_system)
            return
        state = kept_at(service, is_system=is_system)
        purge_service(service, [purge.Keeping(state, state_names)], (), is_system, is_sure=yes)

    install_service.__doc__ = (
        f"Write {names} for systemd: a unit of the system's for root, with a user of its own, else one of"
        " yours."
    )
    uninstall_service.__doc__ = uninstall_or_purge.__doc__ = (
        f"Stop {names}, and remove what install-service wrote. State and settings stay"
        + (" without --purge." if state_names else ".")
    )
    app.command("install-service")(install_service)
    app.command("uninstall-service")(uninstall_or_purge if state_names else uninstall_service)


def kept_at(service: Service, *, is_system: bool) -> str:
    """The state directory of the service that `install-service` makes."""
    if is_system:
        return f"/var/lib/{service.name}"
    return platformdirs.user_state_dir(service.name, False)


def purge_service(
    service: Service,
    holdings: list[purge.Keeping],
    first: Iterable[str],
    is_system: bool,
    *,
    is_sure: bool,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Remove the service and all that it has kept, after a question; `first` is said before it, and `before` is
    done when it has ended, before its files go."""
    place = place_of(service, is_system=is_system)
    settings = f"{service.name.removeprefix('zcc-')}.toml"
    directory = system_dir(os.environ) if is_system else user_dir(os.environ)
    holdings = [*holdings, purge.Keeping(directory, (settings,))]
    if is_system:
        holdings.append(purge.Keeping("/etc/credstore", (f"{service.name}.token",)))
    installed = installed_files(place)
    more = [*first, *(f"removes {path}" for path in installed)]
    user = service.name if is_system and place.has_user() else ""
    if user:
        more.append(f"removes the user {user}")
    # Of a shared directory nobody wants to hear what else is in it.
    found = purge.find(holdings)
    shared = (directory, "/etc/credstore")
    strange = tuple(each for each in found.strange if os.path.dirname(each) not in shared)
    purge.ask(replace(found, strange=strange), more, is_sure=is_sure)
    if installed:
        uninstall(service, is_system=is_system)
    before()
    purge.remove(purge.find(holdings))
    if user:
        _call("userdel", user)
    say("nothing of it is left but the program")


def install(service: Service, *, is_system: bool, show: bool, enable: bool, now: bool) -> None:
    """Raises ConfigError where the service could not run, or systemd refuses it."""
    place = place_of(service, is_system=is_system)
    if show:
        print(next(iter(place.files.values())), end="")
        return
    if is_system and (why := why_unreachable_for_others(program_of(service))):
        raise ConfigError(
            f"{why}: the service has a user of its own, who could not run it. Install zcc where everybody can"
            " read (python3 -m venv /opt/zcc), or install a service of yours with --user"
        )
    for path, text in place.files.items():
        _write(path, text)
        say(f"wrote {path}")
    if is_system:
        _make_user(service)
    _reload(place)
    if enable:
        _call(*place.manager, "enable", *(["--now"] if now else []), place.unit)
        say(f"{place.unit} is enabled" + (" and runs" if now else ""))
    else:
        say(f"next: {' '.join(place.manager)} enable --now {place.unit}")
    if not is_system and not _lingers():
        say("it runs while you are logged in; always: loginctl enable-linger")


def uninstall(service: Service, *, is_system: bool) -> None:
    """Raises ConfigError where systemd refuses to stop it."""
    place = place_of(service, is_system=is_system)
    removed = installed_files(place)
    if not removed:
        say(f"{place.unit} is not installed")
        return
    if _has_manager(place):
        _call(*place.manager, "disable", "--now", place.unit)
    for path in removed:
        os.unlink(path)
        say(f"removed {path}")
    with contextlib.suppress(OSError):
        os.rmdir(f"{next(iter(place.files))}.d")
    _reload(place)
    if _has_manager(place):
        _call(*place.manager, "reset-failed", place.unit, is_strict=False)


def installed_files(place: ServicePlace) -> list[str]:
    """Those that are there now, with what `systemctl edit` has put beside the unit."""
    found = [path for path in place.files if os.path.lexists(path)]
    unit = next(iter(place.files))
    with contextlib.suppress(OSError):
        found += [os.path.join(f"{unit}.d", name) for name in os.listdir(f"{unit}.d")]
    return found


def _is_system(user: bool) -> bool:
    return not user and not os.geteuid()


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.new"
    with open(temporary, "w") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
    os.rename(temporary, path)


def _make_user(service: Service) -> None:
    if shutil.which("systemd-sysusers"):
        _call("systemd-sysusers", f"{service.name}.conf")
    elif shutil.which("useradd"):
        home = f"/var/lib/{service.name}"
        nowhere = ("--shell", "/usr/sbin/nologin", "--home-dir", home, "--no-create-home")
        _call("useradd", "--system", "--user-group", *nowhere, service.name, is_strict=False)
    else:
        raise ConfigError(f"no systemd-sysusers and no useradd: make the user {service.name}")


def _has_manager(place: ServicePlace) -> bool:
    """Whether the manager runs that would read the unit: not in a chroot or a container without one."""
    if shutil.which("systemctl") is None:
        return False
    if place.is_system:
        return os.path.isdir("/run/systemd/system")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return os.path.exists(os.path.join(runtime, "systemd", "private")) if runtime else False


def _reload(place: ServicePlace) -> None:
    if _has_manager(place):
        _call(*place.manager, "daemon-reload")
    else:
        print("no systemd runs here that would read the unit now", file=sys.stderr)


def _lingers() -> bool:
    return os.path.exists(f"/var/lib/systemd/linger/{os.environ.get('USER', '')}")


def _call(*words: str, is_strict: bool = True) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"cannot run {words[0]}: {error.strerror}") from error
    if done.returncode and is_strict:
        told = (done.stderr or done.stdout).strip()
        raise ConfigError(f"{' '.join(words)} failed: {told or f'status {done.returncode}'}")
