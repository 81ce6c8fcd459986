"""ccache in front of zcc, of two ages: each build against the same one with ccache alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.callers import COMPILES, Outcome, Site, assert_equal, files_of, need
from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_callers import masquerade
from tests.support.network_farm import wait_until
from zcc.agent.launchers import control

MAKEFILE = """
FLAGS = -g -O2 -Wall -MD
words: main.o words.o
\t$(CXX) -o $@ $^
%.o: %.c
\t$(CC) $(FLAGS) -c -o $@ $<
%.o: %.cc
\t$(CXX) $(FLAGS) -c -o $@ $<
"""
MODES = {
    "direct": {},
    "preprocessor": {"CCACHE_NODIRECT": "1"},
    "depend": {"CCACHE_DEPEND": "1"},
    "one-cpp": {"CCACHE_NOCPP2": "1"},  # up to 4.11 a compile of preprocessed text
}


@pytest.fixture(params=["of the system", "of PyPI"])
def ccache(request: pytest.FixtureRequest) -> str:
    """The program: Debian 12 has 4.7, and PyPI 4.14 or newer."""
    path = BIN / "ccache" if request.param == "of PyPI" else Path("/usr/bin/ccache")
    return needs(str(path))


class Cached:
    """Builds through ccache in one place, each kind of build with a cache of its own."""

    def __init__(self, site: Site, ccache: str, mode: str = "direct") -> None:
        self._site = site
        self._ccache = ccache
        self._settings = MODES[mode]

    def plain(self, line: str, **variables: str) -> Outcome:
        return self._site.plain(line, **self._variables("plain"), **variables)

    def distributed(self, line: str, **variables: str) -> Outcome:
        own = self._variables("farm")
        return self._site.distributed(line, strict=True, **own, **variables)

    def counted(self, kind: str) -> dict[str, int]:
        """ccache's own counters of one kind of build."""
        done = subprocess.run(
            [self._ccache, "--print-stats"],
            env={**os.environ, **self._variables(kind)},
            check=True,
            capture_output=True,
            text=True,
        )
        return {name: int(value) for name, value in map(str.split, done.stdout.splitlines())}

    def hits(self, kind: str) -> int:
        counted = self.counted(kind)
        return counted["direct_cache_hit"] + counted["preprocessed_cache_hit"]

    def _variables(self, kind: str) -> dict[str, str]:
        place = self._site.directory.parent / f"ccache-{kind}"
        return {
            "CCACHE_DIR": str(place),
            "CCACHE_CONFIGPATH": str(place / "none"),
            **self._settings,
        }


@pytest.fixture
def site(farm: Farm, tmp_path: Path) -> Site:
    return Site(farm, tmp_path / "project", {"Makefile": MAKEFILE})


# ---- zcc as the prefix ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_what_ccache_misses_is_compiled_by_the_farm(
    site: Site, ccache: str, family: str, mode: str
) -> None:
    """And what ccache has stored of it serves the next build: objects, dependencies and messages."""
    need("make")
    cached = Cached(site, ccache, mode)
    cxx = {"gcc": "g++", "clang": "clang++"}[family]
    line = f"make -j2 CC='{ccache} {family}' CXX='{ccache} {cxx}'"
    plain, distributed = cached.plain(line), cached.distributed(line, CCACHE_PREFIX="zcc")
    assert_equal(plain, distributed)
    assert b"unused" in distributed.said
    assert distributed.remote + distributed.hits == COMPILES
    calls = site.farm.stats()["calls"]
    again = cached.distributed(line, CCACHE_PREFIX="zcc")
    assert_equal(plain, again)
    assert cached.hits("farm") == COMPILES
    assert site.farm.stats()["calls"] == calls + 1  # the link


def test_a_header_that_changes_is_noticed_in_depend_mode(site: Site, ccache: str) -> None:
    """There ccache knows the headers from the dependency file alone, which a node has written."""
    cached = Cached(site, ccache, "depend")
    site.extra["a.c"] = '#include "a.h"\nint a = A;\n'
    objects = set()
    for value in ("1", "2", "2"):
        site.extra["a.h"] = f"#define A {value}\n"
        cached.distributed(f"{ccache} gcc -MD -c a.c", CCACHE_PREFIX="zcc")
        objects.add((site.directory / "a.o").read_bytes())
        assert {"a.o:", "a.c", "a.h"} < {*(site.directory / "a.d").read_text().split()}
    assert len(objects) == 2
    assert cached.hits("farm") == 1


