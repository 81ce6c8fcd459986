"""The option table: its form, its look-up, and that it knows what the real compilers know."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

import pytest

from zcc.compiler.commandline.tables import (
    ASSEMBLER,
    DRIVER,
    FRONTEND,
    PREPROCESSOR,
    TABLE,
    Family,
    Lookup,
    Option,
    Role,
    Spelling,
    Use,
    looks_like_files,
    names_file,
)


@pytest.mark.parametrize("table", [TABLE, PREPROCESSOR, ASSEMBLER, FRONTEND])
def test_no_option_stands_twice_for_one_family(table: tuple[Option, ...]) -> None:
    spelled = Counter(
        (row.name, form, family)
        for row in table
        for form in row.spelling
        for family in row.families
        if len(row.families) == 1 or not _has_own_row(table, row.name, family)
    )
    assert [key for key, count in spelled.items() if count > 1] == []


def _has_own_row(table: tuple[Option, ...], name: bytes, family: Family) -> bool:
    return any(row.name == name and row.families == {family} for row in table)


def test_each_local_option_says_why() -> None:
    for row in TABLE:
        assert bool(row.reason) == (row.role is Role.LOCAL), row.name


def test_an_alias_means_a_row_of_the_same_role_and_use() -> None:
    known = {(row.name, family): (row.role, row.use) for row in TABLE for family in row.families}
    for row in TABLE:
        for family in row.families:
            if row.means != row.name:
                assert known[row.means, family] == (row.role, row.use), row.name


def test_each_use_belongs_to_one_role_and_is_some_row_s() -> None:
    tables = (TABLE, PREPROCESSOR, ASSEMBLER, FRONTEND)
    roles: dict[Use, set[Role]] = {use: set() for use in Use}
    for row in (row for table in tables for row in table):
        roles[row.use].add(row.role)
    del roles[Use.PLAIN]
    assert [use for use, found in roles.items() if len(found) != 1] == []


@pytest.mark.parametrize(
    ("word", "name", "operand"),
    [
        (b"-I", b"-I", None),
        (b"-Ifoo", b"-I", b"foo"),
        (b"-I-", b"-I-", None),
        (b"-includefoo.h", b"-include", b"foo.h"),
        (b"-include-pch", b"-include-pch", None),
        (b"-iwithprefixbeforefoo", b"-iwithprefixbefore", b"foo"),
        (b"-MMD", b"-MMD", None),
        (b"-MFx.d", b"-MF", b"x.d"),
        (b"--sysroot=/s", b"--sysroot", b"/s"),
        (b"--sysroot", b"--sysroot", None),
        (b"-gsplit-dwarf", b"-gsplit-dwarf", None),
        (b"-gsplit-dwarf=single", b"-gsplit-dwarf", b"single"),
        (b"-ggdb3", b"-g", b"gdb3"),
        (b"-O2", b"-O", b"2"),
        (b"-Wp,-MD,x", b"-Wp,", b"-MD,x"),
        (b"-Wpedantic", b"-W", b"pedantic"),
        (b"-Wall", b"-W", b"all"),
        (b"-Wa,-x", b"-Wa,", b"-x"),
        (b"-fno-modules", b"-fno-module", b"s"),
        (b"-march=native", b"-march=", b"native"),
        (b"-m64", b"-m", b"64"),
        (b"-xc++", b"-x", b"c++"),
        (b"-Xclang", b"-Xclang", None),
        (b"-dumpbase", b"-dumpbase", None),
    ],
)
def test_the_longest_spelling_wins(word: bytes, name: bytes, operand: bytes | None) -> None:
    match = DRIVER[Family.CLANG].find(word)
    assert match is not None
    assert (match.option.name, match.operand) == (name, operand)


def test_a_row_of_one_family_goes_before_a_row_of_both() -> None:
    def row(role: Role, *families: Family) -> Option:
        spelled, use = Spelling.JOINED, Use.PLAIN
        return Option(b"-x=", spelled, role, use, frozenset(families), b"-x=", None, (), False)

    rows = (row(Role.LOCAL, *Family), row(Role.EXTRA_INPUT, Family.CLANG))
    for family, role in ((Family.GCC, Role.LOCAL), (Family.CLANG, Role.EXTRA_INPUT)):
        match = Lookup(rows, family).find(b"-x=y")
        assert match is not None
        assert match.option.role is role


@pytest.mark.parametrize(
    "word", [b"-fnew=a/b", b"-fnew=x.txt", b"-fnew-file=x", b"-foutput-dir=x", b"-fpath=1"]
)
def test_an_option_that_names_a_file_is_seen(word: bytes) -> None:
    assert names_file(word)
    assert looks_like_files(word)


@pytest.mark.parametrize(
    "word", [b"-fprofile-arcs", b"-fsplit-paths=2", b"-fnew=1.5", b"-fdirect", b"-fnew=all"]
)
def test_a_number_or_a_name_is_no_file(word: bytes) -> None:
    assert names_file(word) == (b"paths=" in word)


def _gcc_options(kind: str) -> list[bytes]:
    listed = subprocess.run(["gcc", f"--help={kind}"], capture_output=True, check=True).stdout
    return re.findall(rb"^  (-[^\s<=\[]+=?)", listed, re.MULTILINE)


# Options of gcc's Fortran, D and Go, which have no place in a compile of C.
_OTHER_LANGUAGES = {b"-Hd", b"-Hf", b"-J", b"-Xf", b"-gnatO", b"-fintrinsic-modules-path"}


@pytest.mark.needs("gcc")
def test_every_option_of_gcc_that_takes_the_next_word_is_known_to_do_so() -> None:
    missed = []
    for word in _gcc_options("separate"):
        word = word.rstrip(b"=")
        match = DRIVER[Family.GCC].find(word)
        is_taken = match is not None and (match.takes_next or match.option.role is Role.LOCAL)
        if word not in _OTHER_LANGUAGES and not is_taken and word not in _ALIASES_WITHOUT_OPERAND:
            missed.append(word)
    assert missed == []


# --help lists these as separate because of what they mean for cc1; the driver takes no operand.
_ALIASES_WITHOUT_OPERAND = {
    *(b"-MD", b"-MMD", b"--write-dependencies", b"--write-user-dependencies", b"--output-pch"),
}


@pytest.mark.needs("clang")
def test_every_option_of_clang_that_takes_the_next_word_is_known_to_do_so() -> None:
    listed = subprocess.run(["clang", "--help-hidden"], capture_output=True, check=True).stdout
    missed = []
    for word in re.findall(rb"^  (-[^\s<=]+) <", listed, re.MULTILINE):
        match = DRIVER[Family.CLANG].find(word)
        is_taken = match is not None and (match.takes_next or match.option.role is Role.LOCAL)
        if not is_taken and not _is_refused_separate(word):
            missed.append(word)
    assert missed == []


def _is_refused_separate(word: bytes) -> bool:
    """Whether clang itself says that the option does not exist in this form, in a compile of C."""
    tried = [b"clang", b"-###", b"-c", b"-xc", word, b"x", b"/dev/null"]
    said = subprocess.run(tried, capture_output=True, check=False).stderr
    return b"unknown argument" in said or b"unsupported option" in said


@pytest.mark.needs("gcc")
def test_what_gcc_knows_is_seldom_unknown() -> None:
    kinds = ("common", "c", "c++", "objc", "optimizers", "target", "warnings")
    unknown = {
        word
        for kind in kinds
        for word in _gcc_options(kind)
        if DRIVER[Family.GCC].find(word) is None and not word.startswith(b"--")
    }
    assert unknown <= _OTHER_LANGUAGES | {b"-quiet", b"-version", b"-symbol=", b"-cpp=", b"-J"}


def test_joined_families_do_not_take_the_next_word() -> None:
    for row in TABLE:
        if row.spelling == Spelling.JOINED:
            match = DRIVER[next(iter(row.families))].find(row.name + b"zz")
            assert match is not None
            assert not match.takes_next
