"""What every environment variable means to a compile. Pure.

Owns the table of variables that gcc and clang, their drivers, libc and the loader look at. A variable that is
not in it is dropped. `PWD` is not here: whether it counts depends on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from os import fsdecode

from zcc.compiler.commandline.arguments import Local
from zcc.reasons import Reason


class VariableUse(Enum):
    CARRIED = auto()  # part of the job
    TERMINAL = auto()  # part of the job where the compiler writes to a terminal
    SEARCH = auto()  # part of the job, and of the question for the search list
    PRELOADED = (
        auto()
    )  # the compile is local unless each library in it is known to change no output
    LIBRARIES = auto()  # the compile is local unless what it names is nothing to the compiler
    LOCAL = auto()  # set and not empty: the compile is local
    LOCAL_IF_SET = auto()  # the same, even when it is empty


@dataclass(frozen=True, slots=True)
class Variable:
    """A row; a name that ends in `*` stands for all that begin so."""

    name: bytes
    use: VariableUse
    why: str


@dataclass(frozen=True, slots=True)
class JobEnvironment:
    """The variables that can change what the compile writes. `search` and `carried` share no name.
    `libraries` is the loader's path, which is no part of the job."""

    carried: Mapping[bytes, bytes]
    search: Mapping[bytes, bytes]
    libraries: bytes = b""


