"""Which compiler a request means, and whether a wrapper will call zcc in its turn."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zcc.agent.launchers.compiler_name import has_other_mode, is_wrapper, will_return, with_default
from zcc.agent.launchers.wire import Environment, Request


def request(*argv: str, **environment: str) -> Request:
    return Request(
        argv=tuple(map(os.fsencode, argv)),
        executable=b"/x/ccache",
        cwd=b"/",
        environment=Environment((os.fsencode(n), os.fsencode(v)) for n, v in environment.items()),
        umask=0o022,
        terminal=None,
        stdin_is_terminal=False,
        is_cxx=False,
        use_default=False,
    )


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Links of ccache, links of zcc, and a real compiler, each in a directory of its own."""
    for name, program in (("ccache", "ccache"), ("zcc", "zcc++"), ("real", "gcc")):
        (tmp_path / name).mkdir()
        (tmp_path / name / program).write_text("#!/bin/sh\n")
        (tmp_path / name / program).chmod(0o755)
        if program != "gcc":
            (tmp_path / name / "gcc").symlink_to(program)
    return tmp_path


def path_of(places: Path, *names: str) -> str:
    return ":".join(str(places / name) for name in names)


def test_a_link_to_ccache_is_a_wrapper_and_a_compiler_is_none(places: Path) -> None:
    assert is_wrapper(os.fsencode(places / "ccache" / "gcc"))
    assert is_wrapper(os.fsencode(places / "zcc" / "gcc"))
    assert not is_wrapper(os.fsencode(places / "real" / "gcc"))


@pytest.mark.parametrize("prefix", ["zcc", "/opt/bin/zcc", "nice zcc"])
def test_ccache_calls_zcc_as_its_prefix(prefix: str) -> None:
    assert will_return(request("ccache", "gcc", "-c", CCACHE_PREFIX=prefix, PATH="/nowhere"))
    assert not will_return(request("ccache", "gcc", "-c", CCACHE_PREFIX="nice", PATH="/nowhere"))


@pytest.mark.parametrize("argv", [("gcc", "-c"), ("ccache", "gcc", "-c"), ("/x/gcc", "-c")])
def test_ccache_calls_zcc_where_that_is_the_next_compiler_on_path(
    places: Path, argv: tuple[str, ...]
) -> None:
    for names, returns in (
        (("ccache", "zcc", "real"), True),
        (("zcc", "ccache", "real"), True),
        (("ccache", "real", "zcc"), False),
        (("ccache",), False),
    ):
        assert will_return(request(*argv, PATH=path_of(places, *names))) == returns


def test_the_default_compiler_is_never_a_link_to_zcc(places: Path) -> None:
    asked = request("", "-c", "x.c", PATH=path_of(places, "real"))
    named = with_default(asked, b"gcc")
    assert (named.argv[0], named.executable) == (b"gcc", os.fsencode(places / "real" / "gcc"))
    behind = with_default(request("", "-c", PATH=path_of(places, "zcc", "real")), b"gcc")
    assert behind.executable == asked.executable  # the launcher's own find stands


@pytest.mark.parametrize(
    ("name", "is_other"),
    [
        ("clang-cl", True),
        ("/usr/bin/clang-cl-22", True),
        ("clang-cl16.0", True),
        ("x86_64-pc-windows-clang-cl.exe", True),
        ("clang-cpp-14", True),
        ("clang", False),
        ("clang++-22", False),
        ("/opt/cl/bin/clang-16", False),
        ("aarch64-linux-gnu-clang", False),
    ],
)
def test_a_name_may_say_that_clang_is_another_driver(name: str, is_other: bool) -> None:
    assert has_other_mode(request(name, "-c", "x.c")) == is_other
