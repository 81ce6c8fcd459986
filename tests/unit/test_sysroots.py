"""What goes along of a sysroot."""

from __future__ import annotations

from zcc.compiler.sysroots import HOLD_S, Places, Sysroots

TREE = {
    b"/s/lib": [b"x86_64-linux-gnu", b"firmware", b"ld.so"],
    b"/s/lib/x86_64-linux-gnu": [b"libc.so.6", b"12"],
    b"/s/usr/lib": [b"gcc", b"x86_64-linux-gnu"],
    b"/s/usr/lib/gcc": [b"x86_64-linux-gnu", b"notes"],
    b"/s/usr/lib/gcc/x86_64-linux-gnu": [b"11", b"12.2.0"],
}


def names(directory: bytes) -> list[bytes]:
    try:
        return TREE[directory]
    except KeyError:
        raise FileNotFoundError(directory) from None


def test_no_sysroot_is_no_question() -> None:
    assert Sysroots(names).places((), 0.0, is_clang=True) == Places()


def test_gcc_looks_for_directories_of_libraries() -> None:
    found = Sysroots(names).places((b"/s/",), 0.0, is_clang=False)
    assert {b"/s", b"/s/usr", b"/s/lib", b"/s/usr/lib64"} <= {*found.directories}
    assert {b"/s/lib/x86_64-linux-gnu", b"/s/lib/x86_64-linux-gnu/12"} <= {*found.directories}
    assert b"/s/lib/firmware" not in found.directories
    assert (found.listed, found.files) == ((), ())


def test_clang_looks_for_the_newest_gcc() -> None:
    found = Sysroots(names).places((b"/s",), 0.0, is_clang=True)
    triple = b"/s/usr/lib/gcc/x86_64-linux-gnu"
    assert {triple, b"/s/usr/include/c++"} <= {*found.listed}
    assert b"/s/usr/include" not in found.listed
    assert {triple + b"/11/crtbegin.o", triple + b"/12.2.0/32/crtbegin.o"} <= {*found.files}
    assert triple + b"/12.2.0/../../../../include/c++/12.2.0" in found.directories
    named = Sysroots(names).places((triple + b"/11",), 0.0, is_clang=True)
    assert triple + b"/11/crtbegin.o" in named.files


def test_clang_looks_for_the_newest_api_of_android() -> None:
    found = Sysroots(names).places((b"/s",), 0.0, is_clang=True, is_android=True)
    assert b"/s/usr/include" in found.listed


def test_what_was_found_is_believed_for_a_moment() -> None:
    asked = []

    def counted(directory: bytes) -> list[bytes]:
        asked.append(directory)
        return names(directory)

    sysroots = Sysroots(counted)
    first = sysroots.places((b"/s",), 0.0, is_clang=True)
    count = len(asked)
    assert sysroots.places((b"/s",), HOLD_S / 2, is_clang=True) is first
    assert len(asked) == count
    assert sysroots.places((b"/s",), 2 * HOLD_S, is_clang=True) == first
    assert len(asked) == 2 * count
