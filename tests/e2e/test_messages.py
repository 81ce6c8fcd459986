"""What the user sees: byte for byte what the compiler would show without zcc, and no second compile for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import lacks
from tests.e2e.callers import need
from tests.e2e.conftest import BIN, Farm

ZCC = str(BIN / "zcc")
CXX = {"gcc": "g++", "clang": "clang++"}
GERMAN = "de_DE.UTF-8"
# What decides about colours, widths and links; the tests set what they mean.
DECIDING = (
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "GCC_COLORS",
    "GCC_URLS",
    "TERM_URLS",
    "NO_COLOR",
    "LANG",
)

WARNS = (
    "#include <stdio.h>\n"
    f"int wide(int x) {{ /* {'-' * 150} */ int unused_because_wide = x; return 0; }}\n"
    "struct s { int a; }; enum e { one, two };\n"
    "int caret(struct s *p, enum e e) {\n"
    '\tif (p->a = 1) printf("%s %d\\n", 5, "x");\n'
    "\tswitch (e) { case one: p->a++; case two: break; }\n"
    "}\n"
)
WARNS_CXX = (
    "#include <map>\n#include <string>\n"
    "template <class T> int deep(T t) { unsigned u = t; return u < t; }\n"
    "struct base { virtual void f(int); }; struct derived : base { void f(long); };\n"
    "int use() { std::map<std::string, int> m; return deep(m.begin()->second) + deep(-1); }\n"
)


@dataclass
class Terminal:
    """What a program on a pseudo-terminal of this size shows."""

    rows: int
    columns: int
    on_stdin: bool = True
    on_stdout: bool = True

    def show(self, command: list[str], cwd: Path, environment: dict[str, str]) -> tuple[int, bytes]:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=slave if self.on_stdin else subprocess.DEVNULL,
            stdout=slave if self.on_stdout else subprocess.DEVNULL,
            stderr=slave,
        )
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            while piece := os.read(master, 65536):
                shown += piece
        os.close(master)
        return process.wait(60), shown


def show_through_pipe(
    command: list[str], cwd: Path, environment: dict[str, str]
) -> tuple[int, bytes]:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout


class Screen:
    """Shows one command without and with zcc."""

    def __init__(self, farm: Farm, directory: Path) -> None:
        self._farm = farm
        self.directory = directory
        (directory / "w.c").write_text(WARNS)
        (directory / "w.cc").write_text(WARNS_CXX)

    def same(
        self,
        terminal: Terminal | None,
        *command: str,
        variables: Mapping[str, str] = {},
        is_remote: bool = True,
    ) -> bytes:
        """What both show; asserts that it is the same and that the compile was remote."""
        show = terminal.show if terminal else show_through_pipe
        base = {
            name: value
            for name, value in self._farm.local.environment.items()
            if name not in DECIDING and not name.startswith("LC_")
        }
        base |= {"PATH": f"{os.environ['PATH']}:{BIN}", **variables}
        plain = show([*command], self.directory, base)
        before = self._farm.stats()["outcomes"]
        through = show([ZCC, *command], self.directory, base | {"ZCC_FALLBACK": "never"})
        after = self._farm.stats()["outcomes"]
        assert through == plain
        assert after["local"] - before["local"] == (0 if is_remote else 1)
        return plain[1]


@pytest.fixture
def screen(farm: Farm, tmp_path: Path) -> Screen:
    return Screen(farm, tmp_path)


WARNINGS = ("-Wall", "-Wextra", "-c")
XTERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize("columns", [20, 60, 80, 250])
@pytest.mark.parametrize("source", ["w.c", "w.cc"])
def test_a_terminal_of_any_width(screen: Screen, family: str, source: str, columns: int) -> None:
    compiler = family if source == "w.c" else CXX[family]
    shown = screen.same(Terminal(24, columns), compiler, *WARNINGS, source, variables=XTERM)
    assert b"\x1b[" in shown


@pytest.mark.parametrize(
    "variables",
    [
        {"TERM": "dumb"},
        {"TERM": "linux"},
        {"TERM": ""},
        {},
        {**XTERM, "COLUMNS": "40"},
        {**XTERM, "GCC_COLORS": "error=01;31:warning=04;36:note=32:caret=35"},
        {**XTERM, "GCC_COLORS": ""},
        {**XTERM, "NO_COLOR": "1"},
        {**XTERM, "COLORTERM": "truecolor"},
        {**XTERM, "GCC_URLS": "no"},
        {**XTERM, "GCC_URLS": "st"},
        {**XTERM, "GCC_URLS": "bel"},
        {**XTERM, "TERM_URLS": "no"},
        {**XTERM, "TERM_URLS": "bel"},
        {"TERM": "xterm-kitty"},
    ],
    ids=str,
)
def test_whatever_the_terminals_variables_say(
    screen: Screen, family: str, variables: dict[str, str]
) -> None:
    screen.same(Terminal(24, 80), family, *WARNINGS, "w.c", variables=variables)


@pytest.mark.parametrize(
    "flags",
    [
        ("-fdiagnostics-color=always",),
        ("-fdiagnostics-color=never",),
        ("-fdiagnostics-color=auto",),
        ("-fdiagnostics-color",),
        ("-fno-diagnostics-color",),
        ("-fmessage-length=50",),
        ("-fno-caret-diagnostics",),
        ("-fdiagnostics-urls=always",),
        ("-fdiagnostics-urls=never",),
        ("-fdiagnostics-show-template-tree",),
        ("-fdiagnostics-parseable-fixits",),
        ("-fdiagnostics-format=json",),
        ("-fdiagnostics-show-line-numbers", "-fdiagnostics-minimum-margin-width=9"),
        ("-fcolor-diagnostics",),
        ("-fansi-escape-codes", "-fcolor-diagnostics"),
        ("-fdiagnostics-absolute-paths",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("place", ["terminal", "pipe"])
def test_whatever_the_options_say(
    screen: Screen, family: str, flags: tuple[str, ...], place: str
) -> None:
    taken = subprocess.run(
        [family, *flags, "-E", "-x", "c", "/dev/null"], capture_output=True, check=False
    )
    if taken.returncode != 0 or taken.stderr:
        pytest.skip(f"{family} does not know {' '.join(flags)}")
    terminal = Terminal(24, 80) if place == "terminal" else None
    screen.same(terminal, family, *WARNINGS, *flags, "w.c", variables=XTERM)


@pytest.mark.parametrize("variables", [{}, {"GCC_COLORS": "warning=04"}, {"CLICOLOR_FORCE": "1"}])
def test_a_pipe_has_no_colours_of_a_terminal(
    screen: Screen, family: str, variables: dict[str, str]
) -> None:
    shown = screen.same(None, family, *WARNINGS, "w.c", variables=XTERM | variables)
    assert b"warning" in shown


def test_a_terminal_for_messages_alone(screen: Screen, family: str) -> None:
    """make -j under some shells: gcc asks standard input for the width, which is none."""
    for terminal in (Terminal(24, 60, on_stdin=False), Terminal(24, 60, False, False)):
        screen.same(terminal, family, *WARNINGS, "w.c", variables=XTERM)


def test_a_users_own_description_of_the_terminal_keeps_clang_here(
    screen: Screen, tmp_path: Path
) -> None:
    need("clang")
    home = tmp_path / "home"
    (home / ".terminfo").mkdir(parents=True)
    shown = [
        Terminal(24, 80).show(
            [*launcher, "clang", *WARNINGS, "w.c"],
            tmp_path,
            {**screen._farm.local.environment, **XTERM, "HOME": str(home)},
        )
        for launcher in ([], [ZCC])
    ]
    assert shown[0] == shown[1]
    assert screen._farm.stats()["local_reasons"]["terminal-description"] == 1


def test_a_description_of_the_terminal_in_a_place_of_its_own_goes_along(
    screen: Screen, tmp_path: Path
) -> None:
    """kitty and others bring their own, which says what theirs can do."""
    need("clang", "tic")
    (tmp_path / "own.ti").write_text(
        "own-term|ours,\n\tcols#80, colors#8, setaf=\\E[3%p1%dm, op=\\E[39m,\n"
    )
    subprocess.run(["tic", "-x", "-o", "descriptions", "own.ti"], cwd=tmp_path, check=True)
    has_colours = {}
    for place in ("descriptions", "none"):
        own = {"TERM": "own-term", "TERMINFO": str(tmp_path / place)}
        shown = screen.same(Terminal(24, 80), "clang", *WARNINGS, "w.c", variables=own)
        has_colours[place] = b"\x1b[" in shown
    if not any(has_colours.values()):
        pytest.skip("this clang reads no description of a terminal")
    assert has_colours == {"descriptions": True, "none": False}


def test_an_error_on_a_terminal_is_shown_once(screen: Screen, family: str) -> None:
    (screen.directory / "bad.c").write_text("int f(void) { return undeclared; }\n")
    shown = screen.same(
        Terminal(24, 60), family, *WARNINGS, "bad.c", variables=XTERM, is_remote=False
    )
    assert b"undeclared" in shown


def test_ninja_shows_what_it_shows_without_zcc(screen: Screen, family: str) -> None:
    """Ninja collects each command's words through a pipe, and passes colours on to a terminal."""
    need("ninja")
    shown = []
    for launcher in ("", ZCC):
        (screen.directory / "build.ninja").write_text(
            f"rule cc\n  command = {launcher} {family} -Wall -fdiagnostics-color=always -c $in -o $out\n"
            "  description = compiling $in\nbuild w.o: cc w.c\n"
        )
        environment = {**screen._farm.local.environment, **XTERM}
        shown.append(Terminal(24, 90).show(["ninja"], screen.directory, environment))
        for name in ("w.o", ".ninja_log", ".ninja_deps"):
            (screen.directory / name).unlink(missing_ok=True)
    assert shown[0] == shown[1]
    assert b"\x1b[" in shown[0][1]


