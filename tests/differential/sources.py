"""Random projects: headers that include each other in every way that a scanner has to see through."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.differential.case import Entry, Kind, Project, symlink, text

# Few names in few places, so that one shadows another.
DIRECTORIES = ("inc", "src", "inc/sub", "alt", "a b", "deep/er/still")
NAMES = ("a.h", "b.h", "c.h", "d.hpp", "e.inc")
SYSTEM = ("stddef.h", "stdint.h", "limits.h", "string.h", "stdio.h")
CXX_SYSTEM = ("cstddef", "utility", "vector")
SUFFIXES = {
    "c": ".c",
    "c++": ".cc",
    "assembler-with-cpp": ".S",
    "assembler": ".s",
    "objective-c": ".m",
    "cpp-output": ".i",
    "c++-cpp-output": ".ii",
}
WEIGHTS = {
    "c": 46,
    "c++": 24,
    "assembler-with-cpp": 11,
    "assembler": 4,
    "objective-c": 5,
    "cpp-output": 6,
    "c++-cpp-output": 4,
}
# The others are made of mistakes, options that exclude each other, and what nobody would do on purpose.
_SENSIBLE_SHARE = 0.88
_IS_TEXT = ("cpp-output", "c++-cpp-output")
# Leaves a mark in the object: which file, and how often.
_MARK = """\
#ifndef CAT
#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)
#endif
#ifdef __ASSEMBLER__
.long {number}
#else
int CAT(v{number}_, __COUNTER__) = {number};
#endif"""


@dataclass
class Made:
    """A project, and what a command has to know of it."""

    project: Project
    source: str
    language: str
    headers: list[str] = field(default_factory=list)
    macros: dict[str, str] = field(default_factory=dict)  # to be given by -D
    is_tame: bool = False