TABLE: tuple[Variable, ...] = (
    Variable(b"LANG", VariableUse.CARRIED, "language of messages, form of quotes"),
    Variable(
        b"LC_*", VariableUse.CARRIED, "language of messages, form of quotes, source character set"
    ),
    Variable(b"LANGUAGE", VariableUse.CARRIED, "languages of messages, in order of preference"),
    Variable(b"SOURCE_DATE_EPOCH", VariableUse.CARRIED, "the time that __DATE__ and __TIME__ show"),
    Variable(b"ZERO_AR_DATE", VariableUse.CARRIED, "time stamps in what Apple's tools write"),
    Variable(
        b"GCC_COLORS",
        VariableUse.CARRIED,
        "which colours gcc uses, under -fdiagnostics-color=always too",
    ),
    Variable(b"GCC_EXTRA_DIAGNOSTIC_OUTPUT", VariableUse.CARRIED, "fix-its after each diagnostic"),
    Variable(
        b"POSIXLY_CORRECT", VariableUse.CARRIED, "getopt in the assembler: options behind operands"
    ),
    Variable(b"MACOSX_DEPLOYMENT_TARGET", VariableUse.CARRIED, "clang's default target version"),
    Variable(b"IPHONEOS_DEPLOYMENT_TARGET", VariableUse.CARRIED, "clang's default target version"),
    Variable(b"TVOS_DEPLOYMENT_TARGET", VariableUse.CARRIED, "clang's default target version"),
    Variable(b"WATCHOS_DEPLOYMENT_TARGET", VariableUse.CARRIED, "clang's default target version"),
    Variable(b"DRIVERKIT_DEPLOYMENT_TARGET", VariableUse.CARRIED, "clang's default target version"),
    Variable(b"XROS_DEPLOYMENT_TARGET", VariableUse.CARRIED, "clang's default target version"),
    Variable(b"LLVM_OVERRIDE_PRODUCER", VariableUse.CARRIED, "who wrote a file of LLVM's own code"),
    Variable(
        b"GCC_URLS", VariableUse.CARRIED, "links in gcc's messages, under -fdiagnostics-urls=always"
    ),
    Variable(
        b"TERM_URLS",
        VariableUse.CARRIED,
        "links in gcc's messages, under -fdiagnostics-urls=always",
    ),
    Variable(b"CLICOLOR_FORCE", VariableUse.CARRIED, "clang: colour without a terminal"),
    Variable(b"NO_COLOR", VariableUse.CARRIED, "clang: no colour"),
    Variable(b"CLICOLOR", VariableUse.TERMINAL, "clang: whether to colour"),
    Variable(b"TERM", VariableUse.TERMINAL, "whether the terminal knows colours and links"),
    Variable(b"TERMINFO", VariableUse.TERMINAL, "where clang reads what the terminal knows"),
    Variable(b"TERMINFO_DIRS", VariableUse.TERMINAL, "where clang reads what the terminal knows"),
    Variable(b"COLORTERM", VariableUse.TERMINAL, "whether the terminal knows links"),
    Variable(b"COLUMNS", VariableUse.TERMINAL, "width of gcc's and clang's source lines"),
    Variable(b"CPATH", VariableUse.SEARCH, "directories behind -I"),
    Variable(b"C_INCLUDE_PATH", VariableUse.SEARCH, "directories behind -isystem, for C"),
    Variable(b"CPLUS_INCLUDE_PATH", VariableUse.SEARCH, "directories behind -isystem, for C++"),
    Variable(
        b"OBJC_INCLUDE_PATH", VariableUse.SEARCH, "directories behind -isystem, for Objective-C"
    ),
    Variable(
        b"OBJCPLUS_INCLUDE_PATH",
        VariableUse.SEARCH,
        "directories behind -isystem, for Objective-C++",
    ),
    Variable(b"XCC_C_INCLUDE_PATH", VariableUse.SEARCH, "directories of clang for XCore"),
    Variable(b"XCC_CPLUS_INCLUDE_PATH", VariableUse.SEARCH, "directories of clang for XCore"),
    Variable(b"NCC_C_INCLUDE_PATH", VariableUse.SEARCH, "directories of clang for VE"),
    Variable(b"NCC_CPLUS_INCLUDE_PATH", VariableUse.SEARCH, "directories of clang for VE"),
    Variable(b"INCLUDE", VariableUse.SEARCH, "directories of clang for MSVC"),
    Variable(b"EXTERNAL_INCLUDE", VariableUse.SEARCH, "directories of clang for MSVC"),
    Variable(b"VCINSTALLDIR", VariableUse.SEARCH, "where clang for MSVC finds headers"),
    Variable(b"VCToolsInstallDir", VariableUse.SEARCH, "where clang for MSVC finds headers"),
    Variable(b"SCE_ORBIS_SDK_DIR", VariableUse.SEARCH, "where clang for the PS4 finds headers"),
    Variable(b"SCE_PROSPERO_SDK_DIR", VariableUse.SEARCH, "where clang for the PS5 finds headers"),
    Variable(b"ROCM_PATH", VariableUse.SEARCH, "where clang for AMD's processors finds headers"),
    Variable(b"HIP_PATH", VariableUse.SEARCH, "where clang for AMD's processors finds headers"),
    Variable(
        b"HIP_DEVICE_LIB_PATH", VariableUse.SEARCH, "where clang for AMD's processors finds code"
    ),
    Variable(
        b"GCC_ROOT", VariableUse.SEARCH, "in place of the prefix that gcc was configured with"
    ),
    Variable(
        b"G++_ROOT", VariableUse.SEARCH, "in place of the prefix that gcc was configured with"
    ),
    Variable(
        b"BINUTILS_ROOT", VariableUse.SEARCH, "in place of the prefix that gcc was configured with"
    ),
    Variable(
        b"RC_DEBUG_OPTIONS",
        VariableUse.LOCAL_IF_SET,
        "clang: the command line in debug information",
    ),
    Variable(
        b"RC_DEBUG_PREFIX_MAP", VariableUse.LOCAL_IF_SET, "clang: other paths in debug information"
    ),
    Variable(
        b"AS_SECURE_LOG_FILE", VariableUse.LOCAL_IF_SET, "clang's assembler appends to a file"
    ),
    Variable(
        b"GNUTARGET", VariableUse.LOCAL_IF_SET, "the format that objcopy reads, under -gsplit-dwarf"
    ),
    Variable(
        b"OUTPUT_CHARSET", VariableUse.LOCAL, "the character set of messages, before the locale's"
    ),
    Variable(b"SDKROOT", VariableUse.LOCAL, "clang's default sysroot"),
    Variable(b"CCC_OVERRIDE_OPTIONS", VariableUse.LOCAL_IF_SET, "clang's driver edits argv"),
    Variable(
        b"QA_OVERRIDE_GCC3_OPTIONS",
        VariableUse.LOCAL_IF_SET,
        "clang's driver edits argv (old name)",
    ),
    Variable(b"CC_PRINT_*", VariableUse.LOCAL_IF_SET, "clang's driver writes files of its own"),
    Variable(b"CC_LOG_*", VariableUse.LOCAL_IF_SET, "clang's driver writes files of its own"),
    Variable(b"FORCE_CLANG_DIAGNOSTICS_CRASH", VariableUse.LOCAL_IF_SET, "clang crashes on demand"),
    Variable(
        b"CLANG_CRASH_DIAGNOSTICS_DIR", VariableUse.CARRIED, "where clang leaves a crash's evidence"
    ),
    Variable(
        b"CLANG_NO_DEFAULT_CONFIG", VariableUse.LOCAL_IF_SET, "which files options are taken from"
    ),
    Variable(b"LD_PRELOAD", VariableUse.PRELOADED, "code inside the compiler"),
    Variable(b"LD_AUDIT", VariableUse.LOCAL, "code inside the compiler"),
    Variable(
        b"LD_TRACE_*", VariableUse.LOCAL_IF_SET, "the loader lists libraries and runs nothing"
    ),
    Variable(b"LD_DEBUG*", VariableUse.LOCAL_IF_SET, "the loader writes what it does"),
    Variable(
        b"LD_SHOW_AUXV", VariableUse.LOCAL_IF_SET, "the loader writes what the kernel told it"
    ),
    Variable(b"LD_WARN", VariableUse.LOCAL_IF_SET, "the loader warns"),
    Variable(b"LD_VERBOSE", VariableUse.LOCAL_IF_SET, "the loader writes versions"),
    Variable(b"LD_PROFILE*", VariableUse.LOCAL_IF_SET, "the loader writes a profile"),
    Variable(
        b"LD_HWCAP_MASK", VariableUse.LOCAL_IF_SET, "which builds of a library the loader takes"
    ),
    Variable(
        b"LD_ASSUME_KERNEL", VariableUse.LOCAL_IF_SET, "which builds of a library the loader takes"
    ),
    Variable(b"LD_INHIBIT_CACHE", VariableUse.LOCAL_IF_SET, "where the loader finds libraries"),
    Variable(
        b"LD_LIBRARY_PATH", VariableUse.LIBRARIES, "other libraries than those of the toolchain"
    ),
    Variable(b"GLIBC_TUNABLES", VariableUse.LOCAL, "which code paths libm takes"),
    Variable(b"GCONV_PATH", VariableUse.LOCAL, "code that converts the source's character set"),
    Variable(b"LOCPATH", VariableUse.LOCAL, "locales other than the system's"),
    Variable(b"NLSPATH", VariableUse.LOCAL, "messages other than the system's"),
    Variable(b"TEXTDOMAINDIR", VariableUse.LOCAL, "messages other than the system's"),
    Variable(b"CXX_MODULE_MAPPER", VariableUse.LOCAL, "a program that gcc asks where modules lie"),
    Variable(
        b"GCC_EXEC_PREFIX", VariableUse.LOCAL_IF_SET, "where gcc finds its programs and headers"
    ),
    Variable(b"COMPILER_PATH", VariableUse.LOCAL_IF_SET, "where gcc and clang find their programs"),
    Variable(
        b"COLLECT_AS_OPTIONS", VariableUse.LOCAL_IF_SET, "gcc -flto writes it into the object"
    ),
    Variable(b"LPATH", VariableUse.LOCAL_IF_SET, "the same as LIBRARY_PATH, of old"),
    Variable(b"LIBRARY_PATH", VariableUse.CARRIED, "where gcc looks for a file named specs"),
    Variable(b"GCC_COMPARE_DEBUG", VariableUse.LOCAL_IF_SET, "gcc compiles twice and dumps"),
    Variable(b"DEPENDENCIES_OUTPUT", VariableUse.LOCAL_IF_SET, "gcc appends to a file"),
    Variable(
        b"EXPERIMENTAL_SARIF_SOCKET", VariableUse.LOCAL_IF_SET, "gcc sends diagnostics to a socket"
    ),
    Variable(b"SUNPRO_DEPENDENCIES", VariableUse.LOCAL_IF_SET, "gcc appends to a file"),
)

