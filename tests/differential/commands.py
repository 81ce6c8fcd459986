"""Random command lines for a project: options of the table in every spelling, in any order."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Callable
from random import Random

from tests.differential.case import (
    HERE,
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
from tests.differential.surroundings import (
    ODD_PLACES,
    TOOLS,
    UNUSUAL_VARIABLES,
    USUAL_PLACES,
    USUAL_VARIABLES,
)
from tests.differential.words import (
    ODD,
    OF_LANGUAGE,
    SENSIBLE,
    Option,
    exclude_each_other,
    is_stamped,
)

GCC = ("gcc", "gcc", "gcc", "g++", "g++", "gcc-12", "cc", "x86_64-linux-gnu-gcc", "/usr/bin/gcc")
CLANG = ("clang", "clang", "clang++", "clang-14")
# Where somebody has installed them.
FURTHER = (
    "aarch64-linux-gnu-gcc", "gcc-13", "gcc-14", "gcc-15", *(f"clang-{at}" for at in range(15, 24)),
)  # fmt: skip

_REDACTED = ('"redacted"', '"redacted"', "", "__TIME__")
# Of the commands in which gcc would stamp what it writes with a random number: the others are excused.
_SEEDED_SHARE = 0.85
_STREAMS = (*(Streams.APART,) * 12, Streams.ONE_PIPE, Streams.ONE_FILE, Streams.TERMINAL)


def compilers(further: bool = False) -> tuple[str, ...]:
    """Those of the names above that are installed; `further`: all, so that a seed means less elsewhere."""
    names = GCC + CLANG + (FURTHER if further else ())
    return tuple(name for name in names if shutil.which(name))


def make_case(rng: Random, names: tuple[str, ...]) -> Case:
    """A whole case. `names`: the compilers to choose from."""
    made = Maker(rng).make()
    compiler = rng.choice(names)
    if made.language == "objective-c" and (made.is_tame or rng.random() < 0.9) and "clang" in names:
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
        options.append(("-S",) if self._makes_assembly() else ("-c",))
        if not self._made.is_tame and rng.random() < 0.1:
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

    def _makes_assembly(self) -> bool:
        is_assembly = self._made.language.startswith("assembler")
        return self._rng.random() < (0.02 if is_assembly and self._made.is_tame else 0.12)

    def _choose_cwd(self) -> None:
        rng = self._rng
        if rng.random() < 0.3:
            self._cwd = rng.choice(("build", "src", "inc", "way in"))
        if self._cwd == "way in":
            self._project["way in"] = symlink("build")
            self._project["build"] = directory()
        elif self._cwd != ".":
            self._project[self._cwd] = directory()

    @property
    def _real_cwd(self) -> str:
        return "build" if self._cwd == "way in" else self._cwd

    def _from_cwd(self, path: str) -> str:
        if self._rng.random() < 0.12:
            return f"{HERE}/{path}"
        return posixpath.relpath(path or ".", self._real_cwd)

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
        words = SENSIBLE[self._is_clang]
        flags = rng.choices(words.plain, k=rng.choice((0, 1, 2, 2, 3, 4, 7)))
        flags += rng.choices(words.side, k=rng.choice((0, 0, 1, 1, 1, 2)))
        if self._takes_standards():
            flags += rng.choices(OF_LANGUAGE[self._made.language], k=rng.choice((0, 0, 1)))
        if self._made.is_tame:
            flags = self._compatible(flags)
        else:
            flags += rng.choices(ODD, k=rng.choice((0, 1, 1, 2)))
            if rng.random() < 0.05:
                flags += rng.choices(SENSIBLE[not self._is_clang].plain)  # unknown to this compiler
        if any(map(is_stamped, flags)) and rng.random() < _SEEDED_SHARE and not self._is_clang:
            flags.append((f"-frandom-seed={self._made.source}",))
        if rng.random() < 0.03:  # as Bazel and Chromium do
            flags += [
                (f"-D__{name}__={rng.choice(_REDACTED[: 2 if self._made.is_tame else 4])}",)
                for name in ("DATE", "TIME", "TIMESTAMP")
            ]
        texts = {
            "inc/ignore.txt": "fun:sum\n",
            "inc/my.specs": "",
            "macros.s": ".macro unused\n.endm\n",
            "inc/own.cppmap": 'module own { header "a.h" private header "inc/b.h" use "x" umbrella "alt" }\n'
            'extern module "x" "more.cppmap"\n',
        }
        for name, content in texts.items():
            if any(name in word for words in flags for word in words):
                at = name if name != "macros.s" else posixpath.join(self._real_cwd, name)
                self._project[at] = text(content)
        given = [word for words in flags for word in words]
        for name in ("prof", "out", "x"):
            is_named = any(f"{name}/" in word or word.endswith(f"={name}") for word in given)
            if is_named and (self._made.is_tame or rng.random() < 0.5):
                self._project.setdefault(posixpath.join(self._real_cwd, name), directory())
        return flags

    def _takes_standards(self) -> bool:
        """clang++ takes C for C++, and refuses the standards of C."""
        is_taken_for_cxx = self._made.language == "c" and "clang++" in self._compiler
        return self._made.language in OF_LANGUAGE and not is_taken_for_cxx

    def _compatible(self, flags: list[Option]) -> list[Option]:
        """Those that go with the language, and with each one before them."""
        kept: list[Option] = []
        for words in flags:
            # What only C takes, and what assembly by the other assembler does not.
            is_c = self._made.language in ("c", "c++", "objective-c")
            is_stray = not is_c and ("-include" in words or "-fno-integrated-as" in words)
            if not is_stray and not any(exclude_each_other(words, other) for other in kept):
                kept.append(words)
        return kept

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
        if rng.random() < 0.02:
            name = "/dev/null"
        if not self._made.is_tame and rng.random() < 0.3:
            name = rng.choice(("missing/x.o", "-", self._made.source, "out", "out/"))
        if name.startswith("out"):
            self._project.setdefault(posixpath.join(self._real_cwd, "out"), directory())
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
            is_after_end = self._is_clang or (not self._made.is_tame and rng.random() < 0.3)
            beside = source if source.startswith(HERE) else "./" + source
            group = ("--", source) if is_after_end else (beside,)
        elif rng.random() < 0.1:
            named = self._made.language
            if not self._made.is_tame:
                named = rng.choice((named, "c", "c++", "assembler-with-cpp", "objective-c"))
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
        if not self._made.is_tame and rng.random() < 0.1:
            options.append((rng.choice(("none.c", "l.a", "inc", "-", "-o", "-I", "@none.rsp")),))

    def _add_second(self, options: list[Option]) -> None:
        outputs = [option for option in options if option[0].startswith(("-o", "--output"))]
        if outputs and (self._made.is_tame or self._rng.random() < 0.5):
            options.remove(outputs[0])  # it names the output of one source
        own = SUFFIXES[self._made.language]
        suffix = own if self._made.is_tame else self._rng.choice((own, ".c", ".cc"))
        is_assembly = self._made.language.startswith("assembler")
        self._project["second" + suffix] = text(".long 2\n" if is_assembly else "int second = 2;\n")
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
        name = rng.choice(
            (
                "out.o",
                stem + ".o",
                stem + ".d",
                "deps.d",
                stem + ".gcda",
                "out/x.o",
                "opt.txt",
                "dump.txt",
            )
        )
        path = posixpath.normpath(posixpath.join(self._real_cwd, name))
        if path in self._project:
            return
        plain = (text("old\n"), text("old\n"), Entry(Kind.FILE, "old\n", mode=0o600))
        odd = (
            Entry(Kind.FILE, "old\n", mode=0o755),
            symlink("elsewhere.o"),
            directory(),
            Entry(Kind.HARD_LINK, self._made.source),
        )
        self._project[path] = rng.choice(plain if self._made.is_tame else odd)

    def _environment(self) -> dict[str, str]:
        rng = self._rng
        rows = USUAL_VARIABLES if self._made.is_tame else USUAL_VARIABLES + UNUSUAL_VARIABLES
        chosen = rng.sample(rows, rng.choice((0, 0, 0, 0, 0, 1, 1, 2)))
        return {name: rng.choice(values) for name, values in chosen}

    def _surroundings(self) -> dict[str, str]:
        rng = self._rng
        if rng.random() < 0.85:
            return {}
        name, values = rng.choice(USUAL_PLACES if self._made.is_tame else ODD_PLACES)
        if name == "PATH":
            for tool in rng.sample(sorted(TOOLS), 2):
                script = f'#!/bin/sh\nexec {TOOLS[tool]} "$@"\n'
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
        if made.is_tame:
            fresh = f"#ifndef FRESH\n#define FRESH\n{fresh}#endif\n"
        changes: tuple[Callable[[], Edit], ...] = (
            lambda: (header, text(entry.data + "\n/* longer */\n", entry.age_s)),
            lambda: (
                header,
                text(entry.data.replace("17", "71").replace("= 1", "= 7"), entry.age_s),
            ),
            lambda: (header, text(fresh + entry.data, entry.age_s - 5)),
            lambda: (header, text(entry.data, entry.age_s - 5)),
            lambda: (place, text(fresh)),
            lambda: (place, text(fresh)),
            lambda: ("none", directory()),
        )
        breaking: tuple[Callable[[], Edit], ...] = (
            lambda: (header, None),
            lambda: (place, None if place in self._project else text(fresh)),
            lambda: ("linked", symlink("alt")),
            lambda: (header, symlink(posixpath.relpath(made.source, posixpath.dirname(header)))),
            lambda: (header + ".gch", text("not a precompiled header")),
            lambda: (place, directory()),
        )
        possible = changes if made.is_tame and rng.random() < 0.9 else changes + breaking
        edits = [rng.choice(possible)() for _ in range(rng.choice((1, 1, 1, 2)))]
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