# ---- languages and bytes -------------------------------------------------------------------------


@pytest.fixture
def german() -> None:
    said = subprocess.run(["locale", "-a"], capture_output=True, check=False).stdout
    if b"de_de.utf" not in said.lower():
        lacks(GERMAN)


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": GERMAN},
        {"LANG": GERMAN},
        {"LANG": GERMAN, "LC_MESSAGES": "C"},
        {"LANG": "C", "LC_MESSAGES": GERMAN},
        {"LANG": "C.UTF-8", "LC_CTYPE": "C"},
        {"LANG": GERMAN, "LANGUAGE": "fr:de"},
        {"LANG": GERMAN, "LANGUAGE": "en"},
        {"LC_ALL": "xx_XX.UTF-8"},
        {"LC_ALL": ""},
    ],
    ids=str,
)
def test_translated_messages(screen: Screen, family: str, variables: dict[str, str]) -> None:
    for terminal in (None, Terminal(24, 70)):
        shown = screen.same(terminal, family, *WARNINGS, "w.c", variables=XTERM | variables)
        if family == "gcc" and variables == {"LC_ALL": GERMAN}:
            has_catalogue = any(Path("/usr/share/locale/de/LC_MESSAGES").glob("gcc-*.mo"))
            assert (b"Warnung" in shown) == has_catalogue


