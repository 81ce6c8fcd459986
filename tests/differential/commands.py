"""Random command lines for a project: options of the table in every spelling, in any order."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Callable
from random import Random

from tests.differential.case import (
    HERE,
    PATH,
    UNSET,
    Case,
    Edit,
    Entry,
    Kind,
    Project,
    Stdin,
    Streams,
    directory,
    symlink,
    text,
)
from tests.differential.sources import DIRECTORIES, NAMES, SUFFIXES, Made, Maker

Option = tuple[str, ...]
GCC = ("gcc", "gcc", "gcc", "g++", "g++", "gcc-12", "cc", "x86_64-linux-gnu-gcc", "/usr/bin/gcc")
CLANG = ("clang", "clang", "clang++", "clang-14")
# Where somebody has installed them.
FURTHER = (
    "aarch64-linux-gnu-gcc", "gcc-13", "gcc-14", "gcc-15", *(f"clang-{at}" for at in range(15, 24)),
)  # fmt: skip

# Words that leave a compile a compile, in one group each.
_PLAIN = """
-O0|-O1|-O2|-O2|-O3|-Os|-Og|-g|-g|-g|-g0|-g1|-g3|-ggdb|-ggdb3|-gdwarf-4|-gdwarf-5|-gno-column-info
-Wall|-Wextra|-Wall -Wextra|-W|-w|-Werror=unused-variable|-Wno-unused|-pedantic|-Wundef
-Wmissing-include-dirs|-Wshadow|-Wconversion|-Wsystem-headers|-Wunused-macros|-Wdate-time
-fPIC|-fpie|-fno-pic|-fno-common|-fcommon|-fvisibility=hidden|-ffunction-sections -fdata-sections
-fno-asynchronous-unwind-tables|-fstack-protector-strong|-fomit-frame-pointer|-fwrapv|-fopenmp
-fdiagnostics-color=always|-fdiagnostics-color=never|-fmessage-length=40|-fno-diagnostics-show-option
-fdebug-prefix-map=@HERE@=/x|-ffile-prefix-map=@HERE@/=|-fmacro-prefix-map=src=SRC|-fno-ident
-fsanitize=undefined|-fsanitize=address|-fno-builtin|-ffast-math
-march=x86-64|-march=x86-64-v2|-mtune=generic|-mavx2|-m64|-mcmodel=medium|-msse4.2
-pipe|-pthread|-P|-C|-H|-trigraphs|-s|-std=gnu17|-std=c2x|-std=c++20|-no-integrated-cpp
-rdynamic|-shared|-static|-no-pie|-remap|-no-canonical-prefixes|-nostdinc++|-fuse-ld=bfd
-Wl,-rpath,x.c|-Wl,--as-needed -lm|-L inc -lfoo|-Linc|-Xlinker x.c|-z defs|-T x.ld|-e main|-u f
-Wa,--noexecstack|-Xassembler --noexecstack|-Wa,-I,inc
-Wa,-I,src,-Iinc|-Wa,--fatal-warnings
-Wp,-DWP=1|-Wp,-UWP,-DWP2|-Xpreprocessor -DXP|-Xpreprocessor -I -Xpreprocessor inc|-Wp,-I,inc
-DX|-DX=1|-D X=x.c|-UX|-U X|-DX="quoted text"|-D F(x)=x|--define-macro=L=2|--define-macro L
-DT=__FILE__|-A q=1|-dA|-dp|-ftrapv|-fno-strict-aliasing|-fshort-enums|-funsigned-char
--param max-inline-insns-single=20|--param=max-inline-insns-auto=30|-frandom-seed=7
-grecord-gcc-switches|-finput-charset=UTF-8|-gz|-gz=zlib|-fno-exceptions|-fdirectives-only
"""
_GCC_PLAIN = """
-Wa,-mrelax-relocations=no|-Wa,--gdwarf-5|-Wa,-W|-Wa,-g|-Wa,-mx86-used-note=no|-Wa,--defsym,X=1|-Wa,-L|-fmax-errors=3
-frecord-gcc-switches|-fipa-pta|-fanalyzer|-fvar-tracking-assignments|-fno-var-tracking
-gvariable-location-views
-fno-working-directory|-fworking-directory|-ftrack-macro-expansion=0|-fdiagnostics-format=json
-fdiagnostics-generate-patch|-fdiagnostics-path-format=none|-fdiagnostics-parseable-fixits
-fno-canonical-system-headers|-gas-loc-support|-gno-as-loc-support|-fverbose-asm
"""
_CLANG_PLAIN = """
-ferror-limit=2
-save-temps=no
-Weverything|-fno-integrated-as|-fintegrated-as|-Xclang -target-feature -Xclang +avx
-mllvm -inline-threshold=50
-Xclang -fno-color-diagnostics|-Xclang -DXC|-Xclang -include -Xclang stddef.h|-target x86_64-linux-gnu
-fcolor-diagnostics|-fansi-escape-codes|-fdebug-compilation-dir=/x|-emit-llvm|-fsplit-dwarf-inlining
-Qunused-arguments|-fno-caret-diagnostics|-fdiagnostics-absolute-paths|-fembed-bitcode|-Rpass=inline
-fdiagnostics-print-source-range-info|-fshow-column|-fno-show-column
-fsanitize=address -fsanitize-ignorelist=@HERE@/inc/ignore.txt
-fmodule-map-file=@HERE@/inc/own.cppmap -fmodule-name=own -fmodules-decluse
-fmodule-map-file=inc/own.cppmap -Xclang -fmodule-map-file-home-is-cwd -fmodules-strict-decluse -Wprivate-header
"""
# Words that end, change or forbid a compile, or are mistakes.
_WILD = """
-fprofile-sample-use|-fauto-profile|-fprofile-sample-use=prof/x.prof|-fprofile-instr-use=prof/x.profdata
-fprofile-use=prof/x.profdata
-Wa,--MD,as.d|-Wa,-ag=l.lst
-MD -MF missing/deps.d
-MF deps.d
-MD -MV
-MT lonely
-MD -MG
-MP
-Werror|-m32|-march=native|-mtune=native|-undef|-nostdinc|-ansi|-v|-std=c99|-std=c++14|-DT=__TIME__|-dD
-fpch-preprocess|-Q|-ftime-report|-fsyntax-only|-fno-such-option|-funknown=inc/a.h|--no-such
-frecord-command-line|-fexec-charset=latin1|-finput-charset=latin1|-fno-rtti
-E|-M|-MM|-r|--version|-###|-dumpmachine|-print-search-dirs|-traditional-cpp|-I-|-flto|-flto -ffat-lto-objects
-gtoggle|-fcompare-debug|-wrapper env|-fplugin=none.so|-specs=inc/my.specs|-specs=none.specs
-fdump-tree-optimized|-fdump-rtl-final|-fdump-passes|-fdump-tree-all|-fdump-ipa-inline|-da|-dumpbase x
-fdiagnostics-format=sarif-file|-fopt-info|--target=i686-linux-gnu|--target=aarch64-linux-gnu
-fcaret-diagnostics-max-lines=2|-fmodules|-flto=thin|-stdlib=libc++|-fproc-stat-report|-ivfsoverlay none.yaml
-Xclang -ast-dump|-gmodules|-fsanitize-ignorelist=none.txt|-Wa,--no-such|-Wp,--no-such|-include none.h
"""
# What writes files beside the object.
_SIDE = """
-MD|-MMD|-MD -MP|-MMD -MP|-MD -MF deps.d|-MMD -MF deps.d|-MMD -MFdeps.d|-MD -MT target|-MD -MQ $(t)
-MD -MT a -MT b -MP -MF x/../deps.d|-Wp,-MD,wp.d|-Wp,-MMD,wp.d,-MT,t
-Wp,-MD,wp.d -MD|-Wp,-MMD,wp.d -MF other.d|-Xpreprocessor -MD -Xpreprocessor xp.d|-MD -MF /dev/null
--write-dependencies|--write-user-dependencies|-MD -MF out/deps.d
-gsplit-dwarf|-gsplit-dwarf -g|-gsplit-dwarf -g0
-fstack-usage|--coverage|-fprofile-arcs -ftest-coverage|-ftest-coverage
-save-temps|-save-temps=obj|-save-temps=cwd
-fprofile-generate|-fprofile-use|-fprofile-use=prof|-fprofile-dir=prof --coverage
-fsave-optimization-record
"""
_GCC_SIDE = """
-Wa,-a
-Wa,-adhln=out/l.lst
-Wa,-ahls=listing.lst
-fcallgraph-info|-fcallgraph-info=su,da|-aux-info proto.X|-aux-info=proto.X
-fopt-info-all=opt.txt|-fopt-info-vec=stderr
-fdump-tree-optimized|-fdump-rtl-final -fdump-ipa-inline|-da -fdump-noaddr|-fdump-tree-cfg-graph
-fdump-statistics|-fdump-tree-original=dump.txt|-fada-spec-parent=x|-fprofile-note=n.gcno --coverage
-fauto-profile=prof/x.afdo|-fbranch-probabilities
-fprofile-abs-path --coverage|-fcompare-debug=-g
"""
_CLANG_SIDE = """
-g -gsplit-dwarf=split
-gsplit-dwarf=single -g
--serialize-diagnostics d.dia|-serialize-diagnostics d.dia|-MJ c.json|-MJc.json|-ftime-trace|-ftime-trace=t.json
-save-stats|-save-stats=obj|-foptimization-record-file=r.yaml|-fsave-optimization-record=yaml|-fprofile-instr-generate
-fcoverage-mapping -fprofile-instr-generate
-fcrash-diagnostics-dir=x|-dependency-file x.d
"""


def _groups(text: str) -> list[Option]:
    found = []
    for line in filter(None, text.splitlines()):
        for words in line.split("|"):
            # The only words with a blank in them.
            found.append((words,) if words.startswith('-DX="') else tuple(words.split(" ")))
    return found


_OF = {
    False: (_groups(_PLAIN + _GCC_PLAIN), _groups(_SIDE + _GCC_SIDE)),
    True: (_groups(_PLAIN + _CLANG_PLAIN), _groups(_SIDE + _CLANG_SIDE)),
}
_ODD = _groups(_WILD)
_REDACTED = ('"redacted"', '"redacted"', "", "__TIME__")
_LOCALES = ("C.UTF-8", "C", "en_US.UTF-8", "de_DE.UTF-8")
_VARIABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("LANG", _LOCALES),
    ("LC_ALL", _LOCALES),
    ("LC_CTYPE", _LOCALES),
    ("SOURCE_DATE_EPOCH", ("1", "1700000000", "x")),
    ("CPATH", ("inc", "@HERE@/alt", ":inc", "")),
    ("C_INCLUDE_PATH", ("alt:inc",)),
    ("CPLUS_INCLUDE_PATH", ("alt",)),
    ("DEPENDENCIES_OUTPUT", ("env.d",)),
    ("SUNPRO_DEPENDENCIES", ("env.d t",)),
    ("GCC_COLORS", ("", "error=01;32")),
    ("GCC_EXTRA_DIAGNOSTIC_OUTPUT", ("fixits-v1",)),
    ("COLUMNS", ("50",)),
    ("LIBRARY_PATH", ("inc",)),
    ("TERM", ("xterm", "dumb")),
    ("CFLAGS", ("-O2",)),
    ("GCC_COMPARE_DEBUG", ("-g",)),
    ("POSIXLY_CORRECT", ("1",)),
    ("CCC_OVERRIDE_OPTIONS", ("+-g",)),
)
# How a caller's shell and directories may stand, most of them as no build would have them on purpose.
_SURROUNDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("PWD", (UNSET, ".", "", HERE, f"{HERE}/", f"{HERE}/inc", f"{HERE}/./way in", "/nowhere", "/")),
    ("TMPDIR", (UNSET, "", "out", f"{HERE}/none", f"{HERE}/inc", "/dev/null")),
    ("PATH", (f"{HERE}/tools:{PATH}", f"tools:{PATH}", f":{PATH}", f"{HERE}/none:{PATH}", f"{PATH}:.")),
    ("HOME", (UNSET, HERE, "")),
)  # fmt: skip
# What a project may keep in `tools` for its PATH: name -> what it runs in its own place.
_TOOLS = {
    "as": "/usr/bin/as",
    "gcc": "/usr/bin/gcc -DTOOL=1",
    "clang": "/usr/bin/clang -DTOOL=1",
    "objcopy": "/usr/bin/objcopy",
    "ld": "/usr/bin/ld",
}
_STREAMS = (*(Streams.APART,) * 12, Streams.ONE_PIPE, Streams.ONE_FILE, Streams.TERMINAL)


def compilers(further: bool = False) -> tuple[str, ...]:
    """Those of the names above that are installed; `further`: all, so that a seed means less elsewhere."""
    names = GCC + CLANG + (FURTHER if further else ())
    return tuple(name for name in names if shutil.which(name))


def make_case(rng: Random, names: tuple[str, ...]) -> Case:
    """A whole case. `names`: the compilers to choose from."""
    made = Maker(rng).make()
    compiler = rng.choice(names)
    if made.language == "objective-c" and rng.random() < 0.9 and "clang" in names:
        compiler = "clang"  # Debian's gcc has no Objective-C unless it is asked for
    if made.language == "c++" and rng.random() < 0.8:
        compiler = {"gcc": "g++", "clang": "clang++"}.get(compiler, compiler)
    return _Commander(rng, made, compiler).make()


class _Commander:
    def __init__(self, rng: Random, made: Made, compiler: str) -> None:
        self._rng = rng
        self._made = made
        self._project: Project = dict(made.project)
        self._compiler = compiler
        self._is_clang = "clang" in compiler
        self._cwd = "."

    def make(self) -> Case:
        rng = self._rng
        self._choose_cwd()
        options = [*self._searches(), *self._flags(), *self._forced()]
        options += [(f"-D{name}={value}",) for name, value in self._made.macros.items()]
        options += self._output()
        options.append(("-S",) if rng.random() < 0.12 else ("-c",))
        if rng.random() < 0.02:
            options.remove(options[-1])
        rng.shuffle(options)
        self._place_source(options)
        self._wrap(options)
        self._prepare_outputs()
        return Case(
            project=self._project,
            compiler=self._compiler,
            options=tuple(options),
            edits=self._edits(),
            cwd=self._cwd,
            environment={**self._environment(), **self._surroundings()},
            umask=rng.choice((0o022, 0o022, 0o022, 0o077, 0o002, 0o027)),
            settles=rng.random() < 0.04,
            streams=self._streams(),
            stdin=rng.choice(tuple(Stdin)) if rng.random() < 0.05 else Stdin.NOTHING,
        )

    def _choose_cwd(self) -> None:
        rng = self._rng
        if rng.random() < 0.3:
            self._cwd = rng.choice(("build", "src", "inc", "way in"))
        if self._cwd == "way in":
            self._project["way in"] = symlink("build")
            self._project["build"] = directory()
        elif self._cwd != ".":
            self._project[self._cwd] = directory()

    def _from_cwd(self, path: str) -> str:
        real = "build" if self._cwd == "way in" else self._cwd
        if self._rng.random() < 0.12:
            return f"{HERE}/{path}"
        return posixpath.relpath(path or ".", real)

    def _searches(self) -> list[Option]:
        rng = self._rng
        found: list[Option] = []
        if self._made.is_tame:
            places = dict.fromkeys((".", *map(posixpath.dirname, self._made.headers)))
            found = [
                (rng.choice(("-I", "-I", "-isystem", "-idirafter")), self._from_cwd(p))
                for p in places
            ]
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
            place = self._from_cwd(
                rng.choice((*DIRECTORIES, ".", "none", "later", "linked", "inc/../alt"))
            )
            option = rng.choice(("-I", "-I", "-I", "-isystem", "-iquote", "-idirafter"))
            forms: list[Option] = [(option + place,), (option, place)]
            if option == "-I":
                forms += [(f"--include-directory={place}",), ("--include-directory", place)]
                forms += [(f"-I{place}/",), ("-iprefix", place + "/", "-iwithprefix", "sub")]
            found.append(rng.choice(forms))
        return found

    def _flags(self) -> list[Option]:
        rng = self._rng
        plain, side = _OF[self._is_clang]
        flags = rng.choices(plain, k=rng.choice((0, 1, 2, 2, 3, 4, 7)))
        flags += rng.choices(side, k=rng.choice((0, 0, 1, 1, 1, 2)))
        if rng.random() < (0.06 if self._made.is_tame else 0.4):
            flags.append(rng.choice(_ODD))
        if rng.random() < 0.01:
            flags += rng.choices(_OF[not self._is_clang][0])  # one that this compiler does not know
        if rng.random() < 0.03:  # as Bazel and Chromium do
            flags += [
                (f"-D__{name}__={rng.choice(_REDACTED)}",) for name in ("DATE", "TIME", "TIMESTAMP")
            ]
        texts = {
            "inc/ignore.txt": "fun:sum\n",
            "inc/my.specs": "",
            "inc/own.cppmap": 'module own { header "a.h" private header "inc/b.h" use "x" umbrella "alt" }\n'
            'extern module "x" "more.cppmap"\n',
        }
        for name, content in texts.items():
            if any(name in word for words in flags for word in words):
                self._project[name] = text(content)
        if any("prof" in word for words in flags for word in words) and rng.random() < 0.5:
            self._project["prof"] = directory()
        return flags

    def _forced(self) -> list[Option]:
        rng = self._rng
        if not self._made.headers or rng.random() < 0.85:
            return []
        header = rng.choice(self._made.headers)
        name = rng.choice((self._from_cwd(header), posixpath.basename(header)))
        return [
            rng.choice(
                (
                    ("-include", name),
                    ("-include" + name,),
                    ("--include", name),
                    (f"--include={name}",),
                    ("-imacros", name),
                    ("-Wp,-include," + name,),
                    ("-Xpreprocessor", "-include", "-Xpreprocessor", name),
                )
            )
        ]

    def _output(self) -> list[Option]:
        rng = self._rng
        form = rng.random()
        if form < 0.3:
            return []
        name = rng.choice(
            ("out.o", "out/x.o", "out/x.y.o", "noext", ".o", "-.o", "out/é.o", "a b.o")
        )
        if rng.random() < 0.06:
            name = rng.choice(("missing/x.o", "/dev/null", "-", self._made.source, "out", "out/"))
        if name.startswith("out"):
            real = "build" if self._cwd == "way in" else self._cwd
            self._project.setdefault(posixpath.join(real, "out"), directory())
        forms: tuple[Option, ...] = (
            ("-o", name),
            ("-o" + name,),
            ("--output", name),
            ("--output=" + name,),
        )
        return [rng.choices(forms, (8, 3, 1, 1))[0]]

    def _place_source(self, options: list[Option]) -> None:
        rng = self._rng
        source = self._from_cwd(self._made.source)
        group: Option = (source,)
        if source.startswith("-") or rng.random() < 0.03:
            group = ("--", source) if self._is_clang or rng.random() < 0.1 else ("./" + source,)
        elif rng.random() < (0.02 if self._made.is_tame else 0.1):
            named = rng.choice(
                (self._made.language, "c", "c++", "assembler-with-cpp", "objective-c")
            )
            group = rng.choice(
                (("-x", named, source), ("-x" + named, source), (f"--language={named}", source))
            )
            if rng.random() < 0.5:
                group = (*group, "-x", "none")
        if group[0] == "--":
            options.append(group)
        else:
            options.insert(rng.randint(0, len(options)), group)
        if rng.random() < 0.05:
            self._add_second(options)
        if rng.random() < 0.02:
            options.append((rng.choice(("none.c", "l.a", "inc", "-", "-o", "-I", "@none.rsp")),))

    def _add_second(self, options: list[Option]) -> None:
        outputs = [option for option in options if option[0].startswith(("-o", "--output"))]
        if outputs and self._rng.random() < 0.8:
            options.remove(outputs[0])  # it names the output of one source
        suffix = self._rng.choice((SUFFIXES[self._made.language], ".c", ".cc"))
        self._project["second" + suffix] = text("int second = 2;\n")
        options.append((self._from_cwd("second" + suffix),))

    def _wrap(self, options: list[Option]) -> None:
        """Put some of the words into a response file, perhaps with one more inside."""
        rng = self._rng
        for depth in range(2 if rng.random() < 0.1 else 0):
            start = rng.randint(0, len(options))
            stop = rng.randint(start, min(len(options), start + 4))
            lines = [_quoted(word, rng) for option in options[start:stop] for word in option]
            path = f"words{depth}.rsp"
            self._project[path] = text("\n".join(lines) + "\n")
            options[start:stop] = [("@" + self._from_cwd(path),)]

    def _prepare_outputs(self) -> None:
        """Something lies where an output goes."""
        rng = self._rng
        if rng.random() > 0.12:
            return
        stem = posixpath.splitext(posixpath.basename(self._made.source))[0]
        real = "build" if self._cwd == "way in" else self._cwd
        name = rng.choice(("out.o", stem + ".o", stem + ".d", "deps.d", stem + ".gcda", "out/x.o"))
        path = posixpath.normpath(posixpath.join(real, name))
        if path in self._project:
            return
        entry = rng.choice(
            (
                text("old\n"),
                text("old\n"),
                Entry(Kind.FILE, "old\n", mode=0o600),
                Entry(Kind.FILE, "old\n", mode=0o755),
                symlink("elsewhere.o"),
                directory(),
                Entry(Kind.HARD_LINK, self._made.source),
            )
        )
        self._project[path] = entry

    def _environment(self) -> dict[str, str]:
        rng = self._rng
        chosen = rng.sample(_VARIABLES, rng.choice((0, 0, 0, 0, 0, 1, 1, 2)))
        return {name: rng.choice(values) for name, values in chosen}

    def _surroundings(self) -> dict[str, str]:
        rng = self._rng
        if rng.random() < 0.85:
            return {}
        name, values = rng.choice(_SURROUNDINGS)
        if name == "PATH":
            for tool in rng.sample(sorted(_TOOLS), 2):
                script = f'#!/bin/sh\nexec {_TOOLS[tool]} "$@"\n'
                self._project[f"tools/{tool}"] = Entry(Kind.FILE, script, mode=0o755)
        return {name: rng.choice(values)}

    def _streams(self) -> Streams:
        if self._rng.random() < 0.01:
            return self._rng.choice((Streams.NO_OUTPUT, Streams.NO_ERRORS))
        return self._rng.choice(_STREAMS)

    # -- the edit ---------------------------------------------------------------------------------

    def _edits(self) -> tuple[Edit, ...]:
        rng = self._rng
        made = self._made
        headers = [path for path in made.headers if self._project[path].kind is Kind.FILE]
        header = rng.choice(headers) if headers else made.source
        entry = self._project[header]
        if entry.kind is not Kind.FILE:
            return ()
        last = posixpath.basename(header)
        place = posixpath.join(
            rng.choice((*DIRECTORIES, "later", "none")), rng.choice((last, *NAMES))
        )
        fresh = "#ifndef __ASSEMBLER__\nint fresh = 1;\n#else\n.long 4\n#endif\n"
        changes: tuple[Callable[[], Edit], ...] = (
            lambda: (header, text(entry.data + "\n/* longer */\n", entry.age_s)),
            lambda: (
                header,
                text(entry.data.replace("17", "71").replace("= 1", "= 7"), entry.age_s),
            ),
            lambda: (header, text(fresh + entry.data, entry.age_s - 5)),
            lambda: (header, text(entry.data, entry.age_s - 5)),
            lambda: (header, None),
            lambda: (place, text(fresh)),
            lambda: (place, text(fresh)),
            lambda: (place, None if place in self._project else text(fresh)),
            lambda: ("linked", symlink("alt")),
            lambda: (header, symlink(posixpath.relpath(made.source, posixpath.dirname(header)))),
            lambda: (header + ".gch", text("not a precompiled header")),
            lambda: ("none", directory()),
            lambda: (place, directory()),
        )
        edits = [rng.choice(changes)() for _ in range(rng.choice((1, 1, 1, 2)))]
        return tuple(edit for edit in dict(edits).items() if self._is_possible(edit))

    def _is_possible(self, edit: Edit) -> bool:
        """Not where something else needs a directory, nor below what is none."""
        path, entry = edit
        if entry is not None and entry.kind is not Kind.DIRECTORY:
            if any(other.startswith(path + "/") for other in self._project):
                return False
        elif path in self._project and entry is not None:
            return False
        is_target = any(
            other.kind is Kind.HARD_LINK and other.data == path for other in self._project.values()
        )
        above = {path[:at] for at in range(len(path)) if path[at] == "/"}
        blocked = any(
            at in self._project and self._project[at].kind is not Kind.DIRECTORY for at in above
        )
        return not is_target and not blocked


def _quoted(word: str, rng: Random) -> str:
    """A word as it may stand in a response file, in one of the ways that every release reads alike."""
    if word and not set(word) & set(" \t\n\\'\"$`"):
        return word if rng.random() < 0.8 else f'"{word}"'
    return (
        '"'
        + word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        + '"'
    )
