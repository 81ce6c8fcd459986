"""What a compile's output can depend on beyond its inputs: the processor.

clang folds calls of the mathematical library with the host's own libm, and glibc's libm picks its code by
the processor's features (x86-64: `sysdeps/x86_64/fpu/multiarch` selects on FMA, FMA4 and AVX2). Two machines of
one floating-point class fold alike. gcc computes with MPFR and does not depend on the machine.

Under `-march=native` both compilers ask the processor itself. Two machines of one processor class get the same
answers, so they also fold alike.

And a toolchain's programs run on machines of their own architecture alone.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from cache.digest import digest_of
from zcc.installation import program_beside

_FEATURES = ("avx2", "fma", "fma4")
# What `setarch linux32` has uname(2) say of a 64-bit machine.
_IN_32_BITS = {"i686": "x86_64", "armv8l": "aarch64"}


@functools.cache
def architecture() -> bytes:
    """This machine's, as uname(2) has it: `x86_64`, `aarch64`."""
    machine = os.uname().machine
    is_64_bit = sys.maxsize >> 32
    return (_IN_32_BITS.get(machine, machine) if is_64_bit else machine).encode()


@functools.cache
def floating_point_class() -> bytes:
    """This machine's class, such as `x86_64+avx2+fma`."""
    machine = architecture().decode()
    present = sorted(_cpu_flags() & set(_FEATURES)) if machine == "x86_64" else []
    return "+".join([machine, *present]).encode()


@functools.cache
def processor_class() -> bytes:
    """The class of this machine's processor; empty where it cannot be told, or where cores differ."""
    launcher = program_beside("zcc")
    if launcher is None:
        return b""
    # The launcher under another name (launcher/processor.c).
    done = subprocess.run(
        ["zcc-processor"],
        executable=launcher,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        return b""
    return b"processor-" + digest_of(done.stdout).hex().encode()


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("flags"):
                    return set(line.partition(":")[2].split())
    except OSError:
        pass
    return set()