# Asked for, and no part of any answer; with the reason, or who settles it.
MEANS_NOTHING: Mapping[bytes, str] = {
    b"PATH": "zcc.agent.analysis.helpers_on_path",
    b"TMPDIR": "where temporary files lie; a directory that cannot be used keeps the compile here",
    b"TMP": "as TMPDIR",
    b"TEMP": "as TMPDIR",
    b"TEMPDIR": "as TMPDIR",
    b"MAKEFLAGS": "gcc's link-time optimization at linking",
    b"LLVM_IGNORED_ENV_VAR": "LLVM asks for it so that a compiler cannot drop a function",
    b"bar": "the same",
}
# What the library of terminals asks: clang takes from it whether there are colours.
_OF_TERMINALS = (b"HOME", b"LINES")

_PRELOADED = re.compile(rb"[^\s:]+")
_HARMLESS = re.compile(
    rb"(?:^|/)(?:libsandbox|libfakeroot(?:-sysv|-tcp|-0)?|libeatmydata|nosync|libstdbuf|libjemalloc|libmimalloc"
    rb"|libtcmalloc(?:_minimal)?|libarmmem(?:-\$\{PLATFORM\}|-\w+)?)\.so[.0-9]*$"
)

_EXACT = {row.name: row for row in TABLE if not row.name.endswith(b"*")}
_PREFIXES = tuple((row.name[:-1], row) for row in TABLE if row.name.endswith(b"*"))
_PREFIX_NAMES = tuple(prefix for prefix, _ in _PREFIXES)
# Categories that a compiler asks for with setlocale(LC_ALL, ""), and what glibc asks in which order.
_OVERRIDE, _DEFAULT = b"LC_ALL", b"LANG"
_CATEGORIES = (b"LC_CTYPE", b"LC_MESSAGES")
_LIBRARIES = (b"lib", b"lib64", b"lib32", b"libx32")
# Of each language; clang looks at all of them (llvm/clang, lib/Lex/InitHeaderSearch.cpp, AddUnmappedPath).
_LANGUAGE_PATHS = (
    b"C_INCLUDE_PATH",
    b"CPLUS_INCLUDE_PATH",
    b"OBJC_INCLUDE_PATH",
    b"OBJCPLUS_INCLUDE_PATH",
)
# Builtin in libc: nothing is read.
_BUILT_IN = (b"", b"C", b"POSIX")