@pytest.mark.parametrize("place", ["terminal", "pipe"])
def test_bytes_that_are_no_utf8_pass_unchanged(screen: Screen, family: str, place: str) -> None:
    source = b"// \xff\xfe\x80\nchar *s = \"\xe4\xf6\"; int f(void) { int \xc3\xa4 = '\xe4'; return 0; }\n"
    for name in (b"latin.c", b"n\xe4me.c"):
        (screen.directory / os.fsdecode(name)).write_bytes(source)
        terminal = Terminal(24, 80) if place == "terminal" else None
        flags = ("-Wall", "-Wno-pointer-sign", "-fdiagnostics-color=always")
        for locale in ("C", "C.UTF-8"):
            own = XTERM | {"LC_ALL": locale}
            shown = screen.same(terminal, family, *flags, "-c", os.fsdecode(name), variables=own)
            assert b"unused variable" in shown


def test_much_to_say_is_said_whole(screen: Screen, family: str) -> None:
    """More than a pipe holds, and than one message of the wire."""
    lines = "".join(f"int f{n}(void) {{ int unused{n}; return 0; }}\n" for n in range(3000))
    (screen.directory / "much.c").write_text(lines)
    shown = screen.same(None, family, "-Wall", "-c", "much.c")
    assert len(shown) > 1 << 18


def test_warnings_cost_no_second_compile(screen: Screen, family: str) -> None:
    before = screen._farm.stats()
    screen.same(None, family, *WARNINGS, "w.c")
    after = screen._farm.stats()
    assert after["outcomes"]["remote"] == before["outcomes"]["remote"] + 1
    assert after["local_reasons"] == before["local_reasons"]
    assert shutil.which(family)
