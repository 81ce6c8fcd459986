"""Every option of the allow-list writes the same bytes, whatever the output is called."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import needs
from zcc.compiler.commandline import arguments
from zcc.compiler.commandline.compilation import Compilation
from zcc.compiler.commandline.nameless_options import ASSEMBLER, FEATURES, ONLY_OFF, ROWS
from zcc.compiler.commandline.tables import DRIVER, TABLE, Family, Role
from zcc.compiler.neutral.renaming import NEUTRAL_OBJECT, find_renaming

SOURCE = """
static int table[] = {1, 2, 3};
int twice(int x) { return 2 * x; }
int first(const int *at, int count) {
    int sum = 0;
    for (int i = 0; i < count; i++) sum += twice(at[i]);
    return sum + table[count & 1];
}
"""
ALWAYS = ("-g", "-O2", "-w")
NAMES = ("x.o", "another/longer-directory/of/some.target.dir/name.cc.object")
GROUP = 32
# A value for what has to have one.
VALUES = {
    "visibility": "hidden", "cf-protection": "full", "zero-call-used-regs": "used",
    "trivial-auto-var-init": "zero", "patchable-function-entry": "4,2",
    "sanitize": "undefined", "sanitize-recover": "undefined", "sanitize-trap": "undefined",
    "sanitize-coverage": "trace-pc", "tls-model": "initial-exec", "fp-contract": "fast",
    "excess-precision": "fast", "stack-reuse": "none", "stack-check": "specific",
    "vect-cost-model": "cheap", "simd-cost-model": "cheap", "diagnostics-color": "always",
    "input-charset": "UTF-8", "exec-charset": "UTF-8", "wide-exec-charset": "UTF-32LE",
    "abi-version": "16", "strict-flex-arrays": "2", "align-functions": "32", "align-loops": "16",
    "align-jumps": "16", "align-labels": "16", "pack-struct": "4", "error-limit": "3",
}  # fmt: skip
DEBUG = """
-g -g0 -g1 -g2 -g3 -ggdb -ggdb3 -gdwarf -gdwarf-2 -gdwarf-3 -gdwarf-4 -gdwarf-5 -gdwarf64
-gline-tables-only -gmlt -gcolumn-info -gno-column-info -gstrict-dwarf -gno-strict-dwarf
-gvariable-location-views -gno-variable-location-views -gstatement-frontiers
-gno-statement-frontiers -ginline-line-tables -gno-inline-line-tables -gz -gz=zlib -gz=none
"""
OTHERS = """
-pthread -fopenmp -pipe -w -p -pg -P -C -CC -pedantic -pedantic-errors -ansi -trigraphs
-nostdinc -nostdinc++ -undef -shared -static -pie -no-pie -rdynamic -nostdlib -s -lx -Lx
-Wl,-z,now -Wall -Wextra -Werror=format -O0 -O1 -O3 -Os -Ofast -Og -canonical-prefixes
-no-canonical-prefixes -Qunused-arguments -std=gnu11 -std=c99 -DX=1 -UX -Wp,-DX -Ix -iquotex
-frandom-seed=1 -ffile-prefix-map=/x=. -fdebug-prefix-map=/x=. -fmacro-prefix-map=/x=.
-fmessage-length=0 -fdebug-compilation-dir=/x
"""
ONLY_CLANG = "-nostdlibinc -nobuiltininc"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return prepared(tmp_path)


def prepared(place: Path) -> Path:
    for name in NAMES:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / "x.c").write_text(SOURCE)
    return place


def installed(family: Family) -> str:
    needs(family.value)
    return family.value


def spelled(family: Family) -> Iterator[str]:
    for name in sorted(each.decode() for each in FEATURES):
        if name.encode() not in ONLY_OFF:
            yield f"-f{name}"
            if name in VALUES:
                yield f"-f{name}={VALUES[name]}"
        yield f"-fno-{name}"
    yield from (f"-Wa,{each.decode()}" for each in sorted(ASSEMBLER))
    yield from (DEBUG + OTHERS + (ONLY_CLANG if family is Family.CLANG else "")).split()
    yield from machine_options(family)


def machine_options(family: Family) -> list[str]:
    """What the compiler calls its machine-dependent flags, `-m...`, without values."""
    asked = ["--target-help"] if family is Family.GCC else ["--help-hidden"]
    said = subprocess.run([family.value, *asked], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^ +(-m[a-z0-9.-]+) ", said, re.MULTILINE)
    return sorted(name for name in set(found) if is_flag(name, family))


def is_flag(name: str, family: Family) -> bool:
    """Whether it is neither for another program nor takes the next word."""
    match = DRIVER[family].find(name.encode())
    return match is not None and match.option.means == b"-m"


def objects(compiler: str, place: Path, options: Sequence[str]) -> list[bytes] | None:
    """The object under each name; None where the compiler does not take the options."""
    found = []
    for name in NAMES:
        done = subprocess.run(
            [compiler, *ALWAYS, *options, "-c", "x.c", "-o", name],
            cwd=place,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            return None
        found.append((place / name).read_bytes() + done.stdout + done.stderr)
    return found


_UNKNOWN = re.compile(r"(?:unrecognized command-line option|unknown argument:?) '(-[^']+)'")


def known(compiler: str, place: Path, options: Iterable[str]) -> list[str]:
    """Those of the options that the compiler does not call unknown. It names all that it meets in one run: to
    find them one by one in groups that fail takes some ten runs each."""
    left = list(options)
    while True:
        done = subprocess.run(
            [compiler, *ALWAYS, *left, "-c", "x.c", "-o", NAMES[0]],
            cwd=place,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            check=False,
            text=True,
        )
        unknown = set(_UNKNOWN.findall(done.stderr)).intersection(left)
        if not unknown:
            return left
        left = [option for option in left if option not in unknown]


def leaking(compiler: str, place: Path, options: Sequence[str]) -> Iterator[str]:
    """Those of the options with which two names make two objects; a group is taken apart when it fails."""
    made = objects(compiler, place, options)
    if made is not None and made[0] == made[1]:
        return
    if len(options) == 1:
        if made is not None:
            yield options[0]
        return
    half = len(options) // 2
    yield from leaking(compiler, place, options[:half])
    yield from leaking(compiler, place, options[half:])


def groups(options: Iterable[str]) -> Iterator[list[str]]:
    listed = list(options)
    yield from (listed[at : at + GROUP] for at in range(0, len(listed), GROUP))


def parsed(family: Family, *options: str) -> Compilation:
    words = [word.encode() for word in (*options, "-c", "x.c", "-o", "y.o")]
    found = arguments.parse(words, family, False, b"/p", lambda _: None)
    assert isinstance(found, Compilation), found
    return found


def is_renamed(family: Family, *options: str) -> bool:
    return parsed(family, *options).neutral is not None


@pytest.mark.timeout(400)
@pytest.mark.parametrize("family", list(Family))
def test_no_option_of_the_list_lets_the_name_in(family: Family, place: Path) -> None:
    compiler = installed(family)

    def tried(at: int, group: list[str]) -> list[str]:
        return list(leaking(compiler, prepared(place / str(at)), group))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(tried, count(), groups(known(compiler, place, spelled(family)))))
    assert not any(found), found


@pytest.mark.parametrize("family", list(Family))
def test_an_option_is_unknown_only_where_the_compiler_takes_it_in_no_company(
    family: Family, place: Path
) -> None:
    compiler = installed(family)
    there = known(compiler, place, ["-fPIC", "-fno-such-option", "-mno-such-flag=1", "-pthread"])
    assert there == ["-fPIC", "-pthread"]
    for option in ("-fno-such-option", "-mno-such-flag=1"):
        assert objects(compiler, place, [option]) is None


@pytest.mark.parametrize("family", list(Family))
def test_the_comparison_sees_a_name_that_gets_in(family: Family, place: Path) -> None:
    compiler = installed(family)
    leaks = ["-gsplit-dwarf", "--coverage"]
    assert list(leaking(compiler, place, ["-fPIC", *leaks, "-fcommon"])) == leaks


@pytest.mark.parametrize("family", list(Family))
def test_what_is_compared_is_what_is_renamed(family: Family) -> None:
    """The list that the test above goes through is the one that the program goes by."""
    for option in spelled(family):
        assert is_renamed(family, option), option


@pytest.mark.parametrize("family", list(Family))
def test_no_option_that_names_a_side_file_is_on_the_list(family: Family) -> None:
    allowed = {b"-o", b"-MD", b"-MMD", b"-MP", b"-MF", b"-MT", b"-MQ"}
    writers = [row for row in TABLE if row.role in (Role.OUTPUT, Role.DEPFILE, Role.EXTRA_INPUT)]
    assert {row.means for row in writers} & ROWS == allowed
    for option in ("-gsplit-dwarf", "-fstack-usage", "--coverage", "-save-temps", "-flto"):
        assert not is_renamed(family, option), option


@pytest.mark.parametrize(
    "option",
    ["-grecord-gcc-switches", "-frecord-gcc-switches", "-ffat-lto-objects", "-Wp,-MD,x.d", "-fprofile-use"]
    + ["-Wa,-g", "-fnew-and-unknown", "-MG", "-fprofile-generate", "-fprofile-arcs", "-specs=/x"],
)  # fmt: skip
def test_an_option_that_is_not_on_the_list_keeps_the_name(option: str) -> None:
    assert not is_renamed(Family.GCC, option)


def test_a_link_on_the_way_to_the_output_keeps_the_name() -> None:
    command = parsed(Family.GCC, "-O2")
    outputs = (b"/real/y.o",)
    assert find_renaming(command, Family.GCC, outputs, (b"/p/link", b"/real")) is None
    found = find_renaming(command, Family.GCC, outputs, (b"/real/.", b"/real"))
    assert found is not None
    assert found.arguments == (b"-O2", b"-c", b"x.c", b"-o", NEUTRAL_OBJECT)


def test_every_spelling_of_the_names_is_replaced() -> None:
    words = ("-MMD", "-MTthere/y.o", "-MFy.d", "--output=ignored")
    command = arguments.parse(
        [word.encode() for word in (*words[:3], "-c", "x.c", "--output=y.o")],
        Family.GCC,
        False,
        b"/p",
        lambda _: None,
    )
    assert isinstance(command, Compilation)
    assert command.neutral is not None
    assert command.neutral.target == b"there/y.o"
    assert not any(b"y.o" in word or b"y.d" in word for word in command.neutral.arguments)


@pytest.mark.parametrize("word", ["-Ia b", "-isystem/x/$y", "-includea#b.h"])
def test_a_name_that_rules_escape_keeps_the_name_where_there_is_a_rule(word: str) -> None:
    """The rule could not be told anew, and the compile would have been for nothing."""
    assert is_renamed(Family.GCC, word)
    assert not is_renamed(Family.GCC, word, "-MD")
    assert is_renamed(Family.GCC, "-Ia-b", "-MD")
