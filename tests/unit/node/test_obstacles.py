"""A machine that cannot sandbox says why, and what to do: its own rules first, then the container's."""

from __future__ import annotations

import pytest

from node.obstacles import MachineFacts, explain

DENIED = "bwrap: No permissions to create new namespace"
UID_MAP = "bwrap: setting up uid map: Permission denied"
FULL = "bwrap: Creating new namespace failed: nesting depth or ... exceeded (ENOSPC)"
HOSTNAME = "bwrap: Can't set hostname to zcc: Operation not permitted"
PROC = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"
OVERLAY = "bwrap: Can't make overlay mount on /newroot/ with options ...: Invalid argument"


@pytest.mark.parametrize(
    ("message", "around", "reason"),
    [
        (DENIED, MachineFacts(is_chroot=True, container="docker"), "this is a chroot"),
        (FULL, MachineFacts(max_namespaces=0), "sysctl user.max_user_namespaces=10000"),
        (DENIED, MachineFacts(debian_switch=0), "sysctl kernel.unprivileged_userns_clone=1"),
        (DENIED, MachineFacts(debian_switch=1, container="docker"), "--security-opt seccomp="),
        (UID_MAP, MachineFacts(apparmor_switch=1), "apparmor_restrict_unprivileged_userns=0"),
        (UID_MAP, MachineFacts(apparmor_switch=1), "zcc-node apparmor-profile | sudo tee"),
        (
            HOSTNAME,
            MachineFacts(container="podman"),
            "seccomp=unconfined --security-opt unmask=ALL",
        ),
        (HOSTNAME, MachineFacts(), "a system call filter"),
        (UID_MAP, MachineFacts(apparmor_switch=0), "a system call filter"),
        (PROC, MachineFacts(container="docker"), "systempaths=unconfined"),
        (PROC, MachineFacts(), "nothing is covered"),
        (OVERLAY, MachineFacts(), "TMPDIR for zcc up"),
        (OVERLAY, MachineFacts(container="docker"), "a volume"),
        (DENIED, MachineFacts(has_proc=False), "/proc is not mounted"),
        ("bwrap: something new", MachineFacts(), "its message follows"),
    ],
)
def test_the_reason_is_told_with_its_cure(message: str, around: MachineFacts, reason: str) -> None:
    told = explain(message, around)
    assert reason in told
    assert told.endswith(f"[{message}]")


def test_this_machine_is_no_chroot() -> None:
    assert not MachineFacts.here().is_chroot
    assert MachineFacts.here().has_proc
