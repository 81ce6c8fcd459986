"""What clang's output depends on beyond its inputs: how this processor computes sin() and exp().

clang folds calls of the mathematical library with the host's own libm, and glibc's libm picks its code by
the processor's features (x86-64: `sysdeps/x86_64/fpu/multiarch` selects on FMA, FMA4 and AVX2). Two machines of
one class fold alike. gcc computes with MPFR and does not depend on the machine.
"""

from __future__ import annotations

import functools
import os

_FEATURES = ("avx2", "fma", "fma4")


@functools.cache
def floating_point_class() -> bytes:
    """This machine's class, such as `x86_64+avx2+fma`."""
    machine = os.uname().machine
    present = sorted(_cpu_flags() & set(_FEATURES)) if machine == "x86_64" else []
    return "+".join([machine, *present]).encode()


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("flags"):
                    return set(line.partition(":")[2].split())
    except OSError:
        pass
    return set()
