"""Which variables go with a job, which keep the compile here."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cache.digest import digest_of
from zcc.agent.analysis.locales import catalogues_of, locale_files
from zcc.compiler.commandline.arguments import Local
from zcc.compiler.commandline.environment import (
    TABLE,
    JobEnvironment,
    VariableUse,
    classify,
    library_directories,
    locale_names,
)
from zcc.compiler.disk.signatures import RACY_WINDOW_NS, Sightings


def taken(environment: dict[bytes, bytes], terminal: bool = False) -> JobEnvironment:
    answer = classify(environment, terminal)
    assert isinstance(answer, JobEnvironment), answer
    return answer


def test_variables_that_no_compiler_reads_are_dropped() -> None:
    answer = taken({b"HOME": b"/home/u", b"PWD": b"/p", b"TMPDIR": b"/t", b"SHLVL": b"2"})
    assert answer == JobEnvironment({}, {})


def test_values_are_bytes_and_stay_as_they_are() -> None:
    odd = b"\xff\xfe=\n'"
    assert taken({b"LC_ALL": odd, b"CPATH": odd}) == JobEnvironment(
        {b"LC_ALL": odd}, {b"CPATH": odd}
    )


def test_the_order_of_variables_does_not_matter() -> None:
    one = taken({b"LANG": b"C", b"GCC_COLORS": b""})
    other = taken({b"GCC_COLORS": b"", b"LANG": b"C"})
    assert list(one.carried) == list(other.carried)


def test_an_empty_search_path_is_not_an_absent_one() -> None:
    assert taken({b"CPATH": b""}).search == {b"CPATH": b""}


@pytest.mark.parametrize("name", [b"TERM", b"COLUMNS", b"COLORTERM"])
def test_the_terminal_counts_only_where_there_is_one(name: bytes) -> None:
    assert not taken({name: b"1"}).carried
    assert taken({name: b"1"}, terminal=True).carried == {name: b"1"}


@pytest.mark.parametrize(
    "name",
    [
        *(b"CCC_OVERRIDE_OPTIONS", b"LD_PRELOAD", b"LD_AUDIT", b"COMPILER_PATH"),
        *(b"SDKROOT", b"GCC_EXEC_PREFIX", b"DEPENDENCIES_OUTPUT", b"SUNPRO_DEPENDENCIES"),
        *(b"CC_PRINT_OPTIONS", b"CC_LOG_DIAGNOSTICS", b"GCC_COMPARE_DEBUG"),
    ],
)
def test_a_variable_that_does_more_keeps_the_compile_here(name: bytes) -> None:
    answer = classify({b"LANG": b"C", name: b"x"}, terminal=False)
    assert isinstance(answer, Local)
    assert answer.reason == "environment"
    assert answer.detail.startswith(name.decode())


def test_an_empty_library_path_is_harmless() -> None:
    assert taken({b"LD_LIBRARY_PATH": b"", b"LD_PRELOAD": b""}) == JobEnvironment({}, {})


def test_the_loaders_path_is_no_part_of_the_job() -> None:
    assert taken({b"LD_LIBRARY_PATH": b"/l"}) == JobEnvironment({}, {}, b"/l")


def test_gcc_asks_for_directories_beside_and_below_a_library_path() -> None:
    found = library_directories(b"/l:", "x86_64-linux-gnu", "gcc version 12.2.0 (Debian)")
    assert set(found) >= {b"/l", b"/l/../lib", b"/l/x86_64-linux-gnu", b"/l/x86_64-linux-gnu/12"}
    assert b"/l/x86_64-linux-gnu/12.2.0" in found
    assert b"./../lib64" in found  # an empty entry is the working directory


def test_gcc_compares_debug_even_when_the_variable_is_empty() -> None:
    assert isinstance(classify({b"GCC_COMPARE_DEBUG": b""}, terminal=False), Local)


def test_each_row_says_why_and_stands_once() -> None:
    assert all(row.why for row in TABLE)
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert {row.use for row in TABLE} == set(VariableUse)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ()),
        ({b"LANG": b"C", b"LC_ALL": b"POSIX"}, ()),
        ({b"LANG": b"de_DE.UTF-8"}, (b"de_DE.UTF-8",)),
        ({b"LANG": b"de_DE.UTF-8", b"LC_ALL": b"C"}, ()),
        ({b"LANG": b"de_DE.UTF-8", b"LC_ALL": b""}, (b"de_DE.UTF-8",)),
        ({b"LANG": b"de_DE", b"LC_CTYPE": b"C.UTF-8"}, (b"C.UTF-8", b"de_DE")),
        ({b"LANG": b"C", b"LC_TIME": b"fr_FR"}, (b"fr_FR",)),
        ({b"LANG": b"de_DE", b"LANGUAGE": b"fr:C:it"}, (b"de_DE", b"fr", b"it")),
        ({b"LANG": b"C", b"LANGUAGE": b"fr"}, ()),
        ({b"LANG": b"de_DE", b"LC_MESSAGES": b"C", b"LANGUAGE": b"fr"}, (b"de_DE",)),
    ],
)
def test_locales_are_found_as_libc_finds_them(
    environment: dict[bytes, bytes], names: tuple[bytes, ...]
) -> None:
    assert locale_names(environment) == names


def test_translations_lie_where_the_programs_say(tmp_path: Path) -> None:
    """A compiler that was built for another prefix than /usr has its own."""
    own = tmp_path / "own" / "gcc-data" / "13" / "locale"
    driver = tmp_path / "gcc"
    driver.write_bytes(b"\x7fELF\0" + os.fsencode(own) + b"\0/usr/share/locale\0")
    catalogue = own / "xx" / "LC_MESSAGES" / "gcc.mo"
    catalogue.parent.mkdir(parents=True)
    catalogue.touch()
    (catalogue.parent / "other.mo").touch()
    found = catalogues_of(digest_of(b""), (os.fsencode(driver), b"/none"))
    assert found == (os.fsencode(own), b"/usr/share/locale")
    assert locale_files([b"xx_YY.UTF-8"], found, Sightings()) == (os.fsencode(catalogue),)
    assert locale_files([b"C"], found, Sightings()) == ()


@pytest.mark.parametrize("name", ["xx", "xx/LC_MESSAGES", "xx/LC_MESSAGES/gcc.mo"])
def test_a_translation_that_comes_or_goes_ends_the_answer(tmp_path: Path, name: str) -> None:
    places = (os.fsencode(tmp_path / "locale"),)
    catalogue = tmp_path / "locale" / "xx" / "LC_MESSAGES" / "gcc.mo"
    catalogue.parent.mkdir(parents=True)
    catalogue.touch()
    moved = tmp_path / "locale" / name
    for there, here in ((moved, tmp_path / "away"), (tmp_path / "away", moved)):
        seen = Sightings(lambda: time.time_ns() + RACY_WINDOW_NS)
        before = locale_files([b"xx_YY.UTF-8"], places, seen)
        assert seen.hold()
        there.rename(here)
        assert locale_files([b"xx_YY.UTF-8"], places, Sightings()) != before
        assert not seen.hold()


@pytest.mark.parametrize(
    ("libraries", "harmless"),
    [
        (b"libsandbox.so", True),
        (b"/usr/lib/libfakeroot/libfakeroot-sysv.so", True),
        (b"libeatmydata.so:/usr/$LIB/nosync/nosync.so  libtcmalloc_minimal.so.4", True),
        (b"/usr/lib/arm-linux-gnueabihf/libarmmem-${PLATFORM}.so", True),
        (b"libfakeroot-sysv.so:/x/mine.so", False),
        (b"mylibsandbox.so", False),
        (b"libsandbox.so.mine", False),
    ],
)
def test_what_is_preloaded_counts_unless_it_is_known(libraries: bytes, harmless: bool) -> None:
    answer = classify({b"LD_PRELOAD": libraries}, terminal=False)
    assert isinstance(answer, JobEnvironment if harmless else Local)


@pytest.mark.parametrize(
    "name", [b"COMPILER_PATH", b"GNUTARGET", b"CCC_OVERRIDE_OPTIONS", b"LD_DEBUG_OUTPUT"]
)
def test_some_variables_count_even_when_they_are_empty(name: bytes) -> None:
    assert isinstance(classify({name: b""}, terminal=False), Local)
