"""A small foreign toolchain: a compiler that copies its source, or does what its first argument says.

An uploaded toolchain is foreign code, so this is one. Packed in the format of zcc/compiler/toolchain/pack.py,
and 2 MB where a real one has 80: a farm has it in a moment, and a job takes some milliseconds.
"""

from __future__ import annotations

import os
import stat
import subprocess

from cache.digest import Digest
from tests.support.sandbox_toolchain import make_small_toolchain
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.signatures import signature_of
from zcc.compiler.toolchain.index import Gathered, Identity, Member, MemberKind
from zcc.compiler.toolchain.pack import pack

PLACE = b"/mnt/cc"
# A library of the toolchain's own, which the compiler needs and takes nothing from.
LIBRARY = b"/mnt/libpart.so"
_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void copy(const char *from, const char *to) {
    char data[65536];
    ssize_t size = 0;
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    while (in >= 0 && out >= 0 && (size = read(in, data, sizeof data)) > 0)
        if (write(out, data, size) != size) exit(3);
    if (in < 0 || out < 0) exit(2);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    const char *source = 0, *output = 0;
    for (int at = 1; at < argc; at++) {
        if (!strcmp(argv[at], "-c") && at + 1 < argc) source = argv[at + 1];
        if (!strcmp(argv[at], "-o") && at + 1 < argc) output = argv[at + 1];
    }
    if (!strcmp(mode, "fill-log")) {
        char path[64];
        for (int at = 0; at < 600000; at++) {
            snprintf(path, sizeof path, "/%x/%x/some/where/that/is/not", at % 997, at);
            access(path, F_OK);
        }
    } else if (!strcmp(mode, "short-log")) {
        /* More different paths than are looked at. */
        char path[16];
        for (int at = 0; at < 400000; at++) {
            snprintf(path, sizeof path, "/%x", at);
            access(path, F_OK);
        }
    } else if (!strcmp(mode, "follow")) {
        char path[32];
        for (int at = 0; at < 200000; at++) {
            snprintf(path, sizeof path, "/l0/%x/..", at);
            access(path, F_OK);
        }
    } else if (!strcmp(mode, "say")) {
        char noise[65536];
        int from = open("/dev/urandom", O_RDONLY);
        for (int at = 0; at < 63; at++) {
            if (read(from, noise, sizeof noise) != sizeof noise) return 4;
            if (write(1, noise, sizeof noise) < 0 || write(2, noise, sizeof noise) < 0) return 4;
        }
    } else if (!strcmp(mode, "deep")) {
        for (int at = 0; at < 3000; at++)
            if (mkdir("d", 0700) || chdir("d")) break;
    } else if (!strcmp(mode, "outputs")) {
        /* Each large enough to be begun in turn. */
        char noise[1 << 20], path[32];
        int from = open("/dev/urandom", O_RDONLY);
        for (int at = 0; at < 256; at++) {
            snprintf(path, sizeof path, "o%d", at);
            if (read(from, noise, sizeof noise) < 0) return 4;
            int out = open(path, O_WRONLY | O_CREAT, 0666);
            if (write(out, noise, 300000) < 0) return 4;
            close(out);
        }
    }
    if (source && output) copy(source, output);
    return 0;
}
"""


def build(directory: str) -> tuple[Digest, str]:
    """Make the toolchain, for an enclosure only: its digest, and the frame that is its pack."""
    place = os.path.dirname(os.fsdecode(PLACE))
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    source, root = os.path.join(directory, "cc.c"), os.path.join(directory, "root")
    with open(source, "w") as file:
        file.write(_SOURCE)
    program = os.fsdecode(PLACE)
    library = os.fsdecode(LIBRARY)
    subprocess.run(["cc", "-shared", "-x", "c", os.devnull, "-o", library], check=True)
    linked = ["-Wl,--no-as-needed", f"-Wl,-rpath,{place}", library]
    subprocess.run(["cc", "-O1", "-w", source, *linked, "-o", program], check=True)
    os.makedirs(root)
    make_small_toolchain(root, program, program)
    frame = os.path.join(directory, "toolchain.zst")
    packed = pack(gathered(root, PLACE), frame)
    return packed.digest, frame


def gathered(root: str, program: bytes) -> Gathered:
    """What `make_small_toolchain` has copied below the root, as a toolchain whose compiler is that program."""
    members = tuple(_member(path) for path in sorted(_paths(root)))
    identity = Identity(Family.GCC, "attack 1.0", "none")
    return Gathered(identity, members, (), (), {"c": program})


def _paths(root: str) -> list[str]:
    """What was copied below the root, by the paths that it was copied from."""
    found = []
    for above, directories, files in os.walk(root):
        found += [os.path.join(above, name)[len(root) :] for name in (*directories, *files)]
    return found


def _member(path: str) -> Member:
    status = os.lstat(path)
    name = os.fsencode(path)
    if stat.S_ISLNK(status.st_mode):
        return Member(name, MemberKind.SYMLINK, target=os.fsencode(os.readlink(path)))
    if stat.S_ISDIR(status.st_mode):
        return Member(name, MemberKind.DIRECTORY)
    return Member(name, MemberKind.FILE, signature_of(status), bool(status.st_mode & 0o100))
