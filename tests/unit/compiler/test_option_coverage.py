"""Every option that the installed compilers know themselves is in the table, as far as files and operands go.

The compilers are asked: gcc by `--help=CLASS`, clang by `--autocomplete=-`, and clang, which does not say which
options take the next word, by giving it a file that does not exist behind each.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable

import pytest

from tests.conftest import needs
from zcc.compiler.commandline.tables import DRIVER, Family, Role

CLANGS = [f"clang-{version}" for version in range(14, 23)]
GCCS = ["gcc", "gcc-13", "gcc-14", "gcc-15", "aarch64-linux-gnu-gcc"]
GCC_CLASSES = "common optimizers c c++ objc obj-c++ target driver joined separate undocumented"

NAMES_FILES = re.compile(
    r"<(?:file|filename|filespec|path|dir|directory|executable)>|\bfilename\b|\bfiles?\b|director(?:y|ies)\b"
    r"|\bpaths?\b",
    re.IGNORECASE,
)
# Options that speak of files and are carried all the same, with the reason. Whole spellings.
CARRIED_ANYWAY = (
    (r"-W.*", "a warning"),
    (r"--param=.*", "a number"),
    (r"-m(?!ulti-lib-config=).*", "chooses instructions, or the linker's inputs"),
    (r"-fno-.*", "switches something off"),
    (r"-f(?:dwarf-directory-asm|debug-info-for-profiling|.*-(?:add-rpath|machine-functions).*)", "debugging"),
    (r"-f(?:split|isolate-erroneous|sched|enable)-.*", "an optimisation of paths through the program"),
    (r"-fhard(?:cfr|en)-.*", "checks of paths through the program"),
    (r"-f(?:auto-profile-accurate|create-profile|sample-profile-use-profi|.*-sample-accurate)", "a switch"),
    (r"-f(?:profile|cs-profile|codegen-data|coverage|temporal|order-file)-?(?:generate|instr|values|update"
     r"|arcs|continuous|correction|partial|reorder|reproducible|abs|info|instrumentation|profile|function"
     r"|selected|profile)?.*", "what the program writes when it runs"),
    (r"-f(?:memory-profile|ipa-profile|vpt|profile)", "what the program writes when it runs"),
    (r"-f(?:input-charset=|keep-system-includes|minimize-whitespace|preprocessed)", "how a source is read"),
    (r"-f(?:canonical-system-headers|working-directory|file-reproducible)", "spelling of names"),
    (r"-f(?:diagnostics|analyzer|unique|show)-.*", "what messages or symbols are called"),
    (r"-f(?:pch-(?:codegen|debuginfo|validate).*|validate-ast-.*|force-check-cxx20-.*)", "without the file "
     "itself nothing"),
    (r"-f_?(?:no_|)(?:modules|pch)-validate-.*|-fno_.*", "without the file itself nothing"),
    (r"-f(?:large-source-files|crash-diagnostics|temp-file|binutils-version=|whole-file)", "speaks only"),
    (r"-f(?:time-trace-.*|struct-path-tbaa|strict-return|omit-frame-pointer)", "speaks only"),
    (r"-f(?:partition-static-data-sections|openmp-enable-irbuilder|replace-objc-classes)", "speaks only"),
    (r"-f(?:record-gcc-switches|report-bug|lang-info-module-cmi=?|test-coverage)", "speaks only"),
    (r"-f(?:basic-block-sections=|convert=.*)", "names a file only as list=FILE, a row of its own"),
    (r"-g(?:en-decls|no-|codeview|[a-z]*$).*", "debug information"),
    (r"-f(?:depfile-entry=|rtlib-add-rpath)", "names a dependency, reads nothing"),
    (r"-f(?:ada|go|m2|rust)-.*", "another language's, without use in ours"),
)  # fmt: skip
# They take the next word of cc1, not of the driver.
ONLY_CC1 = {"-MD", "-MMD", "--write-dependencies", "--write-user-dependencies"}
# Options of the driver's other faces, which it takes in no command that begins with gcc or clang.
OTHER_MODES = re.compile(
    r"-(?:[A-Z].*|arch:|await.*|diasdkdir|external:.*|headerUnit.*|imsvc|permissive.*|showIncludes.*|sdl.*"
    r"|source.*|std:|translateInclude|tune:|utf-8|v[a-z]*|validate-charset.*|wd|winsdk.*|winsysroot|clang:.*"
    r"|cl-.*|constexpr:|execution-charset.*|exportHeader|headerName:|homeparams|hotpatch|kernel.*|nologo|openmp.*"
    r"|guard:|clr.*|cgthreads|analyze-|interface|ifcOutput|ifcMap|ifcSearchDir|external.*|fallback|fastfail"
    r"|fsanitize-address-use-after-return|link|volatile:.*|vm[a-z])$"
)


def listed_by_gcc(compiler: str, *classes: str) -> dict[str, str]:
    """Spelling, up to its operand -> what is said of it."""
    found: dict[str, str] = {}
    for kind in classes:
        last = ""
        for line in _ask(compiler, f"--help={kind}").stdout.splitlines():
            begun = re.match(r"  (-\S+)(.*)", line)
            if begun:
                last = re.sub(r"[<\[].*|(?<==).*", "", begun[1])
                found[last] = found.get(last, "") + begun[1] + begun[2]
            elif last and line.startswith("     "):
                found[last] += " " + line.strip()
    return found


def listed_by_clang(compiler: str) -> dict[str, str]:
    lines = _ask(compiler, "--autocomplete=-").stdout.splitlines()
    pairs = [line.partition("\t")[::2] for line in lines if re.match(r"-\S+(\t|$)", line)]
    return {name: name + " " + text for name, text in pairs if not OTHER_MODES.fullmatch(name)}


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    """In a directory of its own: some options write at once, whatever `-###` says."""
    with tempfile.TemporaryDirectory() as directory:
        return subprocess.run(
            command, cwd=directory, capture_output=True, text=True, check=False, timeout=60
        )


def unlisted(options: dict[str, str], family: Family) -> list[str]:
    """Those that speak of files and have no row that says what that means."""
    missing = []
    for name, text in options.items():
        if not NAMES_FILES.search(text):
            continue
        match = DRIVER[family].find(name.encode())
        if match is not None:
            is_own = match.option.name in (name.encode(), name.rstrip("=").encode())
            if is_own or match.option.role not in (Role.CARRIED, Role.GUARDED):
                continue
        if not any(re.fullmatch(pattern, name) for pattern, _ in CARRIED_ANYWAY):
            missing.append(f"{name}: {text[:120]}")
    return missing


@pytest.mark.parametrize("compiler", GCCS)
def test_every_option_of_gcc_that_speaks_of_files_is_in_the_table(compiler: str) -> None:
    needs(compiler)
    options = listed_by_gcc(compiler, *GCC_CLASSES.split())
    assert len(options) > 1000
    assert unlisted(options, Family.GCC) == []


@pytest.mark.parametrize("compiler", CLANGS)
def test_every_option_of_clang_that_speaks_of_files_is_in_the_table(compiler: str) -> None:
    needs(compiler)
    options = listed_by_clang(compiler)
    assert len(options) > 1000
    assert unlisted(options, Family.CLANG) == []


@pytest.mark.parametrize("compiler", GCCS)
def test_what_takes_the_next_word_of_gcc_takes_it_here(compiler: str) -> None:
    needs(compiler)
    separate = set(listed_by_gcc(compiler, "separate"))
    assert "-o" in separate
    assert {name for name in separate if not takes_next(name, Family.GCC)} <= ONLY_CC1


@pytest.mark.parametrize("compiler", CLANGS)
def test_what_takes_the_next_word_of_clang_takes_it_here_and_nothing_else_does(
    compiler: str,
) -> None:
    """A word that is wrongly taken for a source, or for none, is the source of the worst errors."""
    needs(compiler)
    names = [name for name in listed_by_clang(compiler) if is_askable(name)]
    differing = [
        name for name, takes in taking(compiler, names) if takes != takes_next(name, Family.CLANG)
    ]
    # Options with several operands swallow their neighbours': ask again, one at a time.
    wrong = [
        name
        for name in differing
        for _, takes in taking(compiler, [name])
        if takes != takes_next(name, Family.CLANG)
    ]
    assert wrong == []


def takes_next(name: str, family: Family) -> bool:
    match = DRIVER[family].find(name.encode())
    return match is not None and match.takes_next


# What acts at once, makes the driver read its own words anew, or speaks of the next word's kind.
NOT_ASKED = re.compile(
    r"-###|-cc1.*|--?help.*|--?version|-v|--verbose|--autocomplete=|-?-print-.*|-fdriver-only|-ccc-.*"
    r"|--driver-mode.*|--rsp-quoting.*|--?config.*|--target-help|-mcpu.*|-mtune.*|-x|--language|-W.*|--"
    r"|-dump.*|--dump.*|.*-supported-cpus|-M|-MM|-E|-S|-c"
)


def is_askable(name: str) -> bool:
    return not name.endswith(("=", ",", "-")) and not NOT_ASKED.fullmatch(name)


def taking(compiler: str, names: Iterable[str]) -> list[tuple[str, bool]]:
    """Whether each of these takes the next word; names that the compiler does not know are left out."""
    asked = list(names)
    words = [word for at, name in enumerate(asked) for word in (name, f"operand{at}z")]
    told = _ask(compiler, "-###", "-c", *words).stderr
    sources = {int(at) for at in re.findall(r"no such file or directory: 'operand(\d+)z'", told)}
    unknown = set(re.findall(r"(?:unknown argument:?|unsupported option) '([^']+)'", told))
    return [(name, at not in sources) for at, name in enumerate(asked) if name not in unknown]
