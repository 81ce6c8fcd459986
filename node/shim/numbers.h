/* The kernel's, the C library's and ELF's constants that are used here, since no header of theirs is: one build
 * serves every libc. tests/unit/test_shim_numbers.py holds each against the real headers. */
#pragma once

/* The same on x86-64 and aarch64, glibc and musl, except where noted. */
enum {
    FD_CWD = -100,
    O_WRONLY_ = 1,
    O_RDWR_ = 2,
    O_ACCMODE_ = 3,
    O_CREAT_ = 0100,
    O_TRUNC_ = 01000,
    O_CLOEXEC_ = 02000000,
    O_TMPFILE_ = 020000000,
};

enum { EMPTY_PATH = 0x1000, NO_FOLLOW = 0x100 };

enum { NOENT = 2, NOEXEC = 8, ACCES = 13, FAULT = 14, EXIST = 17, NOTDIR = 20, ISDIR = 21, INVAL = 22, NOSYS = 38 };

enum { SEEK_END_ = 2, PROT_READ_WRITE = 3, MAP_SHARED_ = 1 };

/* Of ELF: program headers, dynamic tags, symbol types, and the bit of a version that is not the default one. */
enum { SEGMENT_LOAD = 1, SEGMENT_DYNAMIC = 2, SEGMENT_EXECUTABLE = 1 };
enum {
    TAG_HASH = 4,
    TAG_STRTAB = 5,
    TAG_SYMTAB = 6,
    TAG_GNU_HASH = 0x6ffffef5,
    TAG_VERSYM = 0x6ffffff0,
};
enum { TYPE_MASK = 15, TYPE_FUNCTION = 2, TYPE_RESOLVER = 10, VERSION_HIDDEN = 0x8000 };

/* clang-format off: a table
 *
 * System calls that say nothing about files but what an open descriptor shows, leave signals and threads alone, and
 * so can be made from within a handler. */
#ifdef __aarch64__
enum {
    CALL_READ = 63,
    CALL_WRITE = 64,
    CALL_CLOSE = 57,
    CALL_FSTAT = 80,
    CALL_LSEEK = 62,
    CALL_MMAP = 222,
    CALL_MPROTECT = 226,
    CALL_MUNMAP = 215,
    CALL_BRK = 214,
    CALL_PREAD64 = 67,
    CALL_PWRITE64 = 68,
    CALL_READV = 65,
    CALL_WRITEV = 66,
    CALL_SCHED_YIELD = 124,
    CALL_MREMAP = 216,
    CALL_MINCORE = 232,
    CALL_MADVISE = 233,
    CALL_NANOSLEEP = 101,
    CALL_GETPID = 172,
    CALL_EXIT = 93,
    CALL_UNAME = 160,
    CALL_GETTIMEOFDAY = 169,
    CALL_GETRLIMIT = 163,
    CALL_GETRUSAGE = 165,
    CALL_SYSINFO = 179,
    CALL_TIMES = 153,
    CALL_GETUID = 174,
    CALL_GETGID = 176,
    CALL_GETEUID = 175,
    CALL_GETEGID = 177,
    CALL_GETPPID = 173,
    CALL_GETTID = 178,
    CALL_FUTEX = 98,
    CALL_SCHED_SETAFFINITY = 122,
    CALL_SCHED_GETAFFINITY = 123,
    CALL_CLOCK_GETTIME = 113,
    CALL_CLOCK_GETRES = 114,
    CALL_CLOCK_NANOSLEEP = 115,
    CALL_EXIT_GROUP = 94,
    CALL_TGKILL = 131,
    CALL_MBIND = 235,
    CALL_SET_MEMPOLICY = 237,
    CALL_GET_MEMPOLICY = 236,
    CALL_PRLIMIT64 = 261,
    CALL_GETCPU = 168,
    CALL_GETRANDOM = 278,
    CALL_MEMFD_CREATE = 279,
    CALL_MEMBARRIER = 283,
};
#else
enum {
    CALL_READ = 0,
    CALL_WRITE = 1,
    CALL_CLOSE = 3,
    CALL_FSTAT = 5,
    CALL_LSEEK = 8,
    CALL_MMAP = 9,
    CALL_MPROTECT = 10,
    CALL_MUNMAP = 11,
    CALL_BRK = 12,
    CALL_PREAD64 = 17,
    CALL_PWRITE64 = 18,
    CALL_READV = 19,
    CALL_WRITEV = 20,
    CALL_SCHED_YIELD = 24,
    CALL_MREMAP = 25,
    CALL_MINCORE = 27,
    CALL_MADVISE = 28,
    CALL_NANOSLEEP = 35,
    CALL_GETPID = 39,
    CALL_EXIT = 60,
    CALL_UNAME = 63,
    CALL_GETTIMEOFDAY = 96,
    CALL_GETRLIMIT = 97,
    CALL_GETRUSAGE = 98,
    CALL_SYSINFO = 99,
    CALL_TIMES = 100,
    CALL_GETUID = 102,
    CALL_GETGID = 104,
    CALL_GETEUID = 107,
    CALL_GETEGID = 108,
    CALL_GETPPID = 110,
    CALL_GETTID = 186,
    CALL_FUTEX = 202,
    CALL_SCHED_SETAFFINITY = 203,
    CALL_SCHED_GETAFFINITY = 204,
    CALL_CLOCK_GETTIME = 228,
    CALL_CLOCK_GETRES = 229,
    CALL_CLOCK_NANOSLEEP = 230,
    CALL_EXIT_GROUP = 231,
    CALL_TGKILL = 234,
    CALL_MBIND = 237,
    CALL_SET_MEMPOLICY = 238,
    CALL_GET_MEMPOLICY = 239,
    CALL_PRLIMIT64 = 302,
    CALL_GETCPU = 309,
    CALL_GETRANDOM = 318,
    CALL_MEMFD_CREATE = 319,
    CALL_MEMBARRIER = 324,
};
#endif

