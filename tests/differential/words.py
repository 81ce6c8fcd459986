"""The words of random command lines: options in every spelling, by what they do to a compile. Data.

`SENSIBLE` ones leave a compile a compile, whatever else stands beside them; `ODD` ones end, change or forbid
it, want what is not there, or are mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass

Option = tuple[str, ...]

_PLAIN = """
-O0|-O1|-O2|-O2|-O3|-Os|-Og|-g|-g|-g|-g0|-g1|-g3|-ggdb|-ggdb3|-gdwarf-4|-gdwarf-5|-gno-column-info
-Wall|-Wextra|-Wall -Wextra|-W|-w|-Wno-unused|-pedantic|-Wundef
-Wmissing-include-dirs|-Wshadow|-Wconversion|-Wsystem-headers|-Wunused-macros|-Wdate-time
-fPIC|-fpie|-fno-pic|-fno-common|-fcommon|-fvisibility=hidden|-ffunction-sections -fdata-sections
-fno-asynchronous-unwind-tables|-fstack-protector-strong|-fomit-frame-pointer|-fwrapv|-fopenmp
-fdiagnostics-color=always|-fdiagnostics-color=never|-fmessage-length=40|-fno-diagnostics-show-option
-fdebug-prefix-map=@HERE@=/x|-ffile-prefix-map=@HERE@/=|-fmacro-prefix-map=src=SRC|-fno-ident
-fsanitize=undefined|-fsanitize=address|-fno-builtin|-ffast-math
-march=x86-64|-march=x86-64-v2|-mtune=generic|-mavx2|-m64|-mcmodel=medium|-msse4.2
-pipe|-pthread|-P|-H|-trigraphs|-s|-no-integrated-cpp
-rdynamic|-shared|-static|-no-pie|-remap|-no-canonical-prefixes|-fuse-ld=bfd
-Wl,-rpath,x.c|-Wl,--as-needed -lm|-L inc -lfoo|-Linc|-Xlinker x.c|-z defs|-T x.ld|-e main|-u f
-Wa,--noexecstack|-Xassembler --noexecstack|-Wa,-I,inc
-Wa,-I,src,-Iinc
-Wp,-DWP=1|-Wp,-UWP,-DWP2|-Xpreprocessor -DXP|-Xpreprocessor -I -Xpreprocessor inc|-Wp,-I,inc
-DX|-DX=1|-D X=x.c|-UX|-U X|-DX="quoted text"|-D F(x)=x|--define-macro=L=2|--define-macro L
-DWHERE=__FILE__|-A q=1|-dA|-dp|-ftrapv|-fno-strict-aliasing|-fshort-enums|-funsigned-char
--param max-inline-insns-single=20|--param=max-inline-insns-auto=30
-grecord-gcc-switches|-finput-charset=UTF-8|-gz|-gz=zlib|-fno-exceptions
"""
_GCC_PLAIN = """
-Wa,-mrelax-relocations=no|-Wa,--gdwarf-5|-Wa,-W|-Wa,-mx86-used-note=no|-Wa,--defsym,X=1|-Wa,-L|-fmax-errors=3
-Wa,macros.s|-Xassembler macros.s|-fpch-preprocess|-flto|-flto -ffat-lto-objects
-frecord-gcc-switches|-fipa-pta|-fanalyzer|-fvar-tracking-assignments|-fno-var-tracking
-gvariable-location-views|-frandom-seed=7|-fdirectives-only
-fno-working-directory|-fworking-directory|-ftrack-macro-expansion=0|-fdiagnostics-format=json
-fdiagnostics-generate-patch|-fdiagnostics-path-format=none|-fdiagnostics-parseable-fixits
-fno-canonical-system-headers|-gas-loc-support|-gno-as-loc-support
"""
_CLANG_PLAIN = """
-ferror-limit=2
-save-temps=no
-Weverything|-fno-integrated-as|-fintegrated-as|-Xclang -target-feature -Xclang +avx
-mllvm -inline-threshold=50
-Xclang -DXC|-Xclang -include -Xclang stddef.h|-target x86_64-linux-gnu
-fcolor-diagnostics|-fansi-escape-codes|-fdebug-compilation-dir=/x|-emit-llvm|-fsplit-dwarf-inlining
-Qunused-arguments|-fno-caret-diagnostics|-fdiagnostics-absolute-paths|-fembed-bitcode|-Rpass=inline
-fdiagnostics-print-source-range-info|-fshow-column|-fno-show-column|-flto|-flto=thin
-fsanitize=address -fsanitize-ignorelist=@HERE@/inc/ignore.txt
-fmodule-map-file=@HERE@/inc/own.cppmap -fmodule-name=own
"""
# What only sources of one language take.
_OF_LANGUAGE = {
    "c": "-std=gnu17|-std=c2x|-std=c99|-std=gnu11|-std=c11",
    "c++": "-std=c++20|-std=c++14|-std=gnu++17|-fno-rtti",
}
# What writes files beside the object.
_SIDE = """
-MD|-MMD|-MD -MP|-MMD -MP|-MD -MF deps.d|-MMD -MF deps.d|-MMD -MFdeps.d|-MD -MT target|-MD -MQ $(t)
-MD -MT a -MT b -MP -MF x/../deps.d
-MD -MF /dev/null
--write-dependencies|--write-user-dependencies|-MD -MF out/deps.d
-gsplit-dwarf|-gsplit-dwarf -g|-gsplit-dwarf -g0
-fstack-usage|--coverage|-fprofile-arcs -ftest-coverage|-ftest-coverage
-save-temps|-save-temps=obj|-save-temps=cwd
-fprofile-generate|-fprofile-dir=prof --coverage
-fsave-optimization-record
"""
_GCC_SIDE = """
-Wp,-MD,wp.d|-Wp,-MMD,wp.d,-MT,t|-Wp,-MD,wp.d -MD|-Wp,-MMD,wp.d -MF other.d
-Xpreprocessor -MD -Xpreprocessor xp.d
-fprofile-use|-fprofile-use=prof
-Wa,-a
-Wa,-adhln=out/l.lst
-Wa,-ahls=listing.lst
-fcallgraph-info|-fcallgraph-info=su,da|-aux-info proto.X|-aux-info=proto.X
-fopt-info-all=opt.txt|-fopt-info-vec=stderr|-fdump-tree-all=dump.txt
-fdump-tree-optimized|-fdump-rtl-final -fdump-ipa-inline|-da -fdump-noaddr|-fdump-tree-cfg-graph
-fdump-statistics|-fdump-tree-original=dump.txt|-fada-spec-parent=x|-fprofile-note=n.gcno --coverage
-fbranch-probabilities
-fprofile-abs-path --coverage
"""
_CLANG_SIDE = """
-g -gsplit-dwarf=split
-gsplit-dwarf=single -g
--serialize-diagnostics d.dia|-serialize-diagnostics d.dia|-MJ c.json|-MJc.json|-ftime-trace
-save-stats|-save-stats=obj|-foptimization-record-file=r.yaml|-fsave-optimization-record=yaml|-fprofile-instr-generate
-fcoverage-mapping -fprofile-instr-generate
-fcrash-diagnostics-dir=x
"""
_WILD = """
-fprofile-sample-use|-fauto-profile|-fprofile-sample-use=prof/x.prof|-fprofile-instr-use=prof/x.profdata
-fprofile-use=prof/x.profdata|-fprofile-use|-fprofile-use=prof|-fauto-profile=prof/x.afdo
-Wa,--MD,as.d|-Wa,-ag=l.lst|-Wa,-g|-Wa,missing.s
-MD -MF missing/deps.d
-MF deps.d
-MD -MV
-MT lonely
-MD -MG
-MP
-C|-CC|-Werror=unused-variable|-Wa,--fatal-warnings|-fverbose-asm|-fdirectives-only
-std=gnu17|-std=c2x|-std=c++20|-nostdinc++|-fmodules-decluse|-fmodules-ts
-Werror|-m32|-march=native|-mtune=native|-undef|-nostdinc|-ansi|-v|-std=c99|-std=c++14|-DT=__TIME__|-dD
-Q|-ftime-report|-fsyntax-only|-fno-such-option|-funknown=inc/a.h|--no-such
-frecord-command-line|-fexec-charset=latin1|-finput-charset=latin1|-fno-rtti
-E|-M|-MM|-r|--version|-###|-dumpmachine|-print-search-dirs|-traditional-cpp|-I-|-flto|-flto -ffat-lto-objects
-gtoggle|-fcompare-debug|-wrapper env|-fplugin=none.so|-specs=inc/my.specs|-specs=none.specs
-fdump-tree-optimized|-fdump-rtl-final|-fdump-passes|-fdump-tree-all|-fdump-ipa-inline|-da|-dumpbase x
-fdiagnostics-format=sarif-file|-fopt-info|--target=i686-linux-gnu|--target=aarch64-linux-gnu
-fcaret-diagnostics-max-lines=2|-fmodules|-stdlib=libc++|-fproc-stat-report|-ivfsoverlay none.yaml
-Xclang -ast-dump|-gmodules|-fsanitize-ignorelist=none.txt|-Wa,--no-such|-Wp,--no-such|-include none.h
-Wp,-MD,wp.d|-Xpreprocessor -MD -Xpreprocessor xp.d|-fcompare-debug=-g|-dependency-file x.d
-ftime-trace=t.json|-Xclang -fno-color-diagnostics
-fmodule-map-file=@HERE@/inc/own.cppmap -fmodule-name=own -fmodules-decluse
-fmodule-map-file=inc/own.cppmap -Xclang -fmodule-map-file-home-is-cwd -fmodules-strict-decluse -Wprivate-header
"""


@dataclass(frozen=True)
class Words:
    """What one family of compilers takes."""

    plain: tuple[Option, ...]
    side: tuple[Option, ...]


def _groups(text: str) -> tuple[Option, ...]:
    found = []
    for line in filter(None, text.splitlines()):
        for words in line.split("|"):
            # The only words with a blank in them.
            found.append((words,) if words.startswith('-DX="') else tuple(words.split(" ")))
    return tuple(found)


# By whether the family is clang's.
SENSIBLE = {
    False: Words(_groups(_PLAIN + _GCC_PLAIN), _groups(_SIDE + _GCC_SIDE)),
    True: Words(_groups(_PLAIN + _CLANG_PLAIN), _groups(_SIDE + _CLANG_SIDE)),
}
OF_LANGUAGE = {language: _groups(text) for language, text in _OF_LANGUAGE.items()}
ODD = _groups(_WILD)
# With these gcc stamps what it writes with a random number, unless it is given one.
STAMPED = ("-coverage", "-ftest-coverage", "-fprofile-arcs", "-fprofile-generate", "-flto")
# Not both on one command line: the first of each pair that is chosen stays.
EXCLUSIVE = (
    ("-fsanitize=address", "-static"),
    ("-fprofile-use", "-fprofile-generate"),
    ("-save-temps", "-pipe"),
    ("-fdirectives-only", "-save-temps"),
    ("-fembed-bitcode", "-flto"),
    ("-fembed-bitcode", "-gsplit-dwarf"),
    ("-fembed-bitcode", "-ffunction-sections"),
    ("-fno-integrated-as", "-fembed-bitcode"),
    ("-flto", "-fno-integrated-as"),
    ("-Wp,-M", "-M"),
)


def exclude_each_other(one: Option, other: Option) -> bool:
    """Whether a compiler takes these two together only by mistake."""
    return any(
        (_has(one, first) and _has(other, second)) or (_has(one, second) and _has(other, first))
        for first, second in EXCLUSIVE
    )


def is_stamped(words: Option) -> bool:
    return any(_has(words, stamped) or _has(words, "-" + stamped) for stamped in STAMPED)


def _has(words: Option, start: str) -> bool:
    return any(word.startswith(start) for word in words)
