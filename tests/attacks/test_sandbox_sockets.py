"""No family of sockets opens inside a sandbox: not the hypervisor's, and none of the kernel's own."""

from __future__ import annotations

from tests.attacks.job import attack


def test_no_family_opens() -> None:
    done = attack("""
        for (int family = 0; family < 64; family++)
            for (int type = 1; type < 11; type++)
                if (socket(family, type, 0) != -1 || errno != EAFNOSUPPORT)
                    printf("%d %d\\n", family, type);
        int pair[2];
        for (int family = 0; family < 64; family++)
            if (socketpair(family, SOCK_STREAM, 0, pair) != -1 || errno != EAFNOSUPPORT)
                printf("pair %d\\n", family);
        return 0;
    """)
    assert (done.fault, done.status, done.stdout) == ("", 0, "")


def test_the_other_abi_does_not_open_one_either() -> None:
    """x32's numbers, and the 32-bit way in, by which a filter for one ABI could be passed."""
    done = attack("""
        if (syscall(0x40000000 + 41, 40, 1, 0) != -1 || errno != ENOSYS) return 1;
    #ifdef __x86_64__
        if (!fork()) {
            int result = 359;  /* socket, for i386 */
            __asm__ volatile("int $0x80" : "+a"(result) : "b"(40), "c"(1), "d"(0));
            _exit(result >= 0 ? 2 : 3);
        }
        int status;
        wait(&status);
        return !WIFSIGNALED(status);
    #endif
        return 0;
    """)
    assert (done.fault, done.status) == ("", 0)
