"""Calls into the kernel that no compiler makes fail in the way that makes programs do without."""

from __future__ import annotations

from tests.attacks.job import attack

# name, arguments, errno
CALLS = """
io_uring_setup 1,0 EPERM
bpf 0,0,0 EPERM
userfaultfd 0 EPERM
perf_event_open 0,0,-1,-1,0 EPERM
keyctl 0,0 EPERM
add_key 0,0,0,0,0 EPERM
ptrace 0,0,0,0 EPERM
process_vm_readv 1,0,0,0,0,0 EPERM
process_vm_writev 1,0,0,0,0,0 EPERM
pidfd_getfd 0,0,0 EPERM
unshare 0x10000000 EPERM
setns 0,0 EPERM
clone3 0,0 ENOSYS
mount 0,0,0,0,0 EPERM
umount2 "/proc",2 EPERM
fsopen "tmpfs",0 EPERM
fsmount 0,0,0 EPERM
fspick 0,"/",0 EPERM
open_tree 0,"/",1 EPERM
move_mount 0,"/",0,"/",0 EPERM
mount_setattr 0,"/",0,0,0 EPERM
pivot_root ".","." EPERM
chroot "/" EPERM
quotactl 0,0,0,0 EPERM
name_to_handle_at 0,"/",0,0,0 EPERM
open_by_handle_at 0,0,0 EPERM
memfd_secret 0 EPERM
io_setup 1,0 ENOSYS
personality 0x40000 EPERM
fallocate 1,1,0,4096 EOPNOTSUPP
setsid 0 EPERM
setpgid 0,0 EPERM
"""
LATER = (463, 470, 500, 1000, 0x3FFFFFFF)


def test_each_is_refused() -> None:
    lines = []
    for row in CALLS.split("\n"):
        if row:
            name, arguments, code = row.split(" ")
            lines.append(
                f'if (syscall(SYS_{name}, {arguments}) != -1 || errno != {code}) puts("{name}");'
            )
    done = attack("\n".join(lines) + "return 0;")
    assert (done.fault, done.status, done.stdout) == ("", 0, "")


def test_a_call_that_came_later_does_not_exist() -> None:
    checks = [f"if (syscall({n}, 0, 0) != -1 || errno != ENOSYS) return 1;" for n in LATER]
    done = attack("\n".join(checks) + "return 0;")
    assert (done.fault, done.status) == ("", 0)


def test_a_namespace_cannot_be_had_by_clone() -> None:
    done = attack("""
        for (int bit = 0; bit < 32; bit++) {
            unsigned long flags = (1UL << bit) & 0x7e020000;
            if (flags && syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0) != -1) return 1;
        }
        return 0;
    """)
    assert (done.fault, done.status) == ("", 0)
