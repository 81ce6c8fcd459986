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
#ifdef __aarch64__
    O_DIRECTORY_ = 040000,
#else
    O_DIRECTORY_ = 0200000,
#endif
};

enum { NOENT = 2, ACCES = 13, EXIST = 17, NOTDIR = 20, ISDIR = 21, INVAL = 22, NOSYS = 38 };

enum { SEEK_END_ = 2, PROT_READ_WRITE = 3, MAP_SHARED_ = 1 };

/* Of ELF: program headers, dynamic tags, symbol types, and the bit of a version that is not the default one. */
enum { SEGMENT_DYNAMIC = 2 };
enum {
    TAG_HASH = 4,
    TAG_STRTAB = 5,
    TAG_SYMTAB = 6,
    TAG_GNU_HASH = 0x6ffffef5,
    TAG_VERSYM = 0x6ffffff0,
};
enum { TYPE_MASK = 15, TYPE_FUNCTION = 2, TYPE_RESOLVER = 10, VERSION_HIDDEN = 0x8000 };