/* Calls that look up a path, as allocators make them which open and readlink would call back. */
#ifdef __aarch64__
enum {
    CALL_OPENAT = 56,
    CALL_NEWFSTATAT = 79,
    CALL_READLINKAT = 78,
    CALL_FACCESSAT = 48,
    CALL_STATX = 291,
    CALL_FACCESSAT2 = 439,
};
#else
enum {
    CALL_OPEN = 2,
    CALL_STAT = 4,
    CALL_LSTAT = 6,
    CALL_ACCESS = 21,
    CALL_READLINK = 89,
    CALL_OPENAT = 257,
    CALL_NEWFSTATAT = 262,
    CALL_READLINKAT = 267,
    CALL_FACCESSAT = 269,
    CALL_STATX = 332,
    CALL_FACCESSAT2 = 439,
};
#endif

#define HARMLESS_CALLS \
    CALL_READ, CALL_WRITE, CALL_CLOSE, CALL_FSTAT, CALL_LSEEK, CALL_MMAP, CALL_MPROTECT, CALL_MUNMAP, CALL_BRK, \
        CALL_PREAD64, CALL_PWRITE64, CALL_READV, CALL_WRITEV, CALL_SCHED_YIELD, CALL_MREMAP, CALL_MINCORE, \
        CALL_MADVISE, CALL_NANOSLEEP, CALL_GETPID, CALL_EXIT, CALL_UNAME, CALL_GETTIMEOFDAY, CALL_GETRLIMIT, \
        CALL_GETRUSAGE, CALL_SYSINFO, CALL_TIMES, CALL_GETUID, CALL_GETGID, CALL_GETEUID, CALL_GETEGID, CALL_GETPPID, \
        CALL_GETTID, CALL_FUTEX, CALL_SCHED_SETAFFINITY, CALL_SCHED_GETAFFINITY, CALL_CLOCK_GETTIME, \
        CALL_CLOCK_GETRES, CALL_CLOCK_NANOSLEEP, CALL_EXIT_GROUP, CALL_TGKILL, CALL_MBIND, CALL_SET_MEMPOLICY, \
        CALL_GET_MEMPOLICY, CALL_PRLIMIT64, CALL_GETCPU, CALL_GETRANDOM, CALL_MEMFD_CREATE, CALL_MEMBARRIER

/* clang-format on */

/* Syscall user dispatch, and what its signal brings. */
enum { SET_DISPATCH = 59, DISPATCH_OFF = 0, DISPATCH_ON = 1 };
enum { CODE_DISPATCH = 2 };
enum { SIGNAL_MASK_WORDS = 16, SIGNALS_BLOCK = 0, SIGNALS_UNBLOCK = 1 };
enum { SIGNAL_SYSTEM_CALL = 31, ACTION_INFO = 4, ACTION_ON_STACK = 0x08000000, ACTION_RESTART = 0x10000000 };
#ifdef __x86_64__
#define ARCHITECTURE_X86_64 0xc000003eu
enum { SYSCALL_BYTES = 2 }; /* of the instruction */
enum {
    REGISTER_R8 = 0,
    REGISTER_R9 = 1,
    REGISTER_R10 = 2,
    REGISTER_RDI = 8,
    REGISTER_RSI = 9,
    REGISTER_RDX = 12,
    REGISTER_RAX = 13,
    REGISTER_RIP = 16,
};
#endif
