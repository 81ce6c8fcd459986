"""How many local slots a command takes."""

from __future__ import annotations

import pytest

from zcc.agent.core.weight import slots_of

JOBSERVER = {b"MAKEFLAGS": b" -j8 --jobserver-auth=3,4"}
LIMIT = 8


@pytest.mark.parametrize(
    ("command", "slots"),
    [
        ("a.o -o a", 1),
        ("-flto=auto a.o -o a", LIMIT),
        ("-flto=jobserver a.o -o a", LIMIT),
        ("-flto=thin a.o -o a", LIMIT),
        ("-flto a.o -o a", 1),
        ("-flto=3 a.o -o a", 3),
        ("-flto=64 a.o -o a", LIMIT),
        ("-flto=0 a.o -o a", 1),
        ("-flto=auto -c a.c", 1),
        ("-flto=auto -fno-lto a.o", 1),
        ("-fno-lto -flto=auto a.o", LIMIT),
        ("-flto=auto -flto=2 a.o", 2),
        ("-flto=auto -flto-partition=none a.o", 1),
        ("-flto=auto -shared a.o -o a.so", LIMIT),
        ("-flto=auto a.c b.c -o a", LIMIT),
        ("-fuse-ld=lld a.o -o a", 1),
        ("-fuse-ld=mold a.o -o a", 1),
        ("-fuse-ld=lld -Wl,--threads=4 a.o", 4),
        ("-fuse-ld=mold -Wl,--thread-count=5 a.o", 5),
        ("-Wl,-O1,--threads=4,-z,now a.o", 4),
        ("-fuse-ld=lld -Wl,--thinlto-jobs=6 a.o", 6),
        ("-flto -Wl,-plugin-opt,jobs=2 a.o", 2),
        ("-flto -Wl,-plugin-opt=jobs=2 a.o", 2),
        ("-flto-jobs=2 a.o", 2),
        ("-Wl,--no-threads a.o", 1),
    ],
)
def test_a_link_takes_what_it_uses(command: str, slots: int) -> None:
    assert slots_of(command.encode().split(), {}, LIMIT) == slots


def test_a_plain_lto_link_takes_what_a_jobserver_lends() -> None:
    assert slots_of([b"-flto", b"a.o"], JOBSERVER, LIMIT) == LIMIT
    assert slots_of([b"a.o"], JOBSERVER, LIMIT) == 1