def library_directories(value: bytes, target: str, version: str) -> tuple[bytes, ...]:
    """The directories that gcc asks for by reason of LIBRARY_PATH, whether they exist or not.

    A compile takes nothing from them but a file named `specs`, and its look-up is in the proof.
    """
    found = []
    for entry in value.split(b":"):
        at = entry or b"."
        machine = at + b"/" + target.encode()
        numbers = version.partition("gcc version ")[2].split(" ")[0]
        versions = dict.fromkeys((numbers, numbers.partition(".")[0]))
        found += [at, machine, *(machine + b"/" + each.encode() for each in versions)]
        found += [at + b"/../" + name for name in _LIBRARIES]
    return tuple(found)


def language_directories(environment: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The directories at which clang looks whatever it compiles, whether they exist or not.

    It searches only those of its source's language, which it lists as its search directories.
    """
    values = (environment.get(name, b"") for name in _LANGUAGE_PATHS)
    return tuple(entry for value in values for entry in value.split(b":") if entry)


def classify(environment: Mapping[bytes, bytes], terminal: bool) -> JobEnvironment | Local:
    """What of this environment belongs to the job, sorted; or the variable that keeps the compile here.

    `terminal`: the compiler's standard error is a terminal.
    """
    carried: dict[bytes, bytes] = {}
    search: dict[bytes, bytes] = {}
    libraries = b""
    for name in sorted(environment):
        row = _find(name)
        if row is None:
            continue
        value = environment[name]
        match row.use:
            case VariableUse.LOCAL_IF_SET:
                return _local(name, row)
            case VariableUse.LOCAL if value:
                return _local(name, row)
            case VariableUse.PRELOADED if not are_harmless(value):
                return _local(name, row)
            case VariableUse.LIBRARIES:
                libraries = value
            case VariableUse.SEARCH:
                search[name] = value
            case VariableUse.CARRIED:
                carried[name] = value
            case VariableUse.TERMINAL if terminal:
                carried[name] = value
    return JobEnvironment(carried, search, libraries)


def are_harmless(libraries: bytes) -> bool:
    """Whether these libraries (as in LD_PRELOAD) leave what a compiler writes as it is.

    They watch which files are written (Gentoo's builds run under libsandbox), say who owns them, leave out
    fsync, or hand out memory.
    """
    return all(map(_HARMLESS.search, _PRELOADED.findall(libraries)))


def is_compilers_own(name: bytes) -> bool:
    """Whether the compilers ask for this variable themselves, so that what it means has been settled.

    That is `classify`, and for a PWD that is not the current directory, that compilers do not believe it.
    """
    return name == b"PWD" or _find(name) is not None


def is_settled(name: bytes, on_terminal: bool) -> bool:
    """Whether it is known what this variable means to a compiler that asks for it, be it nothing.

    What asks for another is no compiler that this table was made for, or one that has learnt something new: its
    answer is good where the variable is not set. HOME counts on a terminal alone, and is settled there
    (`zcc/agent/analysis/terminals.py`).
    """
    return (
        name in MEANS_NOTHING or is_compilers_own(name) or (on_terminal and name in _OF_TERMINALS)
    )


def locale_names(environment: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The locales whose files the compiler reads, sorted; none under C and POSIX.

    Not only LC_CTYPE and LC_MESSAGES: gcc asks for all categories at once. LANGUAGE names languages for
    messages, and glibc ignores it where LC_MESSAGES is C.
    """
    names = {_locale_for(category, environment) for category in _categories(environment)}
    if _locale_for(b"LC_MESSAGES", environment) not in _BUILT_IN:
        names.update(environment.get(b"LANGUAGE", b"").split(b":"))
    return tuple(sorted(names.difference(_BUILT_IN)))


def _categories(environment: Iterable[bytes]) -> set[bytes]:
    """Those that no variable of their own sets follow LANG alike: two stand for all."""
    own = {name for name in environment if name.startswith(b"LC_") and name != _OVERRIDE}
    return own.union(_CATEGORIES)


def _locale_for(category: bytes, environment: Mapping[bytes, bytes]) -> bytes:
    """As setlocale(3): the first of the three that is not empty."""
    for name in (_OVERRIDE, category, _DEFAULT):
        if environment.get(name):
            return environment[name]
    return b"C"


def _find(name: bytes) -> Variable | None:
    row = _EXACT.get(name)
    if row is None and name.startswith(_PREFIX_NAMES):
        return next(row for prefix, row in _PREFIXES if name.startswith(prefix))
    return row


def _local(name: bytes, row: Variable) -> Local:
    return Local(Reason.ENVIRONMENT, f"{fsdecode(name)}: {row.why}")
