"""What every option of gcc and clang means to zcc: one table, as data. Pure.

Owns the table (`TABLE`, and `PREPROCESSOR`, `ASSEMBLER`, `FRONTEND` for the words inside `-Wp,`, `-Wa,` and
`-Xclang`) and the look-up in it. Must not know what a command line as a whole means.

A word is matched against exact spellings first, then against the longest joined spelling that begins it.
Rows of one family go before rows of both. What no row matches is unknown: `looks_like_files` decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, Flag, auto


class Family(Enum):
    GCC = "gcc"
    CLANG = "clang"


class Spelling(Flag):
    """How an option takes its operand; `-I` is SEPARATE | JOINED."""

    FLAG = auto()  # none
    SEPARATE = auto()  # the next word
    JOINED = auto()  # the rest of the word
    EQUALS = auto()  # the rest of the word, after `=`


class Role(Enum):
    """What zcc does about an option."""

    CARRIED = "carried"
    GUARDED = "carried unless it looks like one that names files"
    DEFINE = "define"
    SEARCH = "search"
    LANGUAGE = "language"
    MODE = "mode"
    FORCED_INCLUDE = "forced-include"
    EXTRA_INPUT = "extra-input"
    OUTPUT = "output"
    DEPFILE = "depfile"
    MACHINE = "machine-dependent"
    NESTED = "nested"
    TIME = "time"
    SOURCE = "source"
    UNKNOWN = "unknown"
    LOCAL = "local"


_CAN_MOVE_THE_SEARCH_LIST = frozenset(
    (Role.CARRIED, Role.GUARDED, Role.SEARCH, Role.LANGUAGE, Role.MACHINE)
)


@dataclass(frozen=True, slots=True)
class Option:
    """A row. `reason` says why a LOCAL one is local; `derives` are the side files of an OUTPUT one that
    names none itself: suffixes behind the name that the compiler derives them from, `*` standing for the
    source's own suffix. `searches`: whether it can move the search list. `means`: the row it is an alias of.
    """

    name: bytes
    spelling: Spelling
    role: Role
    families: frozenset[Family]
    means: bytes
    reason: str
    derives: tuple[bytes, ...]
    searches: bool


@dataclass(frozen=True, slots=True)
class Match:
    """A row that a word fits. `operand` is None where there is none, or where it is the next word."""

    option: Option
    operand: bytes | None
    takes_next: bool


_F = Spelling.FLAG
_S = Spelling.SEPARATE
_J = Spelling.JOINED
_E = Spelling.EQUALS
_EITHER = _S | _J
_LONG = _S | _E

_BOTH = frozenset(Family)
_GCC = frozenset((Family.GCC,))
_CLANG = frozenset((Family.CLANG,))


def _rows(
    role: Role,
    spelling: Spelling,
    names: str,
    *,
    families: frozenset[Family] = _BOTH,
    reason: str = "",
    derives: str = "",
    searches: bool | None = None,
) -> list[Option]:
    """One row for each name; `--long>-x` is a row for `--long` that means `-x`."""
    moves = role in _CAN_MOVE_THE_SEARCH_LIST if searches is None else searches
    suffixes = tuple(suffix.encode() for suffix in derives.split())
    rows = []
    for name in names.split():
        spelled, _, means = name.encode().partition(b">")
        rows.append(
            Option(spelled, spelling, role, families, means or spelled, reason, suffixes, moves)
        )
    return rows


def _local(
    reason: str, spelling: Spelling, names: str, families: frozenset[Family] = _BOTH
) -> list[Option]:
    return _rows(Role.LOCAL, spelling, names, families=families, reason=reason)


TABLE: tuple[Option, ...] = (
    # What is made.
    *_rows(Role.MODE, _F, "-c -S --compile>-c --assemble>-S"),
    *_rows(Role.MODE, _F, "-emit-llvm", families=_CLANG),
    *_local("preprocess-only", _F, "-E -M -MM --preprocess --dependencies --user-dependencies"),
    *_local("syntax-only", _F, "-fsyntax-only"),
    *_local(
        "information",
        _F | _E,
        "--help --version --target-help -dumpspecs -dumpversion -dumpfullversion -dumpmachine",
    ),
    *_local(
        "information", _J, "-print- --print- --help- --completion= -cc1 -ccc- --autocomplete= -help"
    ),
    *_local(
        "other-action",
        _F,
        "--analyze -emit-ast -emit-interface-stubs -emit-merged-ifs -extract-api -module-file-info "
        "-rewrite-objc -rewrite-legacy-objc --migrate --emit-static-lib -verify-pch -r",
        _CLANG,
    ),
    *_local("makes-pch", _F, "-emit-pch -building-pch-with-obj -relocatable-pch", _CLANG),
    *_local("makes-pch", _J, "--output-pch", _GCC),
    # The source's language.
    *_rows(Role.LANGUAGE, _EITHER, "-x"),
    *_rows(Role.LANGUAGE, _LONG, "--language>-x"),
    *_rows(Role.LANGUAGE, _J, "-std= --std=>-std="),
    *_rows(Role.LANGUAGE, _S, "--std>-std="),
    *_rows(Role.LANGUAGE, _F, "-ansi --ansi>-ansi -trigraphs --trigraphs>-trigraphs"),
    *_rows(Role.LANGUAGE, _F, "-traditional-cpp --traditional-cpp>-traditional-cpp -ObjC -ObjC++"),
    *_rows(Role.LANGUAGE, _F, "-fpch-preprocess -fdirectives-only", searches=False),
    # Macros.
    *_rows(Role.DEFINE, _EITHER, "-D"),
    *_rows(Role.DEFINE, _LONG, "--define-macro>-D"),
    *_rows(Role.CARRIED, _EITHER, "-U -A", searches=False),
    *_rows(Role.CARRIED, _LONG, "--undefine-macro>-U --assert>-A", searches=False),
    # Where headers and programs are looked for.
    *_rows(Role.SEARCH, _EITHER, "-I -isystem -iquote -idirafter -iprefix"),
    *_rows(Role.SEARCH, _EITHER, "-iwithprefix -iwithprefixbefore -isysroot -imultilib"),
    *_rows(Role.SEARCH, _EITHER, "-F -imultiarch"),
    *_rows(
        Role.SEARCH,
        _EITHER,
        "-cxx-isystem -stdlib++-isystem -isystem-after -iframework -iframeworkwithsysroot "
        "-iwithsysroot",
        families=_CLANG,
    ),
    *_rows(Role.SEARCH, _LONG, "--sysroot --include-directory>-I --include-prefix>-iprefix"),
    *_rows(Role.SEARCH, _LONG, "--include-directory-after>-idirafter"),
    *_rows(Role.SEARCH, _LONG, "--include-with-prefix>-iwithprefix"),
    *_rows(Role.SEARCH, _LONG, "--include-with-prefix-after>-iwithprefix"),
    *_rows(Role.SEARCH, _LONG, "--include-with-prefix-before>-iwithprefixbefore"),
    *_rows(Role.SEARCH, _F, "-I- -nostdinc -nostdinc++ -undef -no-sysroot-suffix -remap"),
    *_rows(Role.SEARCH, _F, "--include-barrier>-I- --no-standard-includes>-nostdinc"),
    *_rows(Role.SEARCH, _F, "-nostdlibinc -nobuiltininc -ibuiltininc", families=_CLANG),
    *_rows(Role.SEARCH, _J, "-stdlib= --stdlib=>-stdlib="),
    *_rows(Role.SEARCH, _S, "--stdlib>-stdlib= -target", families=_CLANG),
    *_rows(Role.SEARCH, _LONG, "--target>-target --gcc-toolchain", families=_CLANG),
    *_rows(Role.SEARCH, _J, "-gcc-toolchain= --gcc-install-dir= --gcc-triple=", families=_CLANG),
    *_rows(Role.SEARCH, _F, "-pthread -pthreads -fopenmp -no-pthread"),
    *_rows(Role.SEARCH, _S, "-arch -arch_only", families=_CLANG),
    *_rows(Role.EXTRA_INPUT, _LONG, "-specs --specs>-specs", searches=True),
    *_local("program-prefix", _EITHER, "-B"),
    *_local("program-prefix", _LONG, "--prefix"),
    *_local("wrapper", _S, "-wrapper", _GCC),
    *_local("resource-directory", _LONG, "-resource-dir", _CLANG),
    *_local("working-directory", _LONG, "-working-directory", _CLANG),
    *_local("working-directory", _S | _J, "-fmodules-user-build-path", _CLANG),
    *_local("config-file", _LONG, "--config", _CLANG),
    *_local("config-file", _J, "--config- --driver-mode= --rsp-quoting=", _CLANG),
    *_local("vfs-overlay", _EITHER, "-ivfsoverlay --vfsoverlay -vfsoverlay", _CLANG),
    *_local("header-map", _F, "-index-header-map", _CLANG),
    # Files that are read.
    *_rows(Role.FORCED_INCLUDE, _EITHER, "-include -imacros"),
    *_rows(Role.FORCED_INCLUDE, _LONG, "--include>-include --imacros>-imacros"),
    *_rows(Role.EXTRA_INPUT, _EITHER, "-include-pch", families=_CLANG),
    *_rows(Role.EXTRA_INPUT, _J, "-fplugin= -fauto-profile="),
    *_rows(
        Role.EXTRA_INPUT,
        _J,
        "-fpass-plugin= -fsanitize-blacklist= -fsanitize-ignorelist= "
        "-fsanitize-system-blacklist= -fsanitize-system-ignorelist= -fsanitize-coverage-allowlist= "
        "-fsanitize-coverage-whitelist= -fsanitize-coverage-ignorelist= "
        "-fsanitize-coverage-blacklist= -fprofile-instr-use= -fprofile-sample-use= -fprofile-list= "
        "-fprofile-remapping-file= -fmemory-profile-use= -fxray-attr-list= "
        "-fxray-always-instrument= -fxray-never-instrument= -fthinlto-index= "
        "-fembed-offload-object= -frewrite-map-file= -frandomize-layout-seed-file= "
        "-fbasic-block-sections=list= "
        "--warning-suppression-mappings=",
        families=_CLANG,
    ),
    *_local("plugin", _J, "-fplugin-arg- -iplugindir="),
    *_rows(Role.EXTRA_INPUT, _J, "-fprofile-use="),
    *_rows(Role.EXTRA_INPUT, _F, "-fprofile-use>-fprofile-use="),
    *_rows(Role.EXTRA_INPUT, _F, "-fbranch-probabilities>-fprofile-use=", families=_GCC),
    *_rows(Role.EXTRA_INPUT, _F, "-fauto-profile>-fauto-profile=", families=_GCC),
    *_rows(Role.EXTRA_INPUT, _F, "-fprofile-instr-use>-fprofile-use=", families=_CLANG),
    *_local("profile-use", _F, "-fauto-profile -fprofile-sample-use -fcs-profile-use", _CLANG),
    *_local("build-session", _J, "-fbuild-session-", _CLANG),
    # Files that are written.
    *_rows(Role.OUTPUT, _EITHER, "-o"),
    *_rows(Role.OUTPUT, _LONG, "--output>-o"),
    *_rows(Role.OUTPUT, _S, "-serialize-diagnostics", families=_CLANG),
    *_rows(Role.OUTPUT, _LONG, "--serialize-diagnostics>-serialize-diagnostics", families=_CLANG),
    *_rows(Role.OUTPUT, _EITHER, "-MJ", families=_CLANG),
    *_rows(Role.OUTPUT, _J, "-foptimization-record-file= -fthin-link-bitcode=", families=_CLANG),
    *_rows(Role.OUTPUT, _F, "-fstack-usage", derives=".su"),
    *_rows(Role.OUTPUT, _F | _E, "-gsplit-dwarf", derives=".dwo"),
    *_rows(Role.OUTPUT, _F, "--coverage -coverage>--coverage -ftest-coverage", derives=".gcno"),
    *_rows(Role.OUTPUT, _F | _E, "-save-temps --save-temps>-save-temps"),
    *_rows(Role.OUTPUT, _F | _E, "-ftime-trace", families=_CLANG, derives=".json"),
    *_rows(Role.OUTPUT, _F | _E, "-save-stats --save-stats>-save-stats", families=_CLANG),
    *_rows(Role.OUTPUT, _F, "-fsave-optimization-record", families=_CLANG, derives=".opt.yaml"),
    *_rows(
        Role.OUTPUT,
        _J,
        "-fsave-optimization-record=",
        families=_CLANG,
        derives=".opt.yaml .opt.bitstream",
    ),
    *_rows(Role.OUTPUT, _F | _E, "-fcallgraph-info", families=_GCC, derives=".ci"),
    *_rows(
        Role.OUTPUT,
        _F,
        "-fsave-optimization-record",
        families=_GCC,
        derives="*.opt-record.json.gz",
    ),
    *_rows(Role.OUTPUT, _F | _J, "-fopt-info", families=_GCC),
    *_rows(Role.OUTPUT, _S | _E, "-aux-info", families=_GCC),
    *_rows(Role.OUTPUT, _J, "-fprofile-dir="),
    *_rows(Role.OUTPUT, _J, "-fprofile-note= -fdeps-file=", families=_GCC),
    *_local("dump-names", _EITHER, "-dumpbase -dumpbase-ext -dumpdir"),
    *_local("dump-names", _LONG, "--dumpbase --dumpbase-ext --dumpdir"),
    *_local("dump-output", _J, "-fdump- -d --dump"),
    *_rows(Role.CARRIED, _F, "-dA -dp -fno-dump-final-insns", searches=False),
    *_rows(Role.CARRIED, _F, "-dI -dD", families=_CLANG, searches=False),
    *_local(
        "dump-output",
        _S,
        "-dependency-dot -dependency-file -module-dependency-dir "
        "--analyzer-output -arcmt-migrate-report-output",
        _CLANG,
    ),
    *_local("dump-output", _EITHER, "-gen-cdb-fragment-path -dsym-dir", _CLANG),
    *_local("diagnostics-file", _J, "-fdiagnostics-format=sarif-file", _GCC),
    *_local(
        "diagnostics-file", _J, "-fdiagnostics-format=json-file -fdiagnostics-add-output=", _GCC
    ),
    *_local("diagnostics-file", _J, "-fdiagnostics-set-output=", _GCC),
    *_local("verbose-asm", _F, "-fverbose-asm"),
    *_local("compare-debug", _F | _E, "-fcompare-debug -fcompare-debug-second", _GCC),
    # Dependency files.
    *_rows(Role.DEPFILE, _F, "-MD -MMD -MP -MG -MV -Mmodules -Mno-modules"),
    *_rows(Role.DEPFILE, _F, "--write-dependencies>-MD --write-user-dependencies>-MMD"),
    *_rows(Role.DEPFILE, _F, "--print-missing-file-dependencies>-MG"),
    *_rows(Role.DEPFILE, _EITHER, "-MF -MT -MQ"),
    *_rows(Role.DEPFILE, _J, "-fdeps-target=", families=_GCC),
    # What depends on the machine, or on the time that it takes.
    *_rows(Role.MACHINE, _J, "-march= -mcpu= -mtune="),
    *_local("time-report", _F, "-v --verbose -### -time -Q -fmem-report -fmem-report-wpa -fstats"),
    *_local("time-report", _F, "-fpre-ipa-mem-report -fpost-ipa-mem-report -fprofile-report"),
    *_local("time-report", _F, "--print-stats -print-stats --time"),
    *_local("time-report", _J, "-ftime-report -fproc-stat-report -time="),
    # Modules: one compile reads what another one has just written.
    *_local("modules", _J, "-fmodule -fimplicit-module-maps -fprebuilt- -fdeps-format="),
    *_local("modules", _J, "-fcxx-modules -fbuiltin-module-map -fimplicit-modules --precompile"),
    *_local("modules", _J, "-gmodules -fexperimental-modules", _CLANG),
    *_rows(Role.CARRIED, _J, "-fno-module", searches=False),
    # Several compiles in one.
    *_local(
        "offload", _J, "--cuda --hip --offload -fopenmp-targets= -fsycl --no-offload -fgpu-rdc"
    ),
    *_local("offload", _J, "--rocm --ptxas --libomptarget -foffload-lto --gpu -fcuda -fhip"),
    *_local("offload", _S, "-Xarch_device -Xarch_host -Xcuda-fatbinary -Xcuda-ptxas", _CLANG),
    *_local("offload", _LONG, "-Xopenmp-target", _CLANG),
    *_local("offload", _J, "-Xarch_ -Xopenmp-target= -Xoffload", _CLANG),
    *_local("repository", _F, "-frepo", _GCC),
    # Words for another program.
    *_rows(Role.NESTED, _J, "-Wp, -Wa,"),
    *_rows(Role.NESTED, _S, "-Xpreprocessor -Xassembler"),
    *_rows(Role.NESTED, _LONG, "--for-assembler>-Xassembler"),
    *_rows(Role.NESTED, _S, "-Xclang -mllvm", families=_CLANG),
    *_rows(Role.NESTED, _J, "-Xclang= -mllvm=>-mllvm", families=_CLANG),
    *_rows(Role.CARRIED, _S, "-Xlinker -Xanalyzer", searches=False),
    *_rows(Role.CARRIED, _LONG, "--for-linker -z", searches=False),
    # The linker's: unused in a compile, not even looked at.
    *_rows(Role.CARRIED, _J, "-Wl,", searches=False),
    *_rows(Role.CARRIED, _EITHER, "-L -l -T -u -e -R -Tbss -Tdata -Ttext -G -b", searches=False),
    *_rows(Role.CARRIED, _LONG, "--library-directory --force-link --entry", searches=False),
    *_rows(Role.CARRIED, _S, "-framework -rpath", searches=False),
    *_rows(Role.CARRIED, _LONG, "-fuse-ld --ld-path", searches=False),
    # Carried: families by prefix, with the members first that only look as if they named files.
    *_rows(
        Role.CARRIED,
        _J,
        "-fdebug-prefix-map= -ffile-prefix-map= -fmacro-prefix-map= -fprofile-prefix-map= "
        "-fcoverage-prefix-map= -fprofile-prefix-path= -fdebug-compilation-dir= "
        "-ffile-compilation-dir= -fcoverage-compilation-dir= -fcrash-diagnostics-dir= "
        "-fdiagnostics-path-format= -fprofile-exclude-files= -fprofile-filter-files= "
        "-fprofile-generate= -fprofile-instr-generate= -fcs-profile-generate= "
        "-finstrument-functions-exclude-file-list= -frandom-seed= -frandom-seed "
        "-fcanon-prefix-map -fmessage-length= -fdiagnostics- "
        "-fdebug-default-version= -fsanitize-undefined-strip-path-components= "
        "-fuse-cuid= -cuid= -fsymbol-partition=",
        searches=False,
    ),
    *_rows(Role.CARRIED, _S, "-fdebug-compilation-dir -fdebug-prefix-map", searches=False),
    *_rows(Role.CARRIED, _F | _J, "-W -O -g", searches=False),
    *_rows(Role.CARRIED, _J, "--warn- --optimize --debug", searches=False),
    *_rows(Role.CARRIED, _J, "-m --machine-"),
    *_rows(Role.CARRIED, _S, "-meabi -mthread-model", families=_CLANG),
    *_rows(Role.GUARDED, _J, "-f"),
    *_rows(Role.CARRIED, _LONG, "--param", searches=False),
    *_rows(
        Role.CARRIED,
        _F,
        "-w -pipe -p -pg -P -C -CC -H -s -t -n -N -Z -X -pedantic -pedantic-errors "
        "-pass-exit-codes -canonical-prefixes -no-canonical-prefixes -integrated-as "
        "-no-integrated-as -no-integrated-cpp -Qn -Qy -Qunused-arguments -rdynamic -shared -static "
        "-static-pie -pie -no-pie -nopie -symbolic -nostdlib -nodefaultlibs -nostartfiles -nolibc "
        "-nostdlib++ -static-libgcc -shared-libgcc -static-libstdc++ -static-libasan "
        "-static-libubsan -static-libtsan -static-liblsan -shared-libsan -static-libsan "
        "-traditional "
        "--pipe --pedantic --pedantic-errors --comments --comments-in-macros --no-line-commands "
        "--no-warnings --all-warnings --extra-warnings --trace-includes --profile --profile-blocks "
        "--pass-exit-codes --shared --static --static-pie --pie --no-pie --symbolic "
        "--no-integrated-cpp --no-standard-libraries --verify-debug-info "
        "--start-no-unused-arguments --end-no-unused-arguments -cl-std= -print-ivar-layout",
        searches=False,
    ),
    *_rows(Role.CARRIED, _J, "-rtlib= --rtlib= -unwindlib= --unwindlib=", searches=False),
    *_rows(
        Role.CARRIED,
        _J,
        "-Rpass -R --system-header-prefix= --no-system-header-prefix=",
        families=_CLANG,
        searches=False,
    ),
)

# The words inside -Wp, and behind -Xpreprocessor, as gcc's preprocessor takes them.
PREPROCESSOR: tuple[Option, ...] = (
    *_rows(Role.DEFINE, _EITHER, "-D"),
    *_rows(Role.CARRIED, _EITHER, "-U -A"),
    *_rows(Role.DEPFILE, _EITHER, "-MD -MMD -MF -MT -MQ"),
    *_rows(Role.DEPFILE, _F, "-MP -MG"),
    *_rows(Role.CARRIED, _J, "-W -f -m"),
    *_rows(Role.CARRIED, _F, "-P -C -CC -H -w -pedantic -pedantic-errors -undef"),
    *_rows(Role.LANGUAGE, _J, "-std="),
    *_rows(Role.LANGUAGE, _F, "-ansi -trigraphs"),
)

# The words inside -Wa, and behind -Xassembler; -o, -I, --MD and operands are not among them on purpose.
ASSEMBLER: tuple[Option, ...] = (
    *_rows(Role.CARRIED, _S, "--defsym -defsym -debug-prefix-map --debug-prefix-map"),
    *_rows(Role.CARRIED, _J, "-m -g --g --gdwarf -W --32 --64 --x32 --compress-debug-sections"),
    *_rows(Role.CARRIED, _J, "-compress-debug-sections --defsym= --debug-prefix-map= -EL -EB"),
    *_rows(Role.CARRIED, _J, "--elf-stt-common= --generate-missing-build-notes= --size-check="),
    *_rows(
        Role.CARRIED,
        _F,
        "--noexecstack --execstack --fatal-warnings --no-warn --warn -n -L --keep-locals -K -J -Z "
        "--strip-local-absolute --reduce-memory-overheads -R -f --no-pad-sections -q -divide "
        "--divide --sectname-subst --traditional-format --no-relax -relax --relax -k -v7 "
        "--nocompress-debug-sections -fno-dollars-in-identifiers -alternate --alternate -mrelax",
    ),
    *_rows(Role.OUTPUT, _F | _J, "-a"),
    *_rows(Role.OUTPUT, _S, "--MD"),
    *_rows(Role.OUTPUT, _S | _E, "-MD"),
)

# The words behind -Xclang; whatever else begins with these letters neither reads nor writes.
FRONTEND: tuple[Option, ...] = (
    *_rows(Role.EXTRA_INPUT, _S, "-include-pch -load"),
    *_rows(Role.FORCED_INCLUDE, _S, "-include -imacros"),
    *_rows(Role.DEFINE, _EITHER, "-D"),
    *_rows(Role.CARRIED, _EITHER, "-U"),
    *_local("makes-pch", _F, "-emit-pch"),
    *_local("plugin", _J, "-plugin -add-plugin"),
    *_local("dump-output", _J, "-fdump -ast-dump"),
    *_local("modules", _J, "-fmodule -fimplicit-module -fprebuilt- -emit-module"),
    *_local("time-report", _J, "-ftime-report -print-stats"),
    *_rows(
        Role.CARRIED,
        _S,
        "-target-cpu -target-feature -target-abi -target-linker-version -tune-cpu -mllvm "
        "-mrelocation-model -pic-level -mthread-model -main-file-name -fdebug-prefix-map "
        "-ferror-limit -debug-info-kind -fdebug-compilation-dir -fcoverage-compilation-dir",
    ),
    *_rows(
        Role.CARRIED, _J, "-W -O -m -disable- -debug-info-kind= -dwarf- -std= -debugger-tuning="
    ),
    *_rows(Role.CARRIED, _J, "-no- -new-struct-path-tbaa -relaxed-aliasing -target-feature="),
    *_rows(Role.GUARDED, _J, "-f"),
    *_rows(
        Role.CARRIED, _F, "-w -pic-is-pie -static-define -nostdsysteminc -enable-tlsdesc -verify"
    ),
)


class Lookup:
    """The rows of one table for one family, ready to be asked."""

    __slots__ = ("_exact", "_joined", "_lengths", "_remembered")

    # Distinct words of a project: flags repeat, names do not. About 1 MB when full.
    MAX_REMEMBERED = 4096

    def __init__(self, rows: Iterable[Option], family: Family) -> None:
        self._exact: dict[bytes, Option] = {}
        self._joined: dict[bytes, Option] = {}
        self._remembered: dict[bytes, Match | None] = {}
        fitting = [row for row in rows if family in row.families]
        for row in sorted(fitting, key=lambda row: len(row.families)):
            if row.spelling & (Spelling.FLAG | Spelling.SEPARATE):
                self._exact.setdefault(row.name, row)
            if row.spelling & Spelling.JOINED:
                self._joined.setdefault(row.name, row)
            if row.spelling & Spelling.EQUALS:
                self._joined.setdefault(row.name + b"=", row)
        self._lengths = tuple(sorted({len(prefix) for prefix in self._joined}, reverse=True))

    def find(self, word: bytes) -> Match | None:
        """The row that this word fits best; None: unknown."""
        try:
            return self._remembered[word]
        except KeyError:
            if len(self._remembered) >= self.MAX_REMEMBERED:
                self._remembered.clear()
            match = self._remembered[word] = self._search(word)
            return match

    def _search(self, word: bytes) -> Match | None:
        option = self._exact.get(word)
        if option is not None:
            return Match(option, None, bool(option.spelling & Spelling.SEPARATE))
        for length in self._lengths:
            option = self._joined.get(word[:length])
            if option is not None and len(word) >= length:
                return Match(option, word[length:], takes_next=False)
        return None


DRIVER = {family: Lookup(TABLE, family) for family in Family}
IN_PREPROCESSOR = Lookup(PREPROCESSOR, Family.GCC)
IN_ASSEMBLER = Lookup(ASSEMBLER, Family.GCC)
IN_FRONTEND = Lookup(FRONTEND, Family.CLANG)

_FILE_NAME = re.compile(rb"/|\.[A-Za-z_][\w+-]{0,9}$")
_FILE_WORD = re.compile(
    rb"(?:(?<![a-z])|(?<=-f))(?:files?|filename|paths?|output|dir|directory|log)(?![a-z])"
)


def names_file(word: bytes) -> bool:
    """Whether `-fname=value` looks as if the value were the name of a file."""
    name, equals, value = word.partition(b"=")
    return bool(equals) and bool(_FILE_NAME.search(value) or _FILE_WORD.search(name))


def looks_like_files(word: bytes) -> bool:
    """Whether an option that the table does not know may read or write a file, named or not."""
    return names_file(word) or b"/" in word or bool(_FILE_WORD.search(word))