def test_two_files_of_one_base_name_are_told_apart(site: Site, ccache: str) -> None:
    """ccache up to 4.11 may pass preprocessed text under a name that it makes up each time."""
    site.extra |= {"one/a.c": "int one;\n", "two/a.c": "int two;\n"}
    line = "; ".join(f"{ccache} gcc -g -c {name}/a.c -o {name}/a.o" for name in ("one", "two"))
    for mode in ("direct", "one-cpp"):
        cached = Cached(site, ccache, mode)
        assert_equal(cached.plain(line), cached.distributed(line, CCACHE_PREFIX="zcc"))


# ---- statuses and words --------------------------------------------------------------------------


def statement(site: Site, ccache: str, *arguments: str, **variables: str) -> tuple[int, bytes]:
    """Exit status and words of one compile through ccache and zcc."""
    done = site.farm.run(
        *(ccache, *arguments),
        cwd=site.directory,
        strict=False,
        CCACHE_DIR=str(site.directory.parent / "ccache-one"),
        CCACHE_PREFIX="zcc",
        **variables,
    )
    assert done.stdout == b""
    return done.returncode, done.stderr


def alone(site: Site, ccache: str, *arguments: str) -> tuple[int, bytes]:
    environment = {**os.environ, "CCACHE_DIR": str(site.directory.parent / "ccache-alone")}
    done = subprocess.run(
        [ccache, *arguments],
        cwd=site.directory,
        env=environment,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stderr


def write(site: Site, name: str, text: str) -> None:
    site.directory.mkdir(exist_ok=True)
    (site.directory / name).write_text(text)


def test_an_error_is_told_once_with_its_status(site: Site, ccache: str, family: str) -> None:
    write(site, "bad.c", "int f(void) { return undeclared; }\n")
    expected = alone(site, ccache, family, "-c", "bad.c")
    assert expected[0] == 1
    assert statement(site, ccache, family, "-c", "bad.c") == expected
    assert not (site.directory / "bad.o").exists()


def test_a_compiler_that_a_signal_ends_is_ended_so_for_ccache(site: Site, ccache: str) -> None:
    """Behind a script, which runs here: what ends the compiler must end zcc."""
    write(site, "a.c", "int a;\n")
    write(site, "gcc", '#!/bin/sh\ncase "$*" in *-E*) exec gcc "$@";; esac; kill -KILL $$\n')
    (site.directory / "gcc").chmod(0o755)
    expected = alone(site, ccache, "./gcc", "-c", "a.c")
    assert expected[0] != 0
    assert statement(site, ccache, "./gcc", "-c", "a.c") == expected


def test_zccs_own_words_reach_the_user_and_not_the_cache(site: Site, ccache: str) -> None:
    """Strict mode has something to say, on the descriptor that ccache keeps open for that."""
    write(
        site, "a.c", '#include <stdio.h>\n#pragma GCC dependency "a.c"\nint f(int u) { int v; }\n'
    )
    arguments = ("gcc", "-Wall", "-c", "a.c")
    status, said = statement(site, ccache, *arguments, ZCC_FALLBACK="never")
    assert status == 1
    assert b"zcc: " in said
    expected = alone(site, ccache, *arguments)
    for _ in range(2):  # compiled, and from ccache
        (site.directory / "a.o").unlink(missing_ok=True)
        assert statement(site, ccache, *arguments) == expected


def test_an_agent_that_a_prefix_starts_has_nothing_of_ccaches(
    site: Site, ccache: str, tmp_path: Path
) -> None:
    """UNCACHED_ERR_FD above all: ccache's caller would wait for the end of its stderr for ever."""
    write(site, "a.c", "int a;\n")
    path = str(tmp_path / "state" / "agent.sock")
    own = {"ZCC_STATE_DIR": str(tmp_path / "state"), "ZCC_SOCKET": path}
    try:
        # A pipe: run() comes back when nobody holds its other end any more.
        assert statement(site, ccache, "gcc", "-c", "a.c", **own) == (0, b"")
        status = control.ask(path, {"op": "status"})
        assert status is not None
        process = Path(f"/proc/{status['pid']}")
        names = {
            line.partition(b"=")[0] for line in (process / "environ").read_bytes().split(b"\0")
        }
        assert not {name for name in names if b"CCACHE" in name}
        assert not [target for target in files_of(process) if "ccache" in target]
    finally:
        control.ask(path, {"op": "stop"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ending_ccache_cancels_the_job(site: Site, ccache: str, number: signal.Signals) -> None:
    """SIGTERM is passed on by ccache, SIGINT comes to both from the terminal."""
    line = 'bool r{0}(const char *t) {{ return std::regex_match(t, std::regex("{0}")); }}\n'
    write(site, "slow.cc", "#include <regex>\n" + "".join(map(line.format, range(9))))
    environment = {
        **site.farm.local.environment,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "CCACHE_DIR": str(site.directory.parent / "ccache-one"),
        "CCACHE_DEPEND": "1",  # nothing is preprocessed first
        "CCACHE_PREFIX": "zcc",
    }
    command = [ccache, "g++", "-O3", "-g", "-MD", "-c", "slow.cc"]
    # Whoever runs the tests in the background has SIGINT ignored, and so would they.
    command = ["env", "--default-signal=INT", *command]
    build = subprocess.Popen(command, cwd=site.directory, env=environment, start_new_session=True)
    wait_until(lambda: running(site) > 0, "the job to run on a node")
    signalled = os.kill if number == signal.SIGTERM else os.killpg
    signalled(build.pid, number)
    assert build.wait(20) != 0
    wait_until(lambda: running(site) == 0, "the node to have dropped the job", timeout_s=10)
    assert [each.name for each in site.directory.iterdir()] == ["slow.cc"]


def running(site: Site) -> int:
    listed = control.ask(site.farm.local.environment["ZCC_SOCKET"], {"op": "nodes"})
    assert listed is not None
    return sum(row["running"] for row in listed["nodes"])


# ---- masquerades ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "zcc"])
@pytest.mark.parametrize("order", ["ccache first", "zcc first"])
def test_two_masquerades_find_the_compiler_behind_both(
    site: Site, ccache: str, tmp_path: Path, order: str, prefix: str
) -> None:
    """Each looks on PATH for the compiler behind itself, where the other one is."""
    masquerade(tmp_path / "zcc-links", "gcc", "g++")
    ccaches = tmp_path / "ccache-links"
    ccaches.mkdir()
    for name in ("gcc", "g++"):
        (ccaches / name).symlink_to(ccache)
    links = [str(ccaches), str(tmp_path / "zcc-links")]
    if order == "zcc first":
        links.reverse()
    path = ":".join([*links, str(BIN), os.environ["PATH"]])
    cached = Cached(site, ccache)
    line = "make -j2 CC=gcc CXX=g++"
    plain = cached.plain(f"PATH={ccaches}:$PATH; {line}")
    distributed = cached.distributed(line, CCACHE_PREFIX=prefix, PATH=path)
    assert_equal(plain, distributed)
    assert distributed.remote + distributed.hits == COMPILES
    again = cached.distributed(line, CCACHE_PREFIX=prefix, PATH=path)
    assert_equal(plain, again)
    assert cached.hits("farm") == COMPILES


def test_zcc_in_front_of_a_ccache_that_will_not_call_it_says_what_to_do(
    site: Site, ccache: str
) -> None:
    write(site, "a.c", "int a;\n")
    (site.directory / "ccache").symlink_to(ccache)
    own = {"CCACHE_DIR": str(site.directory.parent / "ccache-one"), "CCACHE_PREFIX": ""}
    command = (str(BIN / "zcc"), "./ccache", "gcc", "-c", "a.c")
    done = site.farm.run(*command, cwd=site.directory, strict=True, **own)
    assert done.returncode == 1
    assert b"CCACHE_PREFIX=zcc" in done.stderr
    assert site.farm.run(*command, cwd=site.directory, strict=False, **own).returncode == 0
    before = site.farm.stats()["outcomes"]["remote"]
    (site.directory / "a.c").write_text("int b;\n")
    own["CCACHE_PREFIX"] = shutil.which("zcc", path=str(BIN)) or ""
    assert site.farm.run(*command, cwd=site.directory, strict=True, **own).returncode == 0
    assert site.farm.stats()["outcomes"]["remote"] == before + 1