class Maker:
    """Makes one project. Every choice comes from `rng`."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        # Most cases compile: what fails at its first include never gets to the rest.
        self.is_tame = rng.random() < _SENSIBLE_SHARE
        self._is_assembly = False
        self._number = 0
        self._macros: dict[str, str] = {}
        self._project: Project = {}

    def make(self) -> Made:
        rng = self._rng
        language = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        self._is_assembly = language.startswith("assembler")
        directory = rng.choice(("", "", "src", "a b", "deep/er"))
        odd = ("m.ain", "-main", "x,y", "q'uote", "b\udcffd", "a=b", "#h", "a b")
        stem = rng.choice(odd) if rng.random() < 0.2 else "main"
        source = posixpath.join(directory, stem + SUFFIXES[language])
        places = [
            posixpath.join(rng.choice((*DIRECTORIES, directory)), rng.choice(NAMES))
            for _ in range(rng.randint(0, 7))
        ]
        headers = list(dict.fromkeys(places))
        for header in headers:
            self._project[header] = text(self._header(header, headers), rng.choice((0, 0, 60)))
        self._add_twins(headers)
        self._add_links(headers)
        self._project[source] = text(self._source(source, language, headers))
        return Made(self._project, source, language, headers, self._macros, self.is_tame)

    # -- files ------------------------------------------------------------------------------------

    def _header(self, path: str, headers: list[str]) -> str:
        rng = self._rng
        self._number += 1
        body = [self._piece(path, headers, nested=True) for _ in range(rng.randint(0, 3))]
        body.insert(rng.randint(0, len(body)), _MARK.format(number=self._number))
        lines = "\n".join(body) + "\n"
        guard = f"GUARD_{self._number if rng.random() < 0.9 else 'SAME'}"
        form = rng.random()
        if form < 0.4:
            return f"#pragma once\n{lines}"
        if form < 0.75:
            return f"#ifndef {guard}\n#define {guard}\n{lines}#endif\n"
        # Without a guard it could include itself for ever.
        return f"#if __INCLUDE_LEVEL__ < 4\n{lines}#endif\n"

    def _source(self, path: str, language: str, headers: list[str]) -> str:
        if language == "assembler":
            return self._assembly(path, headers)
        if language in _IS_TEXT:
            return self._preprocessed(headers)
        rng = self._rng
        pieces = [self._piece(path, headers) for _ in range(rng.randint(1, 7))]
        if rng.random() < 0.4 and language != "assembler-with-cpp":
            pool = CXX_SYSTEM if language == "c++" and rng.random() < 0.3 else SYSTEM
            pieces.insert(0, f"#include <{rng.choice(pool)}>")
        code = _MARK.format(number=0) if language == "assembler-with-cpp" else self._code(language)
        pieces.insert(rng.randint(0, len(pieces)), code)
        ending = "" if rng.random() < 0.05 else "\n"
        start = "\ufeff" if rng.random() < 0.02 else ""
        return start + "\n".join(pieces) + ending

    def _code(self, language: str) -> str:
        rng = self._rng
        plain = (
            "int twice(int x) { int unused; return 2 * x; }",
            "static int lonely(void) { return 1; }\nint used(int a, unsigned b) { return a < b; }",
            'int printf(const char *, ...);\nint say(long n) { return printf("%d %s", n); }',
            "int fall(int x) { switch (x) { case 1: x++; case 2: x--; } return x; }",
            "double sin(double);\ndouble exp(double);\ndouble folded(void) { return sin(1.3) * exp(0.7); }",
            "int loop(int *p, int n) { int s = 0; for (int i = 0; i < n; i++) s += p[i]; return s; }",
            "char *where(void) { static char f[] = __FILE__; return f + __LINE__; }",
            "int same(void) { return __LINE__ + __INCLUDE_LEVEL__ + __COUNTER__; }",
            "float fma2(float a, float b, float c) { return a * b + c; }",
            "int h(void) { return (int)sizeof(long) - -1; }  /* /* nested */",
        )
        if language == "c++" and rng.random() < 0.6:
            return rng.choice(
                (
                    "template <class T> T sum(T a, T b) { return a + b; }\nint s = sum(1, 2);",
                    "struct A { virtual ~A() {} int x; };\nA *make() { return new A(); }",
                    "namespace n { inline int f() { return 3; } }\nauto g = [] { return n::f(); };\n"
                    "int k = g();",
                )
            )
        if rng.random() < (0.005 if self.is_tame else 0.06):
            return rng.choice(
                (
                    "int broken(void) { return undeclared; }",
                    "int missing_brace(void) {",
                    "#error on purpose",
                    '#include "there-is-none.h"',
                    "int x = ;",
                )
            )
        return rng.choice(plain)

    def _assembly(self, path: str, headers: list[str]) -> str:
        rng = self._rng
        lines = [".text", ".globl f", "f: ret"]
        if rng.random() < 0.2:
            self._project["blob.bin"] = text("some bytes")
            name = rng.choice(("blob.bin", "./blob.bin", "missing/../blob.bin"))
            if self.is_tame:
                name = "@HERE@/blob.bin"
            lines.append(f'.incbin "{name}"')
        if rng.random() < 0.3:
            self._project["inc/more.s"] = text(".long 77\n")
            form = rng.choice(('.include "inc/more.s"', '.INCLUDE "more.s"'))
            lines.append('.include "@HERE@/inc/more.s"' if self.is_tame else form)
        if rng.random() < (0.01 if self.is_tame else 0.1):
            lines.append("nonsense %rax")
        return "\n".join(lines) + "\n"

    def _preprocessed(self, headers: list[str]) -> str:
        rng = self._rng
        other = rng.choice((*headers, "gram.y", "gone.y", "<built-in>"))
        self._project["gram.y"] = text("rule: one\n  int f(void) { int quoted; return 1; }\n")
        marker = rng.choice(
            (
                f'# 2 "{other}"',
                "" if self.is_tame else f'#line 2 "{other}"',
                f'# 2 "{other}" 1 3',
                "",
            )
        )
        return f"{marker}\nint f(void) {{ int quoted; return 1; }}\nint g = 3;\n"

    # -- pieces -----------------------------------------------------------------------------------

    def _piece(self, path: str, headers: list[str], nested: bool = False) -> str:
        rng = self._rng
        name = self._spelling(path, headers)
        kinds: tuple[tuple[float, Callable[[], str]], ...] = (
            (30, lambda: self._include(name)),
            (8, lambda: self._conditional(self._include(name))),
            (10, lambda: self._probe(name)),
            (9, lambda: self._computed(name)),
            (0.5 if self.is_tame else 4, lambda: self._next(name)),
            (4, self._line),
            (0.4 if self.is_tame else 3, self._macro_text),
            (1.5, self._assembler),
            (2, lambda: "#warning careful" if not nested else "/* quiet */"),
            (2, lambda: "#pragma GCC system_header" if nested else "#pragma STDC FP_CONTRACT OFF"),
            (0.1 if self.is_tame else 1, lambda: f'#pragma GCC dependency "{name}"'),
            (1.5, self._mention),
        )
        return rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()

    def _spelling(self, path: str, headers: list[str]) -> str:
        """A name by which a file of this project may include one of these."""
        rng = self._rng
        if not headers:
            # The system's say what no assembler takes.
            return "features.h" if self._is_assembly else rng.choice(("stddef.h", "limits.h"))
        if rng.random() < (0.002 if self.is_tame else 0.06):
            return rng.choice(("absent.h", "sub/absent.h", "a.h", "limits.h"))
        header = rng.choice(headers)
        beside = posixpath.relpath(header, posixpath.dirname(path) or ".")
        last = posixpath.basename(header)
        if self.is_tame:
            # The command searches the top and every directory that holds a header.
            return rng.choice((last, last, header, "./" + last))
        forms = (last, last, beside, header, "sub/" + last, "sub/../" + last, "./" + last)
        odd = ("nowhere/../" + last, "@HERE@/" + header, beside.replace("/", "//"))
        return rng.choice(odd) if rng.random() < 0.12 else rng.choice(forms)

    def _include(self, name: str) -> str:
        quoted, angled = f'"{name}"', f"<{name}>"
        forms = (
            f"#include {quoted}",
            f"#include {quoted}",
            f"#include {angled}",
            f"#  include\t{quoted}",
            f"#include{quoted}",
            f"/* c */ # /* d */ include /* e */ {angled}",
            f"%:include {quoted}",
            f"#inc\\\nlude {quoted}",
            f"#include \\\n {angled}",
            f"#import {quoted}",
            f"#include {quoted} // trailing",
            f"/*\n*/#include {quoted}",
            f"#include {quoted}\r",
            f"\f#include {quoted}",
        )
        # In assembly `%:` is no directive.
        is_possible = [each for each in forms if not (self._is_assembly and each.startswith("%"))]
        return self._rng.choice(is_possible if self.is_tame else forms)

    def _conditional(self, inner: str) -> str:
        condition = self._rng.choice(("0", "1", "ON", "defined ON", "!defined ON", "__GNUC__ > 4"))
        if "ON" in condition and self._rng.random() < 0.5:
            self._macros["ON"] = "1"
        return f"#if {condition}\n{inner}\n#endif"

    def _probe(self, name: str) -> str:
        rng = self._rng
        quoted, angled = f'"{name}"', f"<{name}>"
        self._number += 1
        number = self._number
        forms = (
            f"#if __has_include({quoted})",
            f"#if __has_include({angled})",
            f"#if __has_include ( {quoted} )",
            f"#if defined __has_include && __has_include({angled})",
            f"#if !__has_include({angled})",
            f"#define N{number} {quoted}\n#if __has_include(N{number})",
            f"#define N{number} {angled}\n#if __has_include(N{number})",
            f"#define HAS{number}(x) __has_include(x)\n#if HAS{number}({quoted})",
            f"#define HAS{number} __has_include\n#if HAS{number}({angled})",
            f"#if __has_\\\ninclude({quoted})",
            f"#if __has_include/**/({quoted})",
            "#if __has_include(PROBED)",
            f"#if __has_include_next({angled})",
            f"#if 0\n#elif __has_include({quoted})",
        )
        condition = rng.choice(forms)
        if "PROBED" in condition:
            self._macros["PROBED"] = quoted
        inner = _MARK.format(number=10_000 + number)
        if rng.random() < 0.5 and "!" not in condition and "next" not in condition:
            inner += f"\n#include {quoted if quoted in condition else angled}"
        return f"{condition}\n{inner}\n#endif"

    def _computed(self, name: str) -> str:
        rng = self._rng
        self._number += 1
        macro = f"H{self._number}"
        stem, _, suffix = name.rpartition(".")
        forms = (
            f'#define {macro} "{name}"\n#include {macro}',
            f"#define {macro} <{name}>\n#include {macro}",
            f"#define S{macro}(x) #x\n#define {macro}(x) S{macro}(x)\n#include {macro}({name})",
            f"#define {macro}(x) <x>\n#include {macro}({name})",
            f"#define {macro}a {stem}\n#define {macro} <{macro}a.{suffix}>\n#include {macro}",
            f'#define {macro} "absent.h"\n#undef {macro}\n#define {macro} "{name}"\n#include {macro}',
            f"#ifdef {macro}\n#include {macro}\n#endif",
        )
        form = rng.randrange(len(forms))
        if form == len(forms) - 1:
            self._macros[macro] = rng.choice((f'"{name}"', f"<{name}>"))
        return forms[form]

    def _next(self, name: str) -> str:
        last = posixpath.basename(name)
        form = self._rng.choice((f"#include_next <{last}>", f'#include_next "{last}"'))
        return f"#if __has_include_next(<{last}>)\n{form}\n#endif" if self.is_tame else form

    def _line(self) -> str:
        name = self._rng.choice(("gram.y", "inc/gram.y", "gone.y", "@HERE@/gram.y"))
        self._project["gram.y"] = text("a grammar\n  of two lines\nand another\n")
        self._number += 1
        warned = f"static int unused_{self._number}(void);" if self._rng.random() < 0.5 else ""
        if self._is_assembly:
            warned = ""
        return f'#line 2 "{name}"\n{warned}'

    def _macro_text(self) -> str:
        rng = self._rng
        self._number += 1
        macro = rng.choice(
            ("__FILE__", "__BASE_FILE__", "__FILE__", "__DATE__", "__TIME__", "__TIMESTAMP__")
        )
        inner = f"const char m{self._number}[] = {macro};"
        if rng.random() < 0.15:
            half = rng.choice((("__DA", "TE__"), ("__TI", "ME__")))
            inner = f"#define P{self._number}(a, b) a##b\n" + inner.replace(
                macro, f"P{self._number}({half[0]}, {half[1]})"
            )
        if rng.random() < 0.3:
            inner = f"/* {inner} */"
        return f"#ifndef __ASSEMBLER__\n{inner}\n#endif"

    def _mention(self) -> str:
        """Words that mean something, where they mean nothing: they must not change the way."""
        self._number += 1
        words = self._rng.choice(
            (
                "__TIME__",
                "a dependency",
                ".incbin what",
                "#include NAME",
                "import it;",
                "omp target",
            )
        )
        forms: tuple[str, ...] = (f"/* {words} */", f"/* {words}\n{words} */")
        if not self._is_assembly:
            forms += (
                f"extern int k{self._number}; // {words}",
                f'extern char t{self._number}[sizeof "see {words}"];',
            )
        form = self._rng.choice(forms)
        return form if form.startswith("/*") else f"#ifndef __ASSEMBLER__\n{form}\n#endif"

    def _assembler(self) -> str:
        self._project["blob.bin"] = text("some bytes")
        self._project.setdefault("inc/more.s", text("# nothing\n"))
        inner = self._rng.choice(
            ('asm(".incbin \\"blob.bin\\"");', 'asm(".include \\"more.s\\"");', 'asm("nop");')
        )
        if self.is_tame:
            inner = inner.replace("asm(", "__asm__(")  # which strict standards know
            inner = inner.replace("blob", "@HERE@/blob").replace("more", "@HERE@/inc/more")
        return f"#ifndef __ASSEMBLER__\n{inner}\n#endif"

    # -- twins and links --------------------------------------------------------------------------

    def _add_twins(self, headers: list[str]) -> None:
        rng = self._rng
        if len(headers) > 1 and rng.random() < 0.25:
            first, second = rng.sample(headers, 2)
            entry = self._project[first]
            age_s = entry.age_s if rng.random() < 0.6 else entry.age_s + 5
            self._project[second] = text(entry.data, age_s)

    def _add_links(self, headers: list[str]) -> None:
        rng = self._rng
        if headers and rng.random() < 0.2:
            target = rng.choice(headers)
            place = posixpath.join(rng.choice(DIRECTORIES), rng.choice(("a.h", "link.h", "b.h")))
            if place not in self._project:
                relative = posixpath.relpath(target, posixpath.dirname(place))
                form = rng.random()
                self._project[place] = (
                    symlink(relative)
                    if form < 0.5
                    else symlink("@HERE@/" + target)
                    if form < 0.7
                    else Entry(Kind.HARD_LINK, target)
                )
                headers.append(place)
        if rng.random() < 0.15:
            self._project["linked"] = symlink(
                rng.choice(("inc", "deep/er", "@HERE@/alt", "inc/sub"))
            )
        if rng.random() < 0.05:
            self._project["inc/dangling.h"] = symlink("nothing-here.h")
