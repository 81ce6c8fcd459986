"""Calls into the kernel that no compiler makes fail in the way that makes programs do without."""

from __future__ import annotations

from tests.attacks.job import attack

# name, arguments, errno
CALLS = """
io_uring_setup 1,0 ENOSYS
bpf 0,0,0 ENOSYS
userfaultfd 0 ENOSYS
perf_event_open 0,0,-1,-1,0 ENOSYS
keyctl 0,0 ENOSYS
add_key 0,0,0,0,0 ENOSYS
ptrace 0,0,0,0 ENOSYS
process_vm_readv 1,0,0,0,0,0 ENOSYS
process_vm_writev 1,0,0,0,0,0 ENOSYS
pidfd_getfd 0,0,0 ENOSYS
unshare 0x10000000 ENOSYS
setns 0,0 ENOSYS
clone3 0,0 ENOSYS
mount 0,0,0,0,0 ENOSYS
umount2 "/proc",2 ENOSYS
fsopen "tmpfs",0 ENOSYS
fsmount 0,0,0 ENOSYS
fspick 0,"/",0 ENOSYS
open_tree 0,"/",1 ENOSYS
move_mount 0,"/",0,"/",0 ENOSYS
mount_setattr 0,"/",0,0,0 ENOSYS
pivot_root ".","." ENOSYS
chroot "/" ENOSYS
quotactl 0,0,0,0 ENOSYS
name_to_handle_at 0,"/",0,0,0 ENOSYS
open_by_handle_at 0,0,0 ENOSYS
memfd_secret 0 ENOSYS
io_setup 1,0 ENOSYS
personality 0x40000 ENOSYS
fallocate 1,1,0,4096 EOPNOTSUPP
setsid 0 EPERM
setpgid 0,0 EPERM
seccomp 1,0,0 ENOSYS
prctl 22,2,0 EINVAL
landlock_create_ruleset 0,0,1 ENOSYS
splice 0,0,1,0,1,0 ENOSYS
sync 0 ENOSYS
mlockall 1 ENOSYS
sched_setscheduler 0,0,0 ENOSYS
set_mempolicy 0,0,0 ENOSYS
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
