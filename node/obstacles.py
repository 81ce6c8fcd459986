"""Why no sandbox can be made on a machine, and what to do about it, in words for who runs it.

bubblewrap says which step failed, not why: most reasons are rules of the kernel or of the container around
us, which can be asked. Order matters: the first that applies is told.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_MAX_NAMESPACES = "/proc/sys/user/max_user_namespaces"
_DEBIAN_SWITCH = "/proc/sys/kernel/unprivileged_userns_clone"
_APPARMOR_SWITCH = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
_DOCKER_MARK, _PODMAN_MARK = "/.dockerenv", "/run/.containerenv"
_CURES = {
    "docker": "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    " --security-opt systempaths=unconfined",
    "podman": "--security-opt seccomp=unconfined --security-opt unmask=ALL",
}


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a machine says of itself. The switches are None where the kernel has no such file."""

    is_chroot: bool = False
    # Of which engine this is a container: docker, podman, or none that we know.
    container: str = ""
    has_proc: bool = True
    max_namespaces: int | None = None
    debian_switch: int | None = None
    apparmor_switch: int | None = None

    @staticmethod
    def here() -> MachineFacts:
        return MachineFacts(
            is_chroot=_is_chroot(),
            container=_container(),
            has_proc=os.path.exists("/proc/self/status"),
            max_namespaces=_number_in(_MAX_NAMESPACES),
            debian_switch=_number_in(_DEBIAN_SWITCH),
            apparmor_switch=_number_in(_APPARMOR_SWITCH),
        )


def explain(message: str, around: MachineFacts) -> str:
    """bubblewrap's message, behind the reason and the cure as far as they can be told."""
    told = f" [{message}]" if message else ""
    return f"no sandbox can be made here: {_reason(message, around)}{told}"


def _reason(message: str, around: MachineFacts) -> str:
    if not around.has_proc:
        return "/proc is not mounted; mount -t proc proc /proc"
    if "overlay" in message:
        return _of_overlay(around)
    # "Can't mount proc on /newroot/proc": the mount point's name is in other messages too.
    if "mount proc" in message:
        cure = _in_container(around) or "mount a /proc of which nothing is covered"
        return f"/proc cannot be mounted inside, as parts of the one here are masked; {cure}"
    if any(word in message for word in ("namespace", "uid map", "gid map", "RTM_NEWADDR")):
        return _of_namespaces(around)
    if "set hostname" in message:
        # The filters of Docker and Podman allow a user namespace, and not what is done in one.
        cure = _in_container(around) or "take away the filter"
        return f"a system call filter around this process keeps bubblewrap from its work; {cure}"
    return "bubblewrap failed; its message follows"


def _in_container(around: MachineFacts) -> str:
    """What a container has to be started with; empty outside of any."""
    if not around.container:
        return ""
    return f"start the container with {_CURES[around.container]}, or run the node outside of it"


def _of_namespaces(around: MachineFacts) -> str:
    if around.is_chroot:
        return (
            "this is a chroot, in which the kernel makes no user namespaces; run the node outside of it,"
            " or enter it by systemd-nspawn instead of chroot"
        )
    if around.max_namespaces == 0:
        return "user namespaces are switched off; sysctl user.max_user_namespaces=10000"
    if around.debian_switch == 0:
        return (
            "user namespaces are for root only; sysctl kernel.unprivileged_userns_clone=1"
            " (in /etc/sysctl.d to keep it)"
        )
    if around.container:
        return f"the container's rules allow no user namespaces; {_in_container(around)}"
    if around.apparmor_switch:
        return (
            "AppArmor allows user namespaces to programs with a profile only; give bubblewrap one:"
            " zcc-node apparmor-profile | sudo tee /etc/apparmor.d/zcc-bwrap,"
            " sudo apparmor_parser -r /etc/apparmor.d/zcc-bwrap;"
            " or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    return (
        "user namespaces are not allowed: by a system call filter around this process (a container's, a"
        " service's RestrictNamespaces=) or a security module; run the node where they are"
    )


def _of_overlay(around: MachineFacts) -> str:
    where = "a volume (docker run -v zcc:/DIR)" if around.container else "a plain disk"
    return (
        "the state directory cannot take an overlay, which needs Linux >= 5.11 and a file system such as"
        f" ext4, xfs or btrfs, itself no overlay; put it on {where} by --state, or by TMPDIR for zcc up"
    )


def _container() -> str:
    if os.path.exists(_PODMAN_MARK):
        return "podman"
    return "docker" if os.path.exists(_DOCKER_MARK) else ""


def _is_chroot() -> bool:
    """Whether our root is no mount point, which a real one is, or another than the first process's."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            if not any(line.split()[4] == b"/" for line in file):
                return True
        return not os.path.samefile("/proc/1/root", "/")
    except OSError:
        return False  # only root may ask where another's root is


def _number_in(path: str) -> int | None:
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
